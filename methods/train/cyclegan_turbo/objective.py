"""Training CycleGAN-Turbo: cycle, adversaries with frozen features, identity (section 3.3 of arXiv 2403.12036)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from methods.base import Inputs
from methods.errors import BadSample, InputError
from methods.nn.image_prep import to_tensor
from methods.train.crops import cut
from methods.train.cyclegan_turbo.info import INFO, CycleGANTurboTrainParams
from methods.train.cyclegan_turbo.joint import iterate_jointly, pass_through
from methods.train.cyclegan_turbo.official import save_official
from methods.train.cyclegan_turbo.parts import DIRECTIONS, adapted_parts
from methods.train.cyclegan_turbo.state import DISCRIMINATORS, CycleGANTurboState
from methods.train.draws import Draws
from methods.train.losses.vision_aided import VisionAidedDiscriminator
from methods.train.objective import ObjectiveInfo, Sample, Streams, Validation
from methods.train.turbo.frozen import backbone, perceptual
from methods.train.turbo.networks import frozen_for, merged, overlaid, vae_scale
from methods.train.turbo.pictures import picture_of, side_by_side
from methods.train.updates import Updates
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
        found = dict[str, VisionAidedDiscriminator]()
        if params.lambda_gan or not params.joint:
            features = backbone(params, device)
            found = {name: VisionAidedDiscriminator(features, params.head_width).to(device) for name in DISCRIMINATORS}
        return cls(params, parts, perceptual(params, device), found, device, precision, steps)

    def transform(self, stream: str, inputs: Inputs, rng: np.random.Generator) -> Sample:
        """``image``: (3, H, W) in [-1, 1]; for paired data also ``target``, cut alike.

        Raises:
            BadSample: no picture; for paired data no target, or one of another size.
        """
        params = self.params
        if inputs.image is None:
            raise BadSample("no_image", "cyclegan_turbo trains on pictures")
        if not params.paired:
            (image,) = cut([inputs.image], params.image_prep, rng)
            return {"image": to_tensor(image, signed=True)}
        target = inputs.columns.get("target")
        if target is None:
            raise BadSample("no_target", "lambda_rec needs a target beside each picture: name it in the data's target")
        if target.shape != inputs.image.shape:
            sizes = f"picture {inputs.image.shape[:2]} and target {target.shape[:2]}"
            raise BadSample("not_a_pair", f"{sizes} differ in size")
        image, target = cut([inputs.image, target], params.image_prep, rng)
        return {"image": to_tensor(image, signed=True), "target": to_tensor(target, signed=True)}

    def step(self, batch: Streams, step: int, generator: torch.Generator, updates: Updates) -> Mapping[str, float]:
        """One iteration: three generator steps (cycle, GAN, identity) and two discriminator steps, or ``joint``."""
        params, draws = self.params, Draws(generator, self.device)
        a, b = (cast(Tensor, batch[stream]["image"]) for stream in ("a", "b"))
        if step < params.autoencoder_share * self.steps:
            return pass_through(self, a, b, draws, updates)
        if params.joint:
            truth = {stream: cast(Tensor, batch[stream]["target"]) for stream in batch} if params.paired else None
            return iterate_jointly(self, a, b, truth, draws, updates)
        return self.iterate(a, b, draws, updates)

    def iterate(self, a: Tensor, b: Tensor, draws: Draws, updates: Updates) -> dict[str, float]:
        """:meth:`step` with its random numbers given; a, b: (B, 3, H, W) in [-1, 1].

        The backward pass of each part of a sum runs as soon as the part is known, so that one translation chain is held
        in memory where the release holds two.
        """
        params, found = self.params, dict[str, float]()

        def noise(name: str, images: Tensor) -> Tensor:
            return self.noise(draws, name, images)

        for domain, real, there, back in (("a", a, "a2b", "b2a"), ("b", b, "b2a", "a2b")):
            fake = self.generate(real, there, noise(f"cycle.{there}", real))
            again = self.generate(fake, back, noise(f"cycle.{there}.{back}", real))
            loss = params.lambda_cycle * F.l1_loss(again, real)
            loss = loss + params.lambda_cycle_lpips * self.distance(again, real).mean()
            if domain == "a":
                updates.backward(loss)
            else:
                self.update("cycle", loss, updates)
            found[f"cycle_{domain}"] = loss.item()

        fakes = dict[str, Tensor]()
        thaw = [frozen_for(network) for network in self.discriminators.values()]
        for name, seen_by, real, direction in (("b", "disc_b", b, "b2a"), ("a", "disc_a", a, "a2b")):
            fake = self.generate(real, direction, noise(f"gan.{direction}", real))
            loss = params.lambda_gan * self.discriminators[seen_by](fake, "for_G", draws, f"gan.{seen_by}").mean()
            if name == "b":
                updates.backward(loss)
            else:
                self.update("gan", loss, updates)
            found[f"gan_{name}"], fakes[seen_by] = loss.item(), fake.detach()
        for undo in thaw:
            undo()

        for domain, real, direction in (("a", b, "a2b"), ("b", a, "b2a")):
            same = self.generate(real, direction, noise(f"identity.{direction}", real))
            loss = params.lambda_idt * F.l1_loss(same, real)
            loss = loss + params.lambda_idt_lpips * self.distance(same, real).mean()
            if domain == "a":
                updates.backward(loss)
            else:
                self.update("identity", loss, updates)
            found[f"idt_{domain}"] = loss.item()

        reals, last = {"disc_a": b, "disc_b": a}, list(self.discriminators)[-1]
        for kind, pictures in (("fake", fakes), ("real", reals)):
            for name, network in self.discriminators.items():
                loss = params.lambda_gan * network(pictures[name], kind, draws, f"{kind}.{name}").mean()
                # half of each side: together they are one loss
                if name == last:
                    self.update_discriminators(f"disc_{kind}", 0.5 * loss, updates)
                else:
                    updates.backward(0.5 * loss)
                found[name] = found.get(name, 0.0) + loss.item()
        return found

    @torch.no_grad()
    def validate(self, samples: Mapping[str, Sequence[Sample]]) -> Validation:
        """Metrics of both directions on held-out samples, and up to four rows of pictures per direction.

        Unpaired: cycle and identity distances; rows of source, translation, and the translation back. Paired: distances
        to the truth and PSNR; rows of source, translation, truth.
        """
        metrics, pictures = dict[str, float](), dict[str, np.ndarray]()
        third_column = "truth" if self.params.paired else "and back"
        for stream, there, back in (("a", "a2b", "b2a"), ("b", "b2a", "a2b")):
            sums, rows = dict[str, float](), list[list[np.ndarray]]()
            held = samples.get(stream, ())
            for number, sample in enumerate(held):
                image = cast(Tensor, sample["image"])[None].to(self.device)
                generator = torch.Generator().manual_seed(number)
                shape = (1, *self.generators[there].latent_shape(*image.shape[-2:]))
                noise = [torch.randn(shape, generator=generator).to(self.device) for _ in range(3)]
                fake = self.generate(image, there, noise[0])
                if self.params.paired:
                    third = cast(Tensor, sample["target"])[None].to(self.device)
                    values = self._distances("rec", fake, third)
                    values["psnr"] = -10 * float(np.log10(max(float(F.mse_loss(fake, third)) / 4, 1e-10)))
                else:
                    third = self.generate(fake, back, noise[1])
                    same = self.generate(image, back, noise[2])
                    values = self._distances("cycle", third, image) | self._distances("identity", same, image)
                sums = {name: sums.get(name, 0.0) + value for name, value in values.items()}
                if number < 4:
                    rows.append([picture_of(each) for each in (image, fake, third)])
            metrics |= {f"{stream}.{name}": value / len(held) for name, value in sums.items()}
            if rows:
                pictures[f"{stream}, {there}, {third_column}"] = side_by_side(rows)
        return Validation(metrics, pictures)

    def _distances(self, name: str, output: Tensor, target: Tensor) -> dict[str, float]:
        lpips = float(self.distance(output, target).mean())
        return {f"{name}_l1": float(F.l1_loss(output, target)), f"{name}_lpips": lpips}

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
