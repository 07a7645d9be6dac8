"""PITI as a method."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from methods.base import Batch, Inputs, MethodInfo
from methods.errors import InputError
from methods.nn.gaussian_diffusion import GaussianDiffusion
from methods.piti.condition import ConditionReader
from methods.piti.config import CHANNELS, CONDITION_SIZE
from methods.piti.info import INFO
from methods.piti.loading import load_models
from methods.piti.networks import EncodedCondition, PITIModel
from methods.piti.params import PITIParams
from methods.piti.sampling import quantise, sample_base, sample_upsampler


class PITI:
    """A base model, its upsampler, and the reader of one kind of condition.

    Args:
        base: float32, on the CPU.
        upsampler: likewise; without one the pictures stay as small as the base makes them.
        reader: of the condition.
        params: what the user set.
        device, dtype: where the networks run, and in which precision the UNets' convolutions do. Encoders, norms,
            embeddings and all of the sampling stay in float32.
    """

    info: ClassVar[MethodInfo] = INFO

    def __init__(
        self,
        base: PITIModel,
        upsampler: PITIModel | None,
        reader: ConditionReader,
        params: PITIParams,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.params, self.device, self.reader = params, device, reader
        self.base = _ready(base, device, dtype)
        self.upsampler = None if upsampler is None else _ready(upsampler, device, dtype)
        self.base_diffusion = GaussianDiffusion.make(base.config.schedule, params.steps)
        if upsampler is not None:
            self.upsampler_diffusion = GaussianDiffusion.make(upsampler.config.schedule, params.upsampler_steps)
        blank = torch.ones(1, CHANNELS[params.family], CONDITION_SIZE, CONDITION_SIZE, device=device)
        # the unconditional tokens are a constant of the weights
        with torch.inference_mode():
            self.unconditional: EncodedCondition = self.base.encode(blank)

    @classmethod
    def build(cls, params: PITIParams, weights: str | None, device: torch.device, dtype: torch.dtype) -> PITI:
        """Load weights: official ``base_*.pt`` and ``params.upsampler``, or one file of ours.

        Raises:
            InputError: no weights named, weights that cannot be found or do not fit the condition, no JSON for
                panoptic conditions, no edge detector for ``hed``.
        """
        if weights is None:
            raise InputError(
                "piti needs weights: set method.weights (base_mask.pt) and method.params.upsampler (upsample_mask.pt)"
            )
        reader = ConditionReader.build(params)
        base, upsampler = load_models(weights, params.upsampler, params.family)
        return cls(base, upsampler, reader, params, device, dtype)

    def heavy(self) -> list[tuple[Any, str]]:
        """As :class:`methods.compiling.Compilable`."""
        stages = [self.base] if self.upsampler is None else [self.base, self.upsampler]
        return [(stage, "decoder") for stage in stages]

    def prepare(self, inputs: Inputs) -> Tensor:
        """(C, 256, 256) float32 in [-1, 1]; the aspect ratio is not kept.

        Raises:
            BadSample: the sample is not what ``params.condition`` says.
        """
        return self.reader.tensor(inputs)

    def render(self, inputs: Inputs) -> np.ndarray:
        """(H, W, 3) uint8: the condition as a person sees it. Raises BadSample as :meth:`prepare`."""
        return self.reader.render(inputs)

    @torch.inference_mode()
    def translate(self, batch: Batch) -> Tensor:
        """(B, 3, side, side) float32 in [-1, 1].

        Streams of noise: ``base.start``, ``base.step.N``, ``upsampler.start``, ``upsampler.step.N``.
        """
        side = self.base.config.side
        pictures = sample_base(
            self.base,
            self.base_diffusion,
            self.base.encode(batch.inputs),
            self.unconditional,
            partial(_noise, batch, "base", side),
            self.params.guidance_scale,
            self.params.guidance,
        )
        if self.upsampler is None:
            return pictures
        return sample_upsampler(
            self.upsampler,
            self.upsampler_diffusion,
            self.upsampler.encode(batch.inputs),
            quantise(pictures),
            partial(_noise, batch, "upsampler", self.upsampler.config.side),
        )


def _noise(batch: Batch, stage: str, side: int, stream: str) -> Tensor:
    return batch.noise((3, side, side), f"{stage}.{stream}")


def _ready(model: PITIModel, device: torch.device, dtype: torch.dtype) -> PITIModel:
    model = model.to(device).eval().requires_grad_(False)
    model.decoder.cast_torso(dtype)
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
