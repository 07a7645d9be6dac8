"""Frozen image networks for the discriminator and the losses: OpenAI's CLIP, and a small one that needs no download."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods import weights as store
from methods.errors import InputError, first_line
from methods.nn.clip import MEAN, STD
from methods.nn.efflite0 import load_efflite0

CLIP_MODEL = "ViT-B-32-quickgelu"


def clip_normalised(images: Tensor) -> Tensor:
    """(B, 3, H, W) in [0, 1] -> CLIP's mean and spread."""
    mean, std = (torch.tensor(values, device=images.device).view(1, 3, 1, 1) for values in (MEAN, STD))
    return (images - mean) / std


def load_clip(uri: str, model: str = CLIP_MODEL) -> nn.Module:
    """An open_clip model with weights from ``uri``, float32, frozen, on the CPU.

    Raises:
        InputError: weights that cannot be found or do not fit.
    """
    import open_clip

    path = store.fetch(uri)
    try:
        found = open_clip.create_model(model, pretrained=str(path), precision="fp32", weights_only=True)
    except (RuntimeError, ValueError, KeyError, OSError, TypeError) as error:
        raise InputError(f"{path}: not weights of CLIP {model} ({first_line(error)})") from None
    return cast(nn.Module, found).eval().requires_grad_(False)


class ClipPatchFeatures(nn.Module):
    """CLIP ViT features for the discriminator: patch tokens after two blocks, and the projected class token.

    Args:
        visual: the image tower of an open_clip model.
        blocks: after how many transformer blocks patch tokens are taken (4 and 8 in the official package).
    """

    def __init__(self, visual: nn.Module, blocks: tuple[int, ...] = (4, 8)) -> None:
        super().__init__()
        self.visual: Any = visual
        self.blocks = blocks
        width, vector = self.visual.conv1.out_channels, self.visual.proj.shape[1]
        self.channels: tuple[int, ...] = (*([width] * len(blocks)), vector)
        side = self.visual.image_size
        self.size: int = side[0] if isinstance(side, tuple) else side

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in [-1, 1] -> (B, 768, 7, 7) twice and (B, 512); the resize is by area."""
        visual = self.visual
        x = clip_normalised(F.interpolate(images * 0.5 + 0.5, size=(self.size, self.size), mode="area"))
        x = visual.conv1(x)
        side = x.shape[-1]
        x = x.flatten(2).transpose(1, 2)
        first = visual.class_embedding.expand(len(x), 1, -1).to(x.dtype)
        x = visual.ln_pre(torch.cat([first, x], dim=1) + visual.positional_embedding.to(x.dtype))
        found = []
        for number, block in enumerate(visual.transformer.resblocks, start=1):
            x = block(x)
            if number in self.blocks:
                found.append(x[:, 1:].transpose(1, 2).unflatten(2, (side, side)))
        return [*found, visual.ln_post(x[:, 0]) @ visual.proj]


class EffLiteFeatures(nn.Module):
    """EfficientNet-Lite0 in CLIP's place: its weights come with a Python package. Another discriminator than the
    published one, for machines without CLIP."""

    channels = (40, 112, 320)

    def __init__(self) -> None:
        super().__init__()
        self.network = load_efflite0().eval().requires_grad_(False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) in [-1, 1] -> maps of 1/8 and 1/16 of the size, and the mean of the last (B, 320)."""
        found = self.network.stages(images * 0.5 + 0.5, 5)
        return [found[2], found[3], found[4].mean((2, 3))]


class ClipSimilarity:
    """``1 - mean(logits) / 100`` between pictures and captions, all pairs of the batch, as the release computes it.

    Args:
        clip: an open_clip model, on the device.
        tokenizer: texts -> token ids.
    """

    def __init__(self, clip: nn.Module, tokenizer: Any) -> None:
        self.clip: Any = clip
        self.tokenizer = tokenizer

    def __call__(self, images: Tensor, captions: list[str]) -> Tensor:
        """Images (B, 3, H, W) in [-1, 1], with gradient; normalised first and resized after, as in the release."""
        # gradient flows through the picture alone
        with torch.no_grad():
            text = F.normalize(self.clip.encode_text(self.tokenizer(captions).to(images.device)), dim=-1)
        x = F.interpolate(clip_normalised(images * 0.5 + 0.5), size=(224, 224), mode="bilinear", align_corners=False)
        return 1 - (100 * F.normalize(self.clip.encode_image(x), dim=-1) @ text.T).mean() / 100
