"""Training an unconditional denoiser with a learned variance (Nichol & Dhariwal, arXiv 2102.09672)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from methods.asyrp.pictures import to_square
from methods.base import Inputs, to_uint8
from methods.errors import BadSample
from methods.nn.gaussian_diffusion import GaussianDiffusion
from methods.nn.guided_unet import GuidedUNet, UNetConfig
from methods.nn.tensor_file import write_tensors
from methods.train.ddpm.info import INFO, DDPMParams
from methods.train.losses.diffusion import Terms, hybrid_terms, min_snr_weights
from methods.train.objective import ObjectiveInfo, Sample, Streams, Validation
from methods.train.precision import computing_in
from methods.train.updates import Updates

_VALIDATION_STEPS = (100, 300, 500, 700, 900)
_PREVIEWS = 4


class DDPM:
    """The network, its optimizer, and the loss over uniformly drawn timesteps."""

    info: ClassVar[ObjectiveInfo] = INFO

    def __init__(self, params: DDPMParams, device: torch.device, precision: torch.dtype) -> None:
        self.params, self.device, self.precision = params, device, precision
        self.diffusion = GaussianDiffusion.make(params.schedule)
        self.weights = min_snr_weights(torch.from_numpy(self.diffusion.alphas_cumprod), params.min_snr_gamma).to(
            device, torch.float32
        )
        config = UNetConfig(
            model_channels=params.model_channels,
            channel_mult=tuple(float(width) for width in params.channel_mult),
            num_res_blocks=params.num_res_blocks,
            attention_downsample=params.attention_downsample,
            num_head_channels=params.num_head_channels,
            dropout=params.dropout,
            norm_num_groups=params.norm_num_groups,
        )
        self.unet = GuidedUNet(config).to(device).train()
        self.optimizer = torch.optim.AdamW(self.unet.parameters(), lr=params.lr, weight_decay=params.weight_decay)

    @classmethod
    def build(cls, params: DDPMParams, device: torch.device, precision: torch.dtype, steps: int) -> DDPM:
        """Make the network; ``precision`` is that of its arithmetic, its weights are float32."""
        return cls(params, device, precision)

    def networks(self) -> Mapping[str, nn.Module]:
        """The UNet."""
        return {"unet": self.unet}

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Its only one."""
        return {"unet": self.optimizer}

    def transform(self, stream: str, inputs: Inputs, rng: np.random.Generator) -> Sample:
        """``image`` (3, S, S) in [-1, 1], mirrored every other time. Raises BadSample without an image."""
        if inputs.image is None:
            raise BadSample("no_image", "ddpm needs an image")
        image = to_square(inputs.image, self.params.image_size, "bicubic")
        return {"image": image.flip(-1) if self.params.flip and rng.random() < 0.5 else image}

    def step(self, batch: Streams, step: int, generator: torch.Generator, updates: Updates) -> Mapping[str, float]:
        """One AdamW step on squared error plus variational bound."""
        clean = batch["images"]["image"]
        assert isinstance(clean, Tensor)
        steps = torch.randint(len(self.diffusion), (len(clean),), generator=generator).to(self.device)
        noise = torch.randn(clean.shape, generator=generator).to(self.device)
        terms = self.terms(clean, noise, steps)
        loss = (self.weights[steps] * terms.mse + terms.vb).mean()
        updates.step("unet", self.optimizer, loss=loss)
        return {"loss": loss.item(), "mse": terms.mse.mean().item(), "vb": terms.vb.mean().item()}

    def terms(self, clean: Tensor, noise: Tensor, steps: Tensor) -> Terms:
        """The loss terms of pictures (B, 3, S, S) noised to ``steps`` (B,)."""
        noisy = self.diffusion.q_sample(clean, noise, steps)
        with computing_in(self.precision, self.device):
            answer = self.unet(noisy, self.diffusion.original(steps, len(steps), noisy.device))
        predicted, interpolation = answer.chunk(2, 1)
        return hybrid_terms(self.diffusion, (predicted, interpolation), clean, noisy, noise, steps)

    @torch.no_grad()
    def validate(self, samples: Mapping[str, Sequence[Sample]]) -> Validation:
        """Mean loss over five timesteps with fixed noise, and a few pictures made from nothing."""
        images = [sample["image"] for sample in samples.get("images", ())]
        if not images:
            return Validation()
        self.unet.eval()
        steps = torch.tensor(_VALIDATION_STEPS, device=self.device)
        sums = torch.zeros(2)
        for number, image in enumerate(images):
            assert isinstance(image, Tensor)
            generator = torch.Generator().manual_seed(number)
            noise = torch.randn(len(steps), *image.shape, generator=generator).to(self.device)
            terms = self.terms(image.to(self.device).expand(len(steps), -1, -1, -1), noise, steps)
            sums += torch.stack([terms.mse.mean(), terms.vb.mean()]).cpu() / len(images)
        made = to_uint8(self.samples(_PREVIEWS).clamp(-1, 1))
        self.unet.train()
        return Validation({"mse": float(sums[0]), "vb": float(sums[1])}, {"samples": np.concatenate([*made], axis=1)})

    @torch.no_grad()
    def samples(self, count: int) -> Tensor:
        """(count, 3, S, S) pictures from noise with fixed seeds, by ancestral sampling."""
        diffusion = GaussianDiffusion.make(self.params.schedule, str(self.params.preview_steps))
        generator = torch.Generator().manual_seed(0)
        shape = (count, 3, self.params.image_size, self.params.image_size)
        x = torch.randn(shape, generator=generator).to(self.device)
        for index in reversed(range(len(diffusion))):
            predicted, interpolation = self.unet(x, diffusion.original(index, count, x.device)).chunk(2, 1)
            clean = diffusion.predict_clean(x, predicted, index).clamp(-1, 1)
            x = diffusion.posterior_mean(clean, x, index)
            if index:
                fresh = torch.randn(shape, generator=generator).to(self.device)
                x = x + (0.5 * diffusion.learned_log_variance(interpolation, index)).exp() * fresh
        return x

    def state_dict(self) -> dict[str, Any]:
        """Network and optimizer."""
        return {"unet": self.unet.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.unet.load_state_dict(state["unet"])
        self.optimizer.load_state_dict(state["optimizer"])

    def export(
        self, path: Path, averaged: Mapping[str, Mapping[str, Tensor]] | None, metadata: Mapping[str, str]
    ) -> Path:
        """Write a ``.safetensors`` with guided-diffusion's names, which DiffuseIT and Asyrp load."""
        state = averaged["unet"] if averaged else self.unet.state_dict()
        return write_tensors(path, state, metadata)
