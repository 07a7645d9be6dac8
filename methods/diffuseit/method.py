"""DiffuseIT as a method."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from methods import weights as store
from methods.base import Batch, Inputs, MethodInfo, to_uint8
from methods.counting import counted
from methods.diffuseit.clip_loss import ClipEnsemble, CutsOf
from methods.diffuseit.colour import match_colours
from methods.diffuseit.cuts import DRAWS, Cuts, draw_cuts
from methods.diffuseit.guidance import Guidance, GuidanceNetworks
from methods.diffuseit.info import INFO
from methods.diffuseit.params import DiffuseITParams
from methods.diffuseit.sampler import Sampler
from methods.errors import BadSample, InputError
from methods.nn.arcface import load_arcface
from methods.nn.clip import load_clip
from methods.nn.ddpm_unet import DDPMUNet
from methods.nn.dino import load_dino
from methods.nn.gaussian_diffusion import GaussianDiffusion
from methods.nn.guided_unet import GuidedUNet
from methods.nn.image_prep import to_tensor
from methods.nn.unconditional import class_count, load_denoiser, out_channels


class DiffuseIT:
    """A loaded denoiser with its guidance networks, for one prompt or one target picture.

    Args:
        unet: frozen; 6 channels out.
        networks: on the CPU or the device.
        target: (S, S, 3) uint8 of the target picture, with one.
        params: what the user set.
        device, dtype: where the networks run, and the precision of the UNet's convolutions. The guidance networks, the
            schedule and gradients stay in float32.
    """

    info: ClassVar[MethodInfo] = INFO

    def __init__(
        self,
        unet: DDPMUNet | GuidedUNet,
        networks: GuidanceNetworks,
        target: np.ndarray | None,
        params: DiffuseITParams,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        self.params, self.device = params, device
        self.unet = unet.to(device).cast_torso(dtype)
        self.networks, self.target = networks, target
        self.diffusion = _process(params)
        self.start = len(self.diffusion) - params.skipped - 1
        self.signal = torch.from_numpy(self.diffusion.alphas_cumprod).float().to(device)

    @classmethod
    def build(cls, params: DiffuseITParams, weights: str | None, device: torch.device, dtype: torch.dtype) -> DiffuseIT:
        """Load the UNet (``weights``), DINO, and what prompt or target picture need.

        Raises:
            InputError: weights or a target picture that cannot be read or do not fit; steps that leave nothing to do.
        """
        if weights is None:
            raise InputError("diffuseit needs a UNet: set method.weights or a preset (text, picture)")
        diffusion = _process(params)
        if params.skipped > len(diffusion) - 2:
            most = len(diffusion) - 2
            raise InputError(f"skip_timesteps is {params.skipped}, expected at most {most} of {len(diffusion)} steps")
        # small mistakes first: the target is read before gigabytes of weights
        target = None if params.target_image is None else read_target(params.target_image, params.image_size)
        path = store.fetch(weights)
        unet = load_denoiser(path, params.norm_num_groups, params.num_head_channels, class_conditional=True)
        classes = class_count(unet)
        if params.class_label is not None and params.class_label >= (classes or 0):
            found = counted(classes, "class") if classes else "no classes"
            raise InputError(f"method.params.class_label is {params.class_label}, but the UNet of {path} has {found}")
        if out_channels(unet) != 6:
            raise InputError(f"{path}: the UNet has {out_channels(unet)} channels out, expected 6 (a learned variance)")
        if params.image_size % unet.config.factor:
            raise InputError(f"{path}: image_size is {params.image_size}, expected a multiple of {unet.config.factor}")
        dino = load_dino(store.fetch(params.dino), params.dino_heads).to(device)
        clip = picture = target_cls = face = None
        if params.prompt is not None and params.source is not None:
            models = [load_clip(name, params.clip_vocabulary).to(device) for name in params.clip_models]
            clip = ClipEnsemble(models, params.prompt, params.source)
        if target is not None:
            picture = to_tensor(target)[None].to(device)
            with torch.no_grad():
                target_cls = dino(picture).cls
        if params.face_weights is not None:
            face = load_arcface(store.fetch(params.face_weights)).to(device)
        return cls(unet, GuidanceNetworks(dino, clip, picture, target_cls, face), target, params, device, dtype)

    def prepare(self, inputs: Inputs) -> Tensor:
        """(3, S, S) float32 in [-1, 1] with S = ``image_size``: Lanczos, the aspect ratio is not kept.

        Raises:
            BadSample: no image.
        """
        if inputs.image is None:
            raise BadSample("no_image", "diffuseit needs an image")
        return to_tensor(_square(Image.fromarray(inputs.image), self.params.image_size))

    @torch.inference_mode(False)
    @torch.enable_grad()
    def translate(self, batch: Batch) -> Tensor:
        """(B, 3, S, S) float32 in [-1, 1].

        Noise comes from the streams ``noise.start``, ``noise.step_NN``, ``noise.renoise_NN`` and ``noise.restart_N``,
        CLIP's cuts from ``cuts.NN``, the classes of a class-conditional UNet from ``label.NN``; iterations after the
        first have ``iteration_K.`` before these names.

        Raises:
            BadSample: a sample that starts again too often.
        """
        # a copy made here may take part in gradients even if the caller is in inference mode
        images = batch.inputs.clone()
        guidance = Guidance(self.networks, self.params, images, self.signal, partial(self._cuts, batch, 0))
        sampler = self.sampler()
        output = images
        for iteration in range(self.params.iterations_num):
            # the guidance keeps what its last call left
            guidance.cuts_of = partial(self._cuts, batch, iteration)
            if class_count(self.unet) is not None:
                sampler.labels = partial(self._labels, batch, iteration)
            output = sampler(images, guidance, partial(_noise, batch, iteration, images.shape[1:]))
        output = output.clamp(-1, 1)
        if self.params.use_colormatch and self.target is not None:
            matched = [match_colours(picture, self.target) for picture in to_uint8(output)]
            levels = torch.from_numpy(np.stack(matched)).permute(0, 3, 1, 2).to(self.device)
            # in the middle of its step, each level survives being written out
            output = ((levels.float() + 0.5) / 127.5 - 1).clamp(-1, 1)
        return output

    def sampler(self) -> Sampler:
        """The denoising of this job."""
        params = self.params
        return Sampler(
            self.unet,
            self.diffusion,
            self.start,
            params.resampling,
            params.ddim,
            params.max_restarts,
            guide_last=params.iterations_num > 1,
        )

    def _labels(self, batch: Batch, iteration: int, samples: Tensor, steps: Tensor) -> Tensor:
        """The class of each of ``samples`` at its step: the one set, or one at random for every step as released."""
        if self.params.class_label is not None:
            return torch.full_like(samples, self.params.class_label)
        numbers = steps.tolist()
        drawn = {number: _noise(batch, iteration, (1,), f"label.{number:02d}") for number in sorted(set(numbers))}
        draws = torch.cat([drawn[number][sample] for number, sample in zip(numbers, samples.tolist(), strict=True)])
        return labels_from_noise(draws, class_count(self.unet) or 1)

    def _cuts(self, batch: Batch, iteration: int, samples: Tensor, calls: Tensor) -> CutsOf:
        """The cuts of ``samples`` in their guidance calls number ``calls``, by model."""
        params = self.params
        if not params.aug_num:
            return lambda model: None
        shape = (len(params.clip_models), params.aug_num, DRAWS)
        counts = calls.tolist()
        drawn = {count: _noise(batch, iteration, shape, f"cuts.{count:02d}") for count in sorted(set(counts))}
        numbers = torch.stack([drawn[count][sample] for count, sample in zip(counts, samples.tolist(), strict=True)])

        def of_model(model: int) -> Cuts:
            return draw_cuts(numbers[:, model], params.image_size)

        return of_model


def _noise(batch: Batch, iteration: int, shape: Sequence[int], stream: str) -> Tensor:
    return batch.noise(shape, f"iteration_{iteration}.{stream}" if iteration else stream)


def labels_from_noise(draws: Tensor, classes: int) -> Tensor:
    """Standard normal (n,) -> uniform classes (n,) int64."""
    return (torch.special.ndtr(draws.double()) * classes).long().clamp(max=classes - 1)


def read_target(uri: str, side: int) -> np.ndarray:
    """(side, side, 3) uint8 of the target picture.

    Raises:
        InputError: it is not there or no picture.
    """
    path = store.fetch(uri)
    try:
        with Image.open(path) as picture:
            return _square(picture.convert("RGB"), side)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"target_image {path}: no picture that can be read ({type(error).__name__})") from None


def _process(params: DiffuseITParams) -> GaussianDiffusion:
    try:
        return GaussianDiffusion.make("linear", params.respacing)
    except ValueError as error:
        raise InputError(f"timestep_respacing: {error}") from None


def _square(picture: Image.Image, side: int) -> np.ndarray:
    return np.asarray(picture.resize((side, side), Image.Resampling.LANCZOS))
