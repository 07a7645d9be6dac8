"""What both Turbo objectives share of their parameters; imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from methods.train.objective import ObjectiveParams

Positive = Annotated[float, Field(gt=0)]
Weight = Annotated[float, Field(ge=0)]


class TurboTrainParams(ObjectiveParams):
    """Networks, optimizers and frozen helpers of CycleGAN-Turbo and pix2pix-Turbo.

    Attributes:
        base: the SD-Turbo that is adapted: hub id, folder in diffusers' layout, or URI.
        start: go on from a released ``.pkl`` (over ``base``, same ranks) or from one of our ``.safetensors`` (which
            needs no ``base`` for captions that it holds).
        networks: ``base``, or ``mini`` for small networks from nothing (128 to 256 px, no text encoder).
        adapt: ``lora`` as published, or ``full`` for every weight (small networks).
        rank_unet, rank_vae: LoRA ranks.
        perceptual: ``vgg`` is LPIPS on VGG-16, as published; ``efflite0`` the same distance on EfficientNet-Lite0 with
            equal weights, whose features come with a Python package.
        vgg, lpips: files of VGG-16 (torchvision) and of LPIPS v0.1's linear layers.
        backbone: of the discriminator: ``clip`` as published, or ``efflite0``.
        clip: OpenAI's CLIP ViT-B/32 in open_clip's or OpenAI's format.
        head_width: channels of the discriminator's heads.
        lambda_gan: weight of the adversarial losses.
        lambda_patch, patch_width: weight and channels of a second discriminator for small networks from nothing: a
            PatchGAN on pixels that sees where in the picture it looks, with hinge loss; 0 makes none.
        joint: each translation is made once an iteration and serves all its losses, with one optimizer step for the
            generator and one for the discriminators; the release makes it anew for every loss, in twice the time.
        lr, beta1, beta2, weight_decay, eps: AdamW, for generator and discriminator.
        lr_discriminator: the discriminators' own learning rate; none for ``lr``.
        lr_warmup, lr_decay_from: iterations in which the rate rises; share of the run after which it falls to nothing
            (1: never).
        checkpointing: compute the blocks' insides again in the backward pass: less memory, a third more time.
    """

    base: str = "stabilityai/sd-turbo"
    start: str | None = None
    networks: Literal["base", "mini"] = "base"
    adapt: Literal["lora", "full"] = "lora"
    rank_vae: Annotated[int, Field(ge=1)] = 4
    perceptual: Literal["vgg", "efflite0"] = "vgg"
    vgg: str = "https://download.pytorch.org/models/vgg16-397923af.pth"
    lpips: str = "https://raw.githubusercontent.com/richzhang/PerceptualSimilarity/master/lpips/weights/v0.1/vgg.pth"
    backbone: Literal["clip", "efflite0"] = "clip"
    clip: str = "hf://timm/vit_base_patch32_clip_224.openai/open_clip_model.safetensors"
    head_width: Annotated[int, Field(ge=1)] = 256
    lambda_gan: Weight = 0.5
    lambda_patch: Weight = 0.0
    patch_width: Annotated[int, Field(ge=1)] = 32
    joint: bool = False
    lr: Positive = 5e-6
    lr_discriminator: Positive | None = None
    lr_warmup: Annotated[int, Field(ge=0)] = 0
    lr_decay_from: Annotated[float, Field(ge=0, le=1)] = 1.0
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.999
    weight_decay: Weight = 1e-2
    eps: Positive = 1e-8
    checkpointing: bool = True
