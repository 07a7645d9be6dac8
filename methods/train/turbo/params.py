"""The parameters that both Turbo objectives share; imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from methods.train.objective import ObjectiveParams
from methods.train.recipe import share_at
from methods.uris import WeightsUri

Positive = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]


class TurboTrainParams(ObjectiveParams):
    """Networks, optimizers and frozen networks of both Turbo trainings; defaults are the published ones."""

    base: WeightsUri = "stabilityai/sd-turbo"
    """The SD-Turbo model to adapt: hub id, folder in diffusers' layout, or URI."""
    start: WeightsUri | None = None
    """Weights to start from: a released ``.pkl`` (over ``base``, with the same ranks) or one of our ``.safetensors``
    files, which needs no ``base`` for the captions it stores."""
    networks: Literal["base", "mini"] = "base"
    """``base``, or ``mini`` for small networks trained from scratch (128 to 256 px, no text encoder)."""
    adapt: Literal["lora", "full"] = "lora"
    """``lora`` as published, or ``full`` to train all weights (for small networks)."""
    rank_vae: Annotated[int, Field(ge=1)] = 4
    """LoRA rank of the VAE."""
    perceptual: Literal["vgg", "efflite0"] = "vgg"
    """``vgg``: LPIPS on VGG-16, as published; ``efflite0``: the same distance on EfficientNet-Lite0 with equal
    weights, whose features come with a Python package."""
    vgg: WeightsUri = "https://download.pytorch.org/models/vgg16-397923af.pth"
    """URI of torchvision's VGG-16."""
    lpips: WeightsUri = (
        "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1/vgg.pth"
    )
    """URI of the linear layers of LPIPS v0.1."""
    backbone: Literal["clip", "efflite0"] = "clip"
    """Frozen network of the discriminator: ``clip`` as published, or ``efflite0``."""
    clip: WeightsUri = "hf://timm/vit_base_patch32_clip_224.openai/open_clip_model.safetensors"
    """URI of OpenAI's CLIP ViT-B/32, in open_clip's or OpenAI's format."""
    head_width: Annotated[int, Field(ge=1)] = 256
    """Channels of the discriminator's heads."""
    lambda_gan: Weight = 0.5
    """Weight of the adversarial losses."""
    lambda_patch: Weight = 0.0
    """Weight of a second discriminator for small networks trained from scratch: a PatchGAN on pixels and their
    position, with hinge loss; 0: none."""
    patch_width: Annotated[int, Field(ge=1)] = 32
    """Channels of that PatchGAN's first layer."""
    joint: bool = False
    """Compute each translation once per iteration for all of its losses, with one optimizer step for the generator
    and one for the discriminators. The release computes it again for each loss, in twice the time."""
    lr: Positive = 5e-6
    """Learning rate of AdamW, for generator and discriminators."""
    lr_discriminator: Positive | None = None
    """Learning rate of the discriminators. None: ``lr``."""
    lr_warmup: Annotated[int, Field(ge=0)] = 0
    """Iterations in which the learning rate rises linearly."""
    lr_decay_from: Annotated[float, Field(ge=0, le=1)] = 1.0
    """Share of the run after which the learning rate falls linearly to 0; 1: never."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """First beta of AdamW."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    """Second beta of AdamW."""
    weight_decay: Weight = 1e-2
    """Weight decay of AdamW."""
    eps: Positive = 1e-8
    """Epsilon of AdamW."""
    checkpointing: bool = True
    """Activation checkpointing: less memory, a third more time."""


def turbo_schedule(params: TurboTrainParams, step: int, steps: int) -> float:
    """``lr_warmup`` and ``lr_decay_from`` as a share of the learning rates."""
    return share_at(step, steps, params.lr_warmup, params.lr_decay_from)
