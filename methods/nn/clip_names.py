"""Where the weights of OpenAI's CLIP models are; imports no torch."""

from __future__ import annotations

from typing import Annotated

from methods.uris import UriMark, WeightsUri

RELEASED = {
    "RN50": "hf://timm/resnet50_clip.openai/open_clip_model.safetensors",
    "RN50x4": "hf://timm/resnet50x4_clip.openai/open_clip_model.safetensors",
    "RN50x16": "hf://timm/resnet50x16_clip.openai/open_clip_model.safetensors",
    "ViT-B/32": "hf://timm/vit_base_patch32_clip_224.openai/open_clip_model.safetensors",
    "ViT-B/16": "hf://timm/vit_base_patch16_clip_224.openai/open_clip_model.safetensors",
    "ViT-L/14": "hf://timm/vit_large_patch14_clip_224.openai/open_clip_model.safetensors",
    "ViT-L/14@336px": "hf://timm/vit_large_patch14_clip_336.openai/open_clip_model.safetensors",
}
"""Weights by short name, as plain tensors: OpenAI's own files are programs."""

ClipUri = Annotated[WeightsUri, UriMark(frozenset(RELEASED))]
"""A released model by its short name, or a URI."""


def released_uri(name: str) -> str:
    """The URI of a released model by its short name (``ViT-B/16``); anything else is a URI already."""
    return RELEASED.get(name, name)
