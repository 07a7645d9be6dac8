"""Detail as it was when a training began: what a last stage without judges must not lose.

A stage that draws a translator's tones to the expected ones (:mod:`methods.train.cyclegan_turbo.tone`) would blur what
the adversaries of an earlier stage taught it to draw. So the translator is held to its former self in everything finer
than the tones.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as F
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from methods.train.turbo.networks import kept_state
from methods.turbo.generator import OneStepGenerator
from methods.turbo.vae import SkipVAE


def detail(pictures: Tensor, shrink: int) -> Tensor:
    """What is lost of (B, 3, H, W) pictures when they are averaged by ``shrink`` and enlarged again."""
    coarse = F.avg_pool2d(pictures, shrink)
    return pictures - F.interpolate(coarse, pictures.shape[-2:], mode="bilinear")


class KeptDetail:
    """A frozen copy of both translators.

    Args:
        unet, vaes: the trained networks as they are now.
        alpha_bar: of the generators.
        shrink: what is finer than this is detail.
        contrast: share of its contrast that is wanted; below 1 what cannot be known is less wrong.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        vaes: Mapping[str, SkipVAE],
        alpha_bar: float,
        shrink: int,
        contrast: float,
    ) -> None:
        self.shrink, self.contrast = shrink, contrast
        trained: dict[str, nn.Module] = {"unet": unet, **{f"vae_{name}": vae for name, vae in vaes.items()}}
        self.networks = {name: copy.deepcopy(network).requires_grad_(False) for name, network in trained.items()}
        # what training leaves as it was need not be written into checkpoints
        self.changing = {name: frozenset(kept_state(network)) for name, network in trained.items()}
        kept = cast(UNet2DConditionModel, self.networks["unet"])
        self.generators = {
            name: OneStepGenerator(kept, cast(SkipVAE, self.networks[f"vae_{name}"]), alpha_bar) for name in vaes
        }

    @torch.no_grad()
    def wanted(self, real: Tensor, embedding: Tensor, noise: Tensor, direction: str, scale: int = 1) -> Tensor:
        """The detail that a translation of ``real``, (B, 3, H, W) in [-1, 1], shall have.

        ``scale``: by how much smaller than usual the pictures are.
        """
        former = self.generators[direction](real, embedding, noise).clamp(-1.0, 1.0)
        return self.contrast * detail(former, self.shrink // scale)

    def apart(self, fake: Tensor, wanted: Tensor, scale: int = 1) -> Tensor:
        """Mean squared distance between the detail of translations and what :meth:`wanted` gave."""
        return F.mse_loss(detail(fake, self.shrink // scale), wanted)

    def state_dict(self) -> dict[str, dict[str, Tensor]]:
        """By network, what training changes."""
        return {
            name: {key: value for key, value in network.state_dict().items() if key in self.changing[name]}
            for name, network in self.networks.items()
        }

    def load_state_dict(self, state: Mapping[str, Mapping[str, Tensor]]) -> None:
        """Go on from :meth:`state_dict`."""
        for name, network in self.networks.items():
            network.load_state_dict(state[name], strict=False)
