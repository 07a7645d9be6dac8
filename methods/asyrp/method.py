"""Asyrp as a method."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor

from methods import weights as store
from methods.asyrp.delta_block import DDPMDeltaBlock, read_delta_block
from methods.asyrp.info import INFO
from methods.asyrp.lpips_table import first_reaching, read_table
from methods.asyrp.params import AsyrpParams
from methods.asyrp.pictures import to_square
from methods.asyrp.process import CombinedShift, generate, invert, linear_alphas, reverse_plan, sequence
from methods.asyrp.recorded_shift import RecordedShift
from methods.asyrp.text_pairs import chosen_texts
from methods.base import Batch, Inputs, MethodInfo
from methods.errors import BadSample, InputError
from methods.nn.ddpm_unet import DDPMUNet
from methods.nn.guided_unet import GuidedUNet
from methods.nn.unconditional import bottleneck_channels, load_denoiser
from methods.sharing import loaded_once


class Asyrp:
    """Pictures inverted to noise and generated again with a shifted bottleneck.

    Edits that are built beside each other, such as several strengths, share UNet and inversions.

    Args:
        unet: float32, on the CPU.
        shift: the sum of all attributes' shifts.
        t_edit, t_boost: ends of the edit and beginning of the fresh noise.
        params: what the user set.
        device, dtype: where the networks run and in which precision their convolutions; x and schedule stay float32.
    """

    info: ClassVar[MethodInfo] = INFO

    def __init__(
        self,
        unet: DDPMUNet | GuidedUNet,
        shift: CombinedShift,
        t_edit: int,
        t_boost: int,
        params: AsyrpParams,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.params = params
        self.device = device
        self.unet = unet.to(device).cast_torso(dtype)
        self.shift = shift.to(device)
        self.t_edit, self.t_boost = t_edit, t_boost
        self.alphas = linear_alphas(params.beta_start, params.beta_end)
        process = (params.steps_inversion, params.t_0, params.beta_start, params.beta_end)
        self.inverted = ("inversion", type(self), id(self.unet), *process)
        self.shares = frozenset({self.inverted})

    @classmethod
    def build(cls, params: AsyrpParams, weights: str | None, device: torch.device, dtype: torch.dtype) -> Asyrp:
        """Load the UNet (``weights``), every attribute's block and the LPIPS tables.

        Raises:
            InputError: something is missing or does not fit; file, found and expected are named.
        """
        if weights is None:
            raise InputError(f"asyrp needs a UNet: set method.weights or a preset ({', '.join(INFO.presets)})")
        path = store.fetch(weights)
        shape = (params.norm_num_groups, params.num_head_channels)
        unet = loaded_once((cls, path, *shape, device, dtype), lambda: load_denoiser(path, *shape))
        if params.image_size % unet.config.factor:
            raise InputError(f"{path}: image_size is {params.image_size}, expected a multiple of {unet.config.factor}")
        return cls(unet, load_shift(params, unet), *chosen_timesteps(params), params, device, dtype)

    def heavy(self) -> list[tuple[Any, str]]:
        """As :class:`methods.compiling.Compilable`."""
        return [(self.unet, "encode"), (self.unet, "decode")]

    def prepare(self, inputs: Inputs) -> Tensor:
        """(3, S, S) float32 in [-1, 1] with S = ``image_size``; the aspect ratio is not kept.

        Raises:
            BadSample: no image.
        """
        if inputs.image is None:
            raise BadSample("no_image", "asyrp needs an image")
        return to_square(inputs.image, self.params.image_size, self.params.resample)

    @torch.inference_mode()
    def translate(self, batch: Batch) -> Tensor:
        """(B, 3, S, S) float32 in [-1, 1].

        The boost's noise comes from the streams ``noise_tNNN``, pictures from noise begin with the stream ``start``.
        """
        params, shape = self.params, batch.inputs.shape[1:]
        if params.start == "noise":
            latent = batch.noise(shape, "start")
        else:
            inverting = sequence(params.steps_inversion, params.t_0)
            latent = batch.once(self.inverted, lambda: invert(self.unet, batch.inputs, self.alphas, inverting))
        timesteps = sequence(params.steps, params.t_0)
        plan = reverse_plan(self.alphas, timesteps, self.t_edit, self.t_boost, params.dt_lambda, params.dt_end)
        edited = generate(self.unet, latent, plan, self.shift, lambda t: batch.noise(shape, f"noise_t{t:03d}"))
        return edited.clamp(-1.0, 1.0)


def load_shift(params: AsyrpParams, unet: DDPMUNet | GuidedUNet) -> CombinedShift:
    """All attributes' blocks with their coefficients: strengths times train steps over steps, over sqrt(attributes).

    Raises:
        InputError: a block that does not belong to this kind of UNet, or as :func:`read_delta_block`.
    """
    blocks, coefficients = [], []
    for attribute in params.attributes:
        path = store.fetch(attribute.block)
        side = params.image_size // unet.config.factor
        block = read_delta_block(
            path, bottleneck_channels(unet), attribute.index, params.norm_num_groups, params.ignore_timesteps, side
        )
        recorded = isinstance(block, RecordedShift)
        if not recorded and isinstance(block, DDPMDeltaBlock) != isinstance(unet, DDPMUNet):
            kinds = ("DDPM", "guided-diffusion")
            found, wanted = kinds if isinstance(block, DDPMDeltaBlock) else kinds[::-1]
            raise InputError(f"{path}: found a DeltaBlock for a {found} UNet, expected one for a {wanted} UNet")
        blocks.append(block)
        scale = params.steps_train / params.steps / math.sqrt(len(params.attributes))
        coefficients.append(params.strength * attribute.strength * scale)
    return CombinedShift(blocks, coefficients, params.origin)


def chosen_timesteps(params: AsyrpParams) -> tuple[int, int]:
    """(t_edit, t_boost): as given, or from the LPIPS tables.

    Raises:
        InputError: a table that cannot be read or never reaches the threshold.
    """
    t_edit, t_boost = params.t_edit, params.t_boost
    if t_edit is None:
        assert params.lpips_x0 is not None
        cosine = _cosine(params) if params.text_cosine is None else params.text_cosine
        t_edit = first_reaching(
            read_table(store.fetch(params.lpips_x0)), params.edit_threshold * cosine, params.lpips_x0
        )
    if t_boost is None:
        assert params.lpips_x is not None
        t_boost = first_reaching(read_table(store.fetch(params.lpips_x)), params.boost_threshold, params.lpips_x)
    return t_edit, t_boost


def _cosine(params: AsyrpParams) -> float:
    from methods.nn.clip import load_clip, text_cosine

    texts = chosen_texts(params.texts, params.source_text, params.target_text)
    assert texts is not None
    return text_cosine(load_clip(params.clip), *texts)
