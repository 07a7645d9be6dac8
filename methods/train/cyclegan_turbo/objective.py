"""Training CycleGAN-Turbo: cycle, adversaries with frozen features, identity (section 3.3 of arXiv 2403.12036)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from methods.base import Inputs
from methods.errors import BadSample, InputError
from methods.train.crops import cut
from methods.train.cyclegan_turbo.info import INFO, CycleGANTurboTrainParams
from methods.train.cyclegan_turbo.joint import iterate_jointly, pass_through
from methods.train.cyclegan_turbo.label_maps import Annotations, grey_map, label_map, one_hot
from methods.train.cyclegan_turbo.official import save_official
from methods.train.cyclegan_turbo.parts import DIRECTIONS, adapted_parts
from methods.train.cyclegan_turbo.state import JUDGES, CycleGANTurboState
from methods.train.draws import Draws
from methods.train.learning_rate import set_rate, share_at
from methods.train.losses.vision_aided import VisionAidedDiscriminator
from methods.train.objective import ObjectiveInfo, Sample, Streams, Sync, Validation
from methods.train.turbo.frozen import backbone, perceptual
from methods.train.turbo.networks import frozen_for, merged, overlaid, vae_scale
from methods.train.turbo.pictures import picture_of, side_by_side
from methods.turbo.image_prep import to_tensor
from methods.turbo.native import NativeConfig, save_native


class CycleGANTurboTraining(CycleGANTurboState):
    """The objective ``cyclegan_turbo``: iterations in the published order or ``joint``, validation, export."""

    info: ClassVar[ObjectiveInfo] = INFO

    @classmethod
    def build(
        cls, params: CycleGANTurboTrainParams, device: torch.device, precision: torch.dtype, steps: int
    ) -> CycleGANTurboTraining:
        """Networks, frozen helpers and optimizers. Raises InputError for weights that are not there or do not fit."""
        parts = adapted_parts(params)
        judges = dict[str, VisionAidedDiscriminator]()
        if params.lambda_gan or not params.joint:
            features = backbone(params, device)
            judges = {name: VisionAidedDiscriminator(features, params.head_width).to(device) for name in JUDGES}
        return cls(params, parts, perceptual(params, device), judges, device, precision, steps)

    def transform(self, stream: str, inputs: Inputs, rng: np.random.Generator) -> Sample:
        """``image``: (3, H, W) in [-1, 1]; ``labels`` (H, W) and ``maps`` (M, H, W), uint8, where they are named."""
        params = self.params
        if inputs.image is None:
            raise BadSample("no_image", "cyclegan_turbo trains on pictures")
        if params.labels is None:
            (image,) = cut([inputs.image], params.image_prep, rng)
            return {"image": to_tensor(image, signed=True)}
        labels = label_map(inputs, params.labels)
        # as grey pictures: resized smoothly, where label maps take the nearest pixel
        maps = [np.repeat(grey_map(inputs, name)[:, :, None], 3, axis=2) for name in params.tone_maps]
        image, labels, *maps = cut([inputs.image, labels, *maps], params.image_prep, rng)
        grey = np.stack([found[:, :, 0] for found in maps]) if maps else np.empty((0, *labels.shape), np.uint8)
        return {
            "image": to_tensor(image, signed=True),
            "labels": torch.from_numpy(labels.copy()),
            "maps": torch.from_numpy(grey),
        }

    def step(self, batch: Streams, step: int, generator: torch.Generator, sync: Sync) -> Mapping[str, float]:
        """One iteration: three generator steps (cycle, GAN, identity) and two discriminator steps, or ``joint``."""
        params, draws = self.params, Draws(generator, self.device)
        scale = params.scales[step % len(params.scales)]
        a, b = (F.avg_pool2d(cast(Tensor, batch[stream]["image"]), scale) for stream in ("a", "b"))
        share = share_at(step, self.steps, params.lr_warmup, params.lr_decay_from)
        set_rate(self.optimizer, share * params.lr)
        for optimizer in self.judge_optimizers.values():
            set_rate(optimizer, share * (params.lr_discriminator or params.lr))
        known = {stream: self._annotations(batch[stream], scale) for stream in ("a", "b")}
        if step < params.autoencoder_share * self.steps:
            return pass_through(self, a, b, known, draws, sync)
        if params.joint:
            return iterate_jointly(self, a, b, known, draws, sync, step)
        return self.iterate(a, b, draws, sync)

    def _annotations(self, stream: Mapping[str, Tensor | list[Any]], scale: int) -> Annotations | None:
        """What is known of a stream's pictures, where training has labels."""
        if self.params.labels is None:
            return None
        labels, maps = cast(Tensor, stream["labels"]), cast(Tensor, stream["maps"])
        planes = one_hot(labels[:, ::scale, ::scale], self.params.label_classes)
        # torch averages no batch of no channels
        grey = F.avg_pool2d(maps.float() / 255, scale) if maps.shape[1] else maps[..., ::scale, ::scale].float()
        return Annotations(planes, grey, scale)

    def iterate(self, a: Tensor, b: Tensor, draws: Draws, sync: Sync) -> dict[str, float]:
        """:meth:`step` with its random numbers handed in; a, b: (B, 3, H, W) in [-1, 1].

        Each part of a sum is carried back as soon as it is known, so that one translation chain is held in memory
        where the release holds two.
        """
        params, found = self.params, dict[str, float]()

        def noise(name: str, images: Tensor) -> Tensor:
            return self.noise(draws, name, images)

        for domain, real, there, back in (("a", a, "a2b", "b2a"), ("b", b, "b2a", "a2b")):
            fake = self.generate(real, there, noise(f"cycle.{there}", real))
            again = self.generate(fake, back, noise(f"cycle.{there}.{back}", real))
            loss = params.lambda_cycle * F.l1_loss(again, real)
            loss = loss + params.lambda_cycle_lpips * self.distance(again, real).mean()
            loss.backward()
            found[f"cycle_{domain}"] = loss.item()
        found["grad_norm.cycle"] = self.update(sync)

        judges, fakes = self.discriminators, dict[str, Tensor]()
        thaw = [frozen_for(judge) for judge in judges.values()]
        for name, judge, real, direction in (("b", "disc_b", b, "b2a"), ("a", "disc_a", a, "a2b")):
            fake = self.generate(real, direction, noise(f"gan.{direction}", real))
            loss = params.lambda_gan * judges[judge](fake, "for_G", draws, f"gan.{judge}").mean()
            loss.backward()
            found[f"gan_{name}"], fakes[judge] = loss.item(), fake.detach()
        for undo in thaw:
            undo()
        found["grad_norm.gan"] = self.update(sync)

        for domain, real, direction in (("a", b, "a2b"), ("b", a, "b2a")):
            same = self.generate(real, direction, noise(f"identity.{direction}", real))
            loss = params.lambda_idt * F.l1_loss(same, real)
            loss = loss + params.lambda_idt_lpips * self.distance(same, real).mean()
            loss.backward()
            found[f"idt_{domain}"] = loss.item()
        found["grad_norm.identity"] = self.update(sync)

        reals = {"disc_a": b, "disc_b": a}
        for kind, pictures in (("fake", fakes), ("real", reals)):
            for name, judge in judges.items():
                loss = params.lambda_gan * judge(pictures[name], kind, draws, f"{kind}.{name}").mean()
                # half of each side: together they are one loss
                (0.5 * loss).backward()
                found[name] = found.get(name, 0.0) + loss.item()
            found[f"grad_norm.disc_{kind}"] = self.update_judges(sync)
        return found

    @torch.no_grad()
    def validate(self, samples: Mapping[str, Sequence[Sample]]) -> Validation:
        """Cycle and identity distances in both directions, and up to four pictures a direction beside their source."""
        metrics, pictures = dict[str, float](), dict[str, np.ndarray]()
        for stream, there, back in (("a", "a2b", "b2a"), ("b", "b2a", "a2b")):
            sums, rows = dict[str, float](), list[list[np.ndarray]]()
            images = [cast(Tensor, sample["image"])[None].to(self.device) for sample in samples.get(stream, ())]
            for number, image in enumerate(images):
                generator = torch.Generator().manual_seed(number)
                shape = (1, *self.generators[there].latent_shape(*image.shape[-2:]))
                noise = [torch.randn(shape, generator=generator).to(self.device) for _ in range(3)]
                fake = self.generate(image, there, noise[0])
                again = self.generate(fake, back, noise[1])
                same = self.generate(image, back, noise[2])
                for name, other in (("cycle", again), ("identity", same)):
                    sums[f"{name}_l1"] = sums.get(f"{name}_l1", 0.0) + float(F.l1_loss(other, image))
                    distance = float(self.distance(other, image).mean())
                    sums[f"{name}_lpips"] = sums.get(f"{name}_lpips", 0.0) + distance
                if number < 4:
                    rows.append([picture_of(image), picture_of(fake), picture_of(again)])
            metrics |= {f"{stream}.{name}": value / len(images) for name, value in sums.items()}
            if rows:
                pictures[f"{stream}, {there}, and back"] = side_by_side(rows)
        return Validation(metrics, pictures)

    def export(
        self, path: Path, averaged: Mapping[str, Mapping[str, Tensor]] | None, metadata: Mapping[str, str]
    ) -> Path:
        """``.safetensors``: our file, both directions merged, embeddings included. ``.pkl``: the official one.

        Raises:
            InputError: another ending, or an official file of networks without LoRA.
        """
        averaged = averaged or {}
        unet = overlaid(self.unet, averaged.get("unet"))
        vaes = {d: overlaid(vae, averaged.get(f"vae_{d}")) for d, vae in self.vaes.items()}
        if path.suffix == ".pkl":
            if self.params.adapt != "lora":
                raise InputError(f"{path}: the official format holds LoRA only, this training is adapt: full")
            save_official(path, unet, vaes, self.first_layer, self.params.rank_unet, self.params.rank_vae)
            return path
        if path.suffix != ".safetensors":
            raise InputError(f"{path}: expected a name ending in .safetensors (ours) or .pkl (official)")
        tensors = {f"unet.{name}": value for name, value in merged(unet, 1.0).items()}
        for direction, state in vaes.items():
            plain = merged(state, vae_scale(self.params.rank_vae))
            tensors |= {f"vae_{direction}.{name}": value for name, value in plain.items()}
        for number, direction in enumerate(DIRECTIONS):
            tensors[f"captions.{number}"] = self.embeddings[direction][0]
        config = NativeConfig(
            method="cyclegan_turbo",
            unet=dict(self.unet.config),
            vae=self.vaes["a2b"].config,
            scheduler=self.scheduler,
            vaes={direction: f"vae_{direction}" for direction in DIRECTIONS},
            captions=tuple(self.captions[direction] for direction in DIRECTIONS),
            default_captions=self.captions,
            about=dict(metadata),
        )
        save_native(path, config, tensors)
        return path
