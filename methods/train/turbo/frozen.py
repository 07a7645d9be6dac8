"""The frozen helpers of a Turbo training, built as its parameters say: perceptual distance and discriminators."""

from __future__ import annotations

import torch
from torch import nn

from methods.nn.lpips import load_lpips
from methods.train.losses.backbones import ClipPatchFeatures, EffLiteFeatures, load_clip
from methods.train.losses.perceptual import PerceptualDistance
from methods.train.turbo.params import TurboTrainParams


def perceptual(params: TurboTrainParams, device: torch.device) -> nn.Module:
    """(output, target) in [-1, 1] -> a distance whose mean is the loss. Raises InputError."""
    found = load_lpips(params.vgg, params.lpips) if params.perceptual == "vgg" else PerceptualDistance()
    return found.to(device).requires_grad_(False)


def backbone(params: TurboTrainParams, device: torch.device) -> nn.Module:
    """The discriminators' frozen network, one for all of them. Raises InputError."""
    if params.backbone == "efflite0":
        return EffLiteFeatures().to(device)
    visual = load_clip(params.clip).get_submodule("visual")
    return ClipPatchFeatures(visual).to(device)
