"""Training PITI's base model: the condition encoder alone, then encoder and UNet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor, nn

from methods.base import Inputs
from methods.nn.gaussian_diffusion import GaussianDiffusion
from methods.piti.networks import PITIModel
from methods.piti.sampling import sample_base
from methods.train.losses.diffusion import LossSecondMomentSampler, Terms, TimestepSampler, UniformSampler, hybrid_terms
from methods.train.objective import ObjectiveInfo, Sample, Streams, Validation
from methods.train.piti.info import BASE, PITIBaseParams
from methods.train.piti.pairs import PairReader, merged, resized, side_by_side, start_model, write_model
from methods.train.precision import computing_in
from methods.train.updates import Updates

PREVIEWS = 4
_VALIDATION_STEPS = (100, 300, 500, 700, 900)


class PITIBase:
    """The base model on its device, its optimizer, and the choice of timesteps."""

    info: ClassVar[ObjectiveInfo] = BASE

    def __init__(
        self,
        params: PITIBaseParams,
        model: PITIModel,
        reader: PairReader,
        device: torch.device,
        precision: torch.dtype,
    ) -> None:
        self.params, self.reader, self.device, self.precision = params, reader, device, precision
        self.model = model.to(device).train()
        self.diffusion = GaussianDiffusion.make(params.model.schedule)
        # in stage "encoder" gradients flow through the UNet, and none are made for it
        self.model.decoder.requires_grad_(params.stage == "all")
        self.trained: nn.Module = self.model if params.stage == "all" else self.model.encoder
        self.optimizer = torch.optim.AdamW(self.trained.parameters(), lr=params.lr, weight_decay=0.0)
        steps = len(self.diffusion)
        self.sampler: TimestepSampler = (
            UniformSampler(steps) if params.timesteps == "uniform" else LossSecondMomentSampler(steps)
        )

    @classmethod
    def build(cls, params: PITIBaseParams, device: torch.device, precision: torch.dtype, steps: int) -> PITIBase:
        """Make the model and its optimizer; ``precision`` is that of its arithmetic, its weights are float32.

        Raises:
            InputError: weights or files of the parameters that cannot be found or do not fit.
        """
        return cls(params, start_model(params, params.model), PairReader(params), device, precision)

    def networks(self) -> Mapping[str, nn.Module]:
        """The model, or its encoder in stage ``encoder``."""
        return {"model" if self.params.stage == "all" else "encoder": self.trained}

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Its only one."""
        return {"model": self.optimizer}

    def transform(self, stream: str, inputs: Inputs, rng: np.random.Generator) -> Sample:
        """``image`` (3, side, side) and ``condition`` (C, 256, 256), in [-1, 1]. Raises BadSample."""
        picture, condition = self.reader.read(inputs, rng)
        return {"image": resized(picture, self.params.model.side), "condition": condition}

    def step(self, batch: Streams, step: int, generator: torch.Generator, updates: Updates) -> Mapping[str, float]:
        """One AdamW step on the weighted mean of mse + vb."""
        clean = cast(Tensor, batch["pairs"]["image"])
        condition = self.dropped(cast(Tensor, batch["pairs"]["condition"]), generator)
        steps, weights = self.sampler.draw(len(clean), generator)
        noise = torch.randn(clean.shape, generator=generator).to(self.device)
        # dropout draws from the global generators: they are set from this step's, so that a resumed run repeats them
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        terms = self.terms(clean, condition, noise, steps.to(self.device))
        loss = (terms.loss * weights.to(self.device)).mean()
        updates.step("model", self.optimizer, loss=loss)
        self.sampler.update(steps, terms.loss.detach().cpu())
        return {"loss": loss.item(), "mse": terms.mse.mean().item(), "vb": terms.vb.mean().item()}

    def dropped(self, condition: Tensor, generator: torch.Generator) -> Tensor:
        """``condition`` with a share of its samples replaced by the all-ones picture."""
        gone = torch.rand(len(condition), generator=generator) < self.params.unconditional_share
        return torch.where(gone.to(condition.device)[:, None, None, None], torch.ones_like(condition), condition)

    def terms(self, clean: Tensor, condition: Tensor, noise: Tensor, steps: Tensor) -> Terms:
        """The loss terms of pictures (B, 3, H, W) noised to ``steps`` (B,)."""
        noisy = self.diffusion.q_sample(clean, noise, steps)
        with computing_in(self.precision, self.device):
            answer = self.model(noisy, self.diffusion.original(steps, len(steps), noisy.device), condition)
        return hybrid_terms(self.diffusion, answer, clean, noisy, noise, steps)

    @torch.no_grad()
    def validate(self, samples: Mapping[str, Sequence[Sample]]) -> Validation:
        """Mean loss over five timesteps with fixed noise, and a few samples drawn beside condition and truth."""
        self.model.eval()
        total, pictures = [], {}
        diffusion = GaussianDiffusion.make(self.params.model.schedule, self.params.preview_steps)
        blank = self.model.encode(torch.ones_like(cast(Tensor, samples["pairs"][0]["condition"]))[None].to(self.device))
        for number, sample in enumerate(samples["pairs"]):
            clean = cast(Tensor, sample["image"])[None].to(self.device)
            condition = cast(Tensor, sample["condition"])[None].to(self.device)
            generator = torch.Generator().manual_seed(number)
            draws = torch.randn(len(_VALIDATION_STEPS), *clean.shape[1:], generator=generator).to(self.device)
            count = len(draws)
            terms = self.terms(
                clean.expand(count, -1, -1, -1),
                condition.expand(count, -1, -1, -1),
                draws,
                torch.tensor(_VALIDATION_STEPS, device=self.device),
            )
            total.append(torch.stack([terms.mse.mean(), terms.vb.mean()]))
            if number < PREVIEWS:
                made = sample_base(
                    self.model,
                    diffusion,
                    self.model.encode(condition),
                    blank,
                    lambda stream, g=generator, shape=clean.shape: torch.randn(shape, generator=g).to(self.device),
                    self.params.preview_guidance,
                )
                pictures[f"sample_{number}"] = side_by_side(condition[0], made[0], clean[0])
        self.model.train()
        mse, vb = torch.stack(total).mean(0).tolist()
        return Validation({"mse": mse, "vb": vb}, pictures)

    def state_dict(self) -> dict[str, Any]:
        """Model, optimizer and what is known of the timesteps' losses."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "timesteps": self.sampler.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.sampler.load_state_dict(state["timesteps"])

    def export(
        self, path: Path, averaged: Mapping[str, Mapping[str, Tensor]] | None, metadata: Mapping[str, str]
    ) -> Path:
        """The whole model, averaged where it was trained: official format for ``.pt``, else a file of ours."""
        values = None if averaged is None else next(iter(averaged.values()))
        state = merged(self.model, values, "" if self.params.stage == "all" else "encoder.")
        return write_model(path, self.params.model, self.params.family, state, metadata, None)
