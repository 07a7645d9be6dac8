"""Training pix2pix-Turbo on pairs: L2, LPIPS, CLIP similarity, adversary (sections 3.2 and 3.4 of arXiv 2403.12036)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods.base import Inputs
from methods.errors import BadSample, InputError
from methods.nn.image_prep import to_tensor
from methods.train.crops import cut
from methods.train.draws import Draws
from methods.train.losses.backbones import CLIP_MODEL, ClipSimilarity, load_clip
from methods.train.losses.patchgan import PositionPatchGAN, hinge_for_discriminator, hinge_for_generator
from methods.train.losses.vision_aided import VisionAidedDiscriminator
from methods.train.objective import ObjectiveInfo, Sample, Streams, Validation
from methods.train.pix2pix_turbo.blended import blended, lora_strength
from methods.train.pix2pix_turbo.info import INFO, Pix2PixTurboTrainParams
from methods.train.pix2pix_turbo.official import save_official
from methods.train.pix2pix_turbo.parts import DIRECTION, adapted_parts
from methods.train.turbo.frozen import backbone, perceptual
from methods.train.turbo.networks import (
    Parts,
    frozen_for,
    kept_state,
    merged,
    overlaid,
    restore,
    set_checkpointing,
    vae_scale,
)
from methods.train.turbo.pictures import picture_of, side_by_side
from methods.train.updates import Updates
from methods.turbo.condition import condition
from methods.turbo.generator import OneStepGenerator
from methods.turbo.native import NativeConfig, save_native
from methods.turbo.official import PEFT_ALPHA, collect_adapters

Similarity = Callable[[Tensor, list[str]], Tensor]


class Pix2PixTurboTraining:
    """A pix2pix-Turbo model and its discriminator.

    Trained are the UNet's LoRA and its whole first layer, the VAE's LoRA and its skip convolutions.

    Args:
        params: see :class:`Pix2PixTurboTrainParams`.
        parts: networks with one VAE named ``translate``, on the CPU.
        distance: perceptual distance, frozen, on the device.
        discriminator: of the target domain.
        similarity: of pictures and captions; needed where ``lambda_clipsim`` is above 0.
        device, precision: where, and in which precision the networks compute; weights stay in float32.
    """

    info: ClassVar[ObjectiveInfo] = INFO

    def __init__(
        self,
        params: Pix2PixTurboTrainParams,
        parts: Parts,
        distance: nn.Module,
        discriminator: VisionAidedDiscriminator,
        similarity: Similarity | None,
        device: torch.device,
        precision: torch.dtype,
    ) -> None:
        self.params, self.device, self.precision = params, device, precision
        self.scheduler = parts.scheduler
        self.captions = parts.captions.to(device)
        if params.caption is not None:
            self.captions.only(params.caption, "objective.params.caption")
        cast(nn.Module, parts.unet).to(device)
        self.unet, self.vae = parts.unet, parts.vaes[DIRECTION].to(device)
        self.generator = OneStepGenerator(self.unet, self.vae, parts.alpha_bar)
        set_checkpointing(self.unet, [self.vae], params.checkpointing)
        self.first_layer = (parts.first_layer[0].to(device), parts.first_layer[1].to(device))
        self.distance, self.discriminator, self.similarity = distance, discriminator, similarity
        self.trained = [p for p in [*self.unet.parameters(), *self.vae.parameters()] if p.requires_grad]
        self.patch_discriminator: PositionPatchGAN | None = None
        if params.lambda_patch:
            self.patch_discriminator = PositionPatchGAN(params.patch_width).to(device)
        self.discriminators = [discriminator, *([] if self.patch_discriminator is None else [self.patch_discriminator])]
        self.trained_discriminators = [
            parameter for network in self.discriminators for parameter in network.parameters()
        ]
        betas = (params.beta1, params.beta2)
        self.optimizer, self.discriminator_optimizer = (
            torch.optim.AdamW(each, lr=lr, betas=betas, weight_decay=params.weight_decay, eps=params.eps)
            for each, lr in (
                (self.trained, params.lr),
                (self.trained_discriminators, params.lr_discriminator or params.lr),
            )
        )

    @classmethod
    def build(
        cls, params: Pix2PixTurboTrainParams, device: torch.device, precision: torch.dtype, steps: int
    ) -> Pix2PixTurboTraining:
        """Networks, frozen helpers and optimizers. Raises InputError for weights that are not there or do not fit."""
        parts = adapted_parts(params)
        discriminator = VisionAidedDiscriminator(backbone(params, device), params.head_width, params.real_target).to(
            device
        )
        similarity = None
        if params.lambda_clipsim:
            import open_clip

            similarity = ClipSimilarity(load_clip(params.clip).to(device), open_clip.get_tokenizer(CLIP_MODEL))
        return cls(params, parts, perceptual(params, device), discriminator, similarity, device, precision)

    def networks(self) -> Mapping[str, nn.Module]:
        """UNet, VAE and discriminator."""
        found: dict[str, nn.Module] = {"unet": self.unet, "vae": self.vae, "disc": self.discriminator}
        return found | ({} if self.patch_discriminator is None else {"patch": self.patch_discriminator})

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """The generator's and the discriminators'."""
        return {"generator": self.optimizer, "discriminator": self.discriminator_optimizer}

    def transform(self, stream: str, inputs: Inputs, rng: np.random.Generator) -> Sample:
        """``source`` (3, H, W) in [0, 1], ``target`` (3, H, W) in [-1, 1], ``caption``.

        Raises:
            BadSample: no picture, no target of the same size, or no caption that can be embedded.
        """
        params = self.params
        caption = params.caption if params.caption is not None else inputs.caption
        if caption is None or not self.captions.knows(caption):
            raise BadSample("no_caption", f"caption {caption!r}: none, or none that the weights can embed")
        image, target = inputs.image, inputs.columns.get("target")
        if image is None:
            raise BadSample("no_image", "pix2pix_turbo trains on pictures")
        if params.input != "image":
            # edges of what is to be drawn; where there is no target the picture is what is to be drawn
            image = target = image if target is None else target
        if target is None:
            raise BadSample("no_target", "input: image needs a target beside each picture (or use canny or sketch)")
        if target.shape != image.shape:
            raise BadSample("not_a_pair", f"picture {image.shape[:2]} and target {target.shape[:2]} differ in size")
        image, target = cut([image, target], params.image_prep, rng)
        low, high = (_drawn(value, rng) for value in (params.canny_low, params.canny_high))
        source = condition(image, params.input, low, high)
        return {"source": source, "target": to_tensor(target, signed=True), "caption": caption}

    def generate(
        self, source: Tensor, embedding: Tensor, noise: Tensor, noise_map: Tensor | None = None, gamma: float = 1.0
    ) -> Tensor:
        """(B, 3, H, W) in [-1, 1]; ``gamma`` and ``noise_map`` for stochastic training."""
        half = self.precision != torch.float32
        with torch.autocast(self.device.type, self.precision, enabled=half):
            if noise_map is None:
                found = self.generator(source, embedding, noise)
            else:
                found = blended(self.generator, self.first_layer, source, embedding, noise, noise_map, gamma)
        return found.clamp(-1.0, 1.0)

    def step(self, batch: Streams, step: int, generator: torch.Generator, updates: Updates) -> Mapping[str, float]:
        """One iteration: two generator steps (reconstruction, GAN) and two discriminator steps, or ``joint``."""
        params, pairs = self.params, batch["pairs"]
        source, target = (cast(Tensor, pairs[name]) for name in ("source", "target"))
        captions, draws = cast("list[str]", pairs["caption"]), Draws(generator, self.device)
        if params.joint:
            return self.iterate_jointly(source, target, captions, draws, updates)
        return self.iterate(source, target, captions, draws, updates)

    def iterate(
        self, source: Tensor, target: Tensor, captions: list[str], draws: Draws, updates: Updates
    ) -> dict[str, float]:
        """:meth:`step` with its random numbers given.

        The discriminator learns from its own steps alone; the release also leaves it the generator's gradients.
        """
        params = self.params
        # made for use in autograd, so no inference tensor
        embedding = self.captions(captions).clone()
        shape = (len(source), *self.generator.latent_shape(*source.shape[-2:]))
        gamma = float(draws.uniform("gamma", (1,))) if params.stochastic else 1.0

        def fake(name: str) -> Tensor:
            noise = draws.normal(f"{name}.latent", shape)
            noise_map = draws.normal(f"{name}.noise_map", shape) if params.stochastic else None
            return self.generate(source, embedding, noise, noise_map, gamma)

        with lora_strength((self.unet, self.vae), gamma):
            loss, found = self._reconstruction(fake("reconstruction"), target, captions)
            self._update("reconstruction", gamma * loss, updates)

        undo = frozen_for(self.discriminator)
        with lora_strength((self.unet, self.vae), gamma):
            output = fake("gan")
            loss = params.lambda_gan * self.discriminator(output, "for_G", draws, "gan.disc").mean()
            self._update("gan", loss, updates)
        undo()
        found |= {"gan": loss.item(), "disc": 0.0}

        for kind, pictures in (("real", target), ("fake", output.detach())):
            loss = params.lambda_gan * self.discriminator(pictures, kind, draws, f"{kind}.disc").mean()
            self._update_discriminators(f"disc_{kind}", loss, updates)
            found["disc"] += loss.item()
        return found

    def iterate_jointly(
        self, source: Tensor, target: Tensor, captions: list[str], draws: Draws, updates: Updates
    ) -> dict[str, float]:
        """One forward pass and one generator step for all losses, then one discriminator step, without gamma."""
        params = self.params
        noise = draws.normal("joint.latent", (len(source), *self.generator.latent_shape(*source.shape[-2:])))
        thaw = [frozen_for(network) for network in self.discriminators]
        output = self.generate(source, self.captions(captions).clone(), noise)
        loss, found = self._reconstruction(output, target, captions)
        fooled = params.lambda_gan * self.discriminator(output, "for_G", draws, "gan.disc").mean()
        loss, found["gan"] = loss + fooled, fooled.item()
        if self.patch_discriminator is not None:
            placed = params.lambda_patch * hinge_for_generator(self.patch_discriminator(output, source))
            loss, found["patch"] = loss + placed, placed.item()
        self._update("generator", loss, updates)
        for undo in thaw:
            undo()

        fake = output.detach()
        loss = params.lambda_gan * self.discriminator(target, "real", draws, "real.disc").mean()
        loss = loss + params.lambda_gan * self.discriminator(fake, "fake", draws, "fake.disc").mean()
        found["disc"] = loss.item()
        if self.patch_discriminator is not None:
            placed = hinge_for_discriminator(
                self.patch_discriminator(target, source), self.patch_discriminator(fake, source)
            )
            loss, found["patch_disc"] = loss + placed, placed.item()
        self._update_discriminators("disc", loss, updates)
        return found

    def _reconstruction(self, output: Tensor, target: Tensor, captions: list[str]) -> tuple[Tensor, dict[str, float]]:
        """The sum of the reconstruction losses, and each by name."""
        params, found = self.params, dict[str, float]()
        l2 = params.lambda_l2 * F.mse_loss(output, target)
        lpips = params.lambda_lpips * self.distance(output, target).mean()
        loss = l2 + lpips
        found |= {"l2": l2.item(), "lpips": lpips.item()}
        if params.lambda_l1:
            l1 = params.lambda_l1 * F.l1_loss(output, target)
            loss, found["l1"] = loss + l1, l1.item()
        if self.similarity is not None and params.lambda_clipsim:
            clipsim = params.lambda_clipsim * self.similarity(output, captions)
            loss = loss + clipsim
            found["clipsim"] = clipsim.item()
        return loss, found

    def _update(self, name: str, loss: Tensor, updates: Updates) -> None:
        updates.step(name, self.optimizer, loss=loss, clip=self.params.max_grad_norm)

    def _update_discriminators(self, name: str, loss: Tensor, updates: Updates) -> None:
        updates.step(name, self.discriminator_optimizer, loss=loss, clip=self.params.max_grad_norm)

    @torch.no_grad()
    def validate(self, samples: Mapping[str, Sequence[Sample]]) -> Validation:
        """PSNR, L2 and perceptual distance to the truth at gamma 1; up to four rows of source, output and truth."""
        sums, rows, pairs = dict[str, float](), list[list[np.ndarray]](), samples.get("pairs", ())
        for number, sample in enumerate(pairs):
            source, target = (cast(Tensor, sample[name])[None].to(self.device) for name in ("source", "target"))
            shape = (1, *self.generator.latent_shape(*source.shape[-2:]))
            noise = torch.randn(shape, generator=torch.Generator().manual_seed(number)).to(self.device)
            output = self.generate(source, self.captions([cast(str, sample["caption"])]), noise)
            error = float(F.mse_loss(output, target))
            values = {
                "l2": error,
                "lpips": float(self.distance(output, target).mean()),
                "psnr": -10 * float(np.log10(max(error / 4, 1e-10))),
            }
            sums = {name: sums.get(name, 0.0) + value for name, value in values.items()}
            if number < 4:
                rows.append([picture_of(source * 2 - 1), picture_of(output), picture_of(target)])
        pictures = {"source, output, truth": side_by_side(rows)} if rows else {}
        return Validation({name: value / len(pairs) for name, value in sums.items()}, pictures)

    def state_dict(self) -> dict[str, Any]:
        """Trained weights and buffers, and both optimizers; what never changes is left out."""
        return {
            "networks": {name: kept_state(network) for name, network in self.networks().items()},
            "optimizer": self.optimizer.state_dict(),
            "discriminator_optimizer": self.discriminator_optimizer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`. Raises InputError when the networks are others."""
        for name, network in self.networks().items():
            restore(network, state["networks"][name], name)
        self.optimizer.load_state_dict(state["optimizer"])
        self.discriminator_optimizer.load_state_dict(state["discriminator_optimizer"])

    def export(
        self, path: Path, averaged: Mapping[str, Mapping[str, Tensor]] | None, metadata: Mapping[str, str]
    ) -> Path:
        """``.safetensors``: our file (LoRA merged; stored separately when stochastic). ``.pkl``: the official one.

        Raises:
            InputError: another ending, or an official file of networks without LoRA.
        """
        averaged = averaged or {}
        unet, vae = overlaid(self.unet, averaged.get("unet")), overlaid(self.vae, averaged.get("vae"))
        params = self.params
        pretrained = self.first_layer if params.stochastic else None
        if path.suffix == ".pkl":
            if params.adapt != "lora":
                raise InputError(f"{path}: the official format holds LoRA only, this training is adapt: full")
            save_official(path, unet, vae, params.rank_unet, params.rank_vae, pretrained)
            return path
        if path.suffix != ".safetensors":
            raise InputError(f"{path}: expected a name ending in .safetensors (ours) or .pkl (official)")
        scales = {"unet": PEFT_ALPHA / params.rank_unet, "vae": vae_scale(params.rank_vae)}
        tensors: dict[str, Tensor] = {}
        for part, state in (("unet", unet), ("vae", vae)):
            scale = 0.0 if params.stochastic else scales[part]
            tensors |= {f"{part}.{name}": value for name, value in merged(state, scale).items()}
            if pretrained is not None:
                for module, (a, b) in collect_adapters(state, None, "training").items():
                    tensors[f"lora.{part}.{module}.lora_A.weight"] = a
                    tensors[f"lora.{part}.{module}.lora_B.weight"] = b * scales[part]
        if pretrained is not None:
            tensors["twin.weight"], tensors["twin.bias"] = pretrained
        known = self.captions.stored
        for number, embedding in enumerate(known.values()):
            tensors[f"captions.{number}"] = embedding
        config = NativeConfig(
            method="pix2pix_turbo",
            unet=dict(self.unet.config),
            vae=self.vae.config,
            scheduler=self.scheduler,
            vaes={DIRECTION: "vae"},
            captions=tuple(known),
            default_captions={} if params.caption is None else {DIRECTION: params.caption},
            about=dict(metadata),
        )
        save_native(path, config, tensors)
        return path


def _drawn(value: float | tuple[float, float], rng: np.random.Generator) -> float:
    return float(rng.uniform(*value)) if isinstance(value, tuple) else value
