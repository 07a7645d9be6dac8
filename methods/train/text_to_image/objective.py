"""Training of a small latent diffusion model from nothing (arXiv 2112.10752): autoencoder first, then the rest."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor, nn

from methods import weights as store
from methods.base import Inputs, to_uint8
from methods.errors import BadSample, InputError
from methods.nn.ddim import ddim_step, sampling_plan
from methods.nn.image_prep import prepare_image, to_tensor
from methods.nn.model_pack import pack
from methods.nn.noise_schedule import configured_alphas
from methods.nn.quiet_libraries import quiet
from methods.pix2pix_zero.prompts import SENTENCES, bundled_prompts, read_prompts
from methods.train.losses.diffusion import min_snr_weights
from methods.train.losses.patchgan import PositionPatchGAN, hinge_for_discriminator, hinge_for_generator
from methods.train.losses.perceptual import PerceptualDistance
from methods.train.objective import ObjectiveInfo, Sample, Streams, Validation
from methods.train.precision import computing_in
from methods.train.text_to_image.info import INFO, TextToImageParams
from methods.train.text_to_image.latent_cache import LatentCache
from methods.train.text_to_image.networks import (
    TOKENS,
    build_unet,
    build_vae,
    scheduler_config,
    text_encoder_config,
    write_tokenizer,
)
from methods.train.updates import Updates

_SCALE_MEMORY = 0.99
_COLOUR = 8.0
_CRITIC_WIDTH, _CRITIC_LR, _CRITIC_BETAS = 32, 4e-4, (0.5, 0.9)
_SHOWN, _SHOWN_STEPS, _SHOWN_SCALE = 4, 20, 5.0


class TextToImageTraining:
    """Autoencoder, text encoder and UNet with an optimizer for each stage.

    Latents are scaled to unit deviation by a running mean taken while the autoencoder learns.
    """

    info: ClassVar[ObjectiveInfo] = INFO

    def __init__(self, params: TextToImageParams, device: torch.device, precision: torch.dtype) -> None:
        from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

        self.params, self.device, self.precision = params, device, precision
        sentences = [line for name in bundled_prompts() for line in read_prompts(SENTENCES / f"{name}.txt")]
        if params.sentences is not None:
            sentences += read_prompts(store.fetch(params.sentences))
        with tempfile.TemporaryDirectory() as folder:
            size = write_tokenizer(Path(folder), sentences, params.vocabulary)
            self.tokenizer = CLIPTokenizer.from_pretrained(folder)
            self.tokenizer_files = {file.name: file.read_text() for file in Path(folder).iterdir()}
        self.vae = build_vae(params).to(device)  # type: ignore[arg-type]
        self.unet = build_unet(params).to(device)  # type: ignore[arg-type]
        self.text = CLIPTextModel(CLIPTextConfig(**text_encoder_config(params, size))).to(device)  # type: ignore[arg-type]
        self.scheduler = scheduler_config(params)
        self.alphas = configured_alphas(self.scheduler).to(device)
        self.deviation = 1.0
        self.latents = LatentCache(params.latent_cache)
        self.perceptual = PerceptualDistance().to(device).requires_grad_(False) if params.vae_perceptual else None
        self.critic = PositionPatchGAN(_CRITIC_WIDTH, conditions=0).to(device) if params.vae_adversarial else None
        self.vae_optimizer = torch.optim.AdamW(self.vae.parameters(), params.vae_lr)
        self.critic_optimizer = self.critic and torch.optim.AdamW(
            self.critic.parameters(), _CRITIC_LR, _CRITIC_BETAS, weight_decay=0.0
        )
        self.optimizer = torch.optim.AdamW([*self.unet.parameters(), *self.text.parameters()], params.lr)

    @classmethod
    def build(
        cls, params: TextToImageParams, device: torch.device, precision: torch.dtype, steps: int
    ) -> TextToImageTraining:
        """Fresh networks, initialised from torch's global generator.

        Raises:
            InputError: sentences that cannot be read, or no step left for the second stage.
        """
        if params.vae_steps >= steps:
            raise InputError(f"objective.params.vae_steps is {params.vae_steps} of {steps} steps: nothing is left")
        return cls(params, device, precision)

    def networks(self) -> Mapping[str, nn.Module]:
        """All three."""
        return {"vae": self.vae, "unet": self.unet, "text_encoder": self.text}

    def _trained(self) -> Mapping[str, nn.Module]:
        """All that a checkpoint holds: the critic too, which is no part of the model."""
        return {**self.networks(), **({} if self.critic is None else {"critic": self.critic})}

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """That of the autoencoder, that of its critic if there is one, and that of the UNet with the text encoder."""
        critic = {} if self.critic_optimizer is None else {"critic": self.critic_optimizer}
        return {"unet": self.optimizer, "vae": self.vae_optimizer, **critic}

    def transform(self, stream: str, inputs: Inputs, rng: np.random.Generator) -> Sample:
        """``image`` (3, S, S) in [-1, 1] and ``ids`` (77,) int64.

        Raises:
            BadSample: no picture or caption, or a caption that is too long.
        """
        if inputs.image is None or not inputs.caption:
            raise BadSample("no_caption", "the sample has no caption: name its column in data.captioned.caption")
        image = prepare_image(inputs.image, f"resized_crop_{self.params.size}")
        return {"image": to_tensor(image, signed=True), "ids": self._ids(inputs.caption)}

    def step(self, batch: Streams, step: int, generator: torch.Generator, updates: Updates) -> Mapping[str, float]:
        """One step of the stage that ``step`` belongs to."""
        images, ids = batch["captioned"]["image"], batch["captioned"]["ids"]
        assert isinstance(images, Tensor)
        assert isinstance(ids, Tensor)
        if step >= self.params.vae_steps:
            losses, loss = self._noise_loss(self.latents.of(images, self._encoded), ids, generator)
            updates.step("unet", self.optimizer, loss=loss, clip=1.0)
            return losses
        crops = self._cropped(images, generator)
        losses, loss, latents, decoded = self._vae_loss(crops, generator)
        if self.critic is not None and 2 * step >= self.params.vae_steps:
            losses["critic"] = self._critic_step(crops, decoded.detach(), updates)
            with computing_in(self.precision, self.device):
                fooled = hinge_for_generator(self.critic(decoded))
            losses["adversarial"] = fooled.item()
            loss = loss + self.params.vae_adversarial * fooled
        updates.step("vae", self.vae_optimizer, loss=loss, clip=1.0)
        self._follow(latents, updates)
        return {**losses, "latent_deviation": self.deviation}

    def _critic_step(self, real: Tensor, fake: Tensor, updates: Updates) -> float:
        """The critic's own step; afterwards no gradient reaches it until the next one."""
        assert self.critic is not None
        assert self.critic_optimizer is not None
        self.critic.requires_grad_(True)
        with computing_in(self.precision, self.device):
            loss = hinge_for_discriminator(self.critic(real), self.critic(fake))
        updates.step("critic", self.critic_optimizer, loss=loss)
        self.critic.requires_grad_(False)
        return loss.item()

    def _follow(self, latents: Tensor, updates: Updates) -> None:
        """Move the running deviation towards that of an iteration's latents, of all batches and workers."""
        moments = updates.mean("latents", torch.stack([latents.mean(), latents.square().mean()]))
        if moments is not None:
            mean, square = moments.tolist()
            self.deviation += (1 - _SCALE_MEMORY) * (max(square - mean**2, 0.0) ** 0.5 - self.deviation)

    def _cropped(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """The same square of every picture, somewhere."""
        side = self.params.vae_crop
        if side is None:
            return images
        top, left = torch.randint(self.params.size - side + 1, (2,), generator=generator).tolist()
        return images[..., top : top + side, left : left + side]

    def _vae_loss(self, images: Tensor, generator: torch.Generator) -> tuple[dict[str, float], Tensor, Tensor, Tensor]:
        """Losses by name, their sum, the latents, which no gradient reaches, and the decoded pictures."""
        posterior = self._posterior(images)
        latents = posterior.mean + posterior.std * self._noise(posterior.mean.shape, generator)
        with computing_in(self.precision, self.device):
            decoded = self.vae.decode(latents, return_dict=False)[0].float()  # type: ignore[index]
        # squares: absolute differences are content with the median, and colours stay grey for thousands of steps
        difference = (decoded - images).square().mean()
        # edges count as much as surfaces: lamps and lane markings are small
        for axis in (2, 3):
            difference = difference + (decoded.diff(dim=axis) - images.diff(dim=axis)).square().mean()
        # small against brightness, and seen at once
        difference = difference + _COLOUR * (_chroma(decoded) - _chroma(images)).square().mean()
        divergence = posterior.kl().mean() / images[0].numel()
        losses = {"vae": difference.item(), "kl": divergence.item()}
        loss = difference + self.params.kl_weight * divergence
        if self.perceptual is not None:
            with computing_in(self.precision, self.device):
                distance = self.perceptual(decoded, images)
            losses["perceptual"] = distance.item()
            loss = loss + self.params.vae_perceptual * distance
        return losses, loss, latents.detach(), decoded

    def _noise_loss(
        self, posterior: tuple[Tensor, Tensor], ids: Tensor, generator: torch.Generator
    ) -> tuple[dict[str, float], Tensor]:
        mean, std = posterior
        latents = (mean + std * self._noise(mean.shape, generator)) / self.deviation
        count = len(latents)
        timesteps = torch.randint(len(self.alphas), (count,), generator=generator).to(self.device)
        dropped = (torch.rand(count, generator=generator) < self.params.caption_dropout).to(self.device)
        noise = self._noise(latents.shape, generator)
        alpha = self.alphas[timesteps][:, None, None, None]
        noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
        ids = torch.where(dropped[:, None], self._ids("").to(self.device), ids)
        with computing_in(self.precision, self.device):
            output = self.unet(noisy, timesteps, self.text(ids)[0], return_dict=False)[0].float()
        errors = (output - noise).square().flatten(1).mean(1)
        weights = min_snr_weights(self.alphas[timesteps], self.params.min_snr_gamma)
        return {"noise": errors.mean().item()}, (errors * weights).mean()

    def _posterior(self, images: Tensor) -> DiagonalGaussianDistribution:
        with computing_in(self.precision, self.device):
            moments = self.vae.encode(images).latent_dist.parameters  # type: ignore[union-attr]
        return DiagonalGaussianDistribution(moments.float())

    @torch.no_grad()
    def _encoded(self, images: Tensor) -> tuple[Tensor, Tensor]:
        posterior = self._posterior(images)
        return posterior.mean, posterior.std

    @torch.no_grad()
    def validate(self, samples: Mapping[str, Sequence[Sample]]) -> Validation:
        """Error of reconstruction and of predicted noise with fixed draws; pictures, reconstructions, and samples."""
        generator = torch.Generator().manual_seed(0)
        rows = samples["captioned"]
        images = torch.stack([_tensor(row["image"]) for row in rows]).to(self.device)
        ids = torch.stack([_tensor(row["ids"]) for row in rows]).to(self.device)
        reconstruction, *_ = self._vae_loss(images, generator)
        noise, _ = self._noise_loss(self._encoded(images), ids, generator)
        shown = images[:_SHOWN]
        decoded = self.vae.decode(self.vae.encode(shown).latent_dist.mean, return_dict=False)[0]  # type: ignore[union-attr, index]
        painted = self._paint(ids[:_SHOWN], generator)
        side_by_side = to_uint8(torch.cat([shown, decoded.clamp(-1, 1), painted], dim=3))
        pictures = {f"picture, decoded, painted {n}": each for n, each in enumerate(side_by_side)}
        return Validation({"vae": reconstruction["vae"], "noise": noise["noise"]}, pictures)

    def _paint(self, ids: Tensor, generator: torch.Generator) -> Tensor:
        side = self.params.size >> (len(self.params.vae_widths) - 1)
        x = self._noise((len(ids), self.params.latent_channels, side, side), generator)
        nothing = self._ids("").to(self.device).expand(len(ids), -1)
        embeddings = self.text(torch.cat([nothing, ids]))[0]
        for each in sampling_plan(self.scheduler, _SHOWN_STEPS):
            unconditional, conditional = self.unet(torch.cat([x, x]), each.timestep, embeddings, return_dict=False)[
                0
            ].chunk(2)
            noise = unconditional + _SHOWN_SCALE * (conditional - unconditional)
            x = ddim_step(x, noise, each.alpha_from, each.alpha_to)
        return self.vae.decode(x * self.deviation, return_dict=False)[0].clamp(-1, 1)  # type: ignore[index]

    def state_dict(self) -> dict[str, Any]:
        """Networks, optimizers and the latents' deviation."""
        networks = {name: network.state_dict() for name, network in self._trained().items()}
        optimizers = {"vae_optimizer": self.vae_optimizer.state_dict(), "optimizer": self.optimizer.state_dict()}
        if self.critic_optimizer is not None:
            optimizers["critic_optimizer"] = self.critic_optimizer.state_dict()
        return {**networks, **optimizers, "deviation": self.deviation}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        for name, network in self._trained().items():
            network.load_state_dict(state[name])
        if self.critic_optimizer is not None:
            self.critic_optimizer.load_state_dict(state["critic_optimizer"])
        self.vae_optimizer.load_state_dict(state["vae_optimizer"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.deviation = float(state["deviation"])
        self.latents.clear()

    def export(
        self, path: Path, averaged: Mapping[str, Mapping[str, Tensor]] | None, metadata: Mapping[str, str]
    ) -> Path:
        """One float16 file that ``pix2pix_zero`` and ``self_guidance`` load. Raises InputError for another ending."""
        if path.suffix != ".safetensors":
            raise InputError(f"{path}: a text-to-image model is written as .safetensors")
        kept = {name: {k: v.clone() for k, v in net.state_dict().items()} for name, net in self.networks().items()}
        try:
            for name, network in self.networks().items():
                network.load_state_dict({**kept[name], **(averaged[name] if averaged else {})})
            with tempfile.TemporaryDirectory() as scratch, quiet():
                folder = Path(scratch)
                self.vae.register_to_config(scaling_factor=1.0 / self.deviation)
                for name, network in self.networks().items():
                    network.save_pretrained(folder / name)  # type: ignore[operator]
                (folder / "scheduler").mkdir()
                (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(self.scheduler))
                (folder / "tokenizer").mkdir()
                for name, text in self.tokenizer_files.items():
                    (folder / "tokenizer" / name).write_text(text)
                return pack(folder, path, metadata, torch.float16)
        finally:
            for name, network in self.networks().items():
                network.load_state_dict(kept[name])

    def _ids(self, caption: str) -> Tensor:
        ids = [int(each) for each in self.tokenizer(caption).input_ids]
        if len(ids) > TOKENS:
            raise BadSample("caption_too_long", f"'{caption[:60]}' is {len(ids)} tokens long, more than {TOKENS}")
        return torch.tensor(ids + [int(self.tokenizer.pad_token_id)] * (TOKENS - len(ids)))  # type: ignore[arg-type]

    def _noise(self, shape: Sequence[int], generator: torch.Generator) -> Tensor:
        return torch.randn(tuple(shape), generator=generator).to(self.device)


def _chroma(images: Tensor) -> Tensor:
    return images - images.mean(1, keepdim=True)


def _tensor(value: Any) -> Tensor:
    assert isinstance(value, Tensor)
    return value
