"""Tiny pipelines of every kind, built from random weights where they are needed; nothing is downloaded."""

from __future__ import annotations

import importlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch


def library() -> Any:
    """diffusers; its lazy module names no types. Imported where a test needs it, since it takes seconds."""
    return importlib.import_module("diffusers")


TOKENIZER = Path(__file__).parents[2] / "golden" / "turbo" / "_weights" / "tokenizer"
WIDTH = 32


@pytest.fixture(scope="session")
def models(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The folder of a tiny model by kind: ``sd``, ``instruct``, ``sdxl``, ``controlnet`` or ``lora`` (a file)."""
    room = tmp_path_factory.mktemp("tiny")
    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            torch.manual_seed(sum(kind.encode()))
            made[kind] = _MAKERS[kind](room / kind)
        return made[kind]

    return folder


def text_config(width: int = WIDTH) -> dict[str, Any]:
    return {
        "vocab_size": 554,
        "hidden_size": width,
        "intermediate_size": 2 * width,
        "projection_dim": width,
        "num_hidden_layers": 1,
        "num_attention_heads": 4,
        "max_position_embeddings": 77,
        "bos_token_id": 552,
        "eos_token_id": 553,
        "pad_token_id": 553,
    }


def unet_config(channels: int = 4, width: int = WIDTH) -> dict[str, Any]:
    return {
        "sample_size": 8,
        "in_channels": channels,
        "out_channels": 4,
        "block_out_channels": (8, 16),
        "layers_per_block": 1,
        "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D"),
        "up_block_types": ("CrossAttnUpBlock2D", "UpBlock2D"),
        "cross_attention_dim": width,
        "attention_head_dim": 4,
        "norm_num_groups": 4,
    }


def _parts(channels: int = 4) -> dict[str, Any]:
    diffusers = library()
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    return {
        "unet": diffusers.UNet2DConditionModel(**unet_config(channels)),
        "vae": diffusers.AutoencoderKL(
            block_out_channels=(8, 16),
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            latent_channels=4,
            norm_num_groups=4,
        ),
        "text_encoder": CLIPTextModel(CLIPTextConfig(**text_config())),
        "tokenizer": CLIPTokenizer.from_pretrained(str(TOKENIZER)),
        "scheduler": diffusers.DDIMScheduler(
            beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False, steps_offset=1
        ),
    }


def _sd(folder: Path) -> Path:
    diffusers = library()

    pipe = diffusers.StableDiffusionPipeline(
        **_parts(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.save_pretrained(folder)
    return folder


def _instruct(folder: Path) -> Path:
    diffusers = library()

    pipe = diffusers.StableDiffusionInstructPix2PixPipeline(
        **_parts(8),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    pipe.save_pretrained(folder)
    return folder


def _sdxl(folder: Path) -> Path:
    diffusers = library()
    from transformers import CLIPTextConfig, CLIPTextModelWithProjection

    parts = _parts()
    added = {"addition_embed_type": "text_time", "addition_time_embed_dim": 8}
    config = unet_config(width=2 * WIDTH) | added | {"projection_class_embeddings_input_dim": WIDTH + 6 * 8}
    parts["unet"] = diffusers.UNet2DConditionModel(**config)
    second = CLIPTextModelWithProjection(CLIPTextConfig(**text_config()))
    pipe = diffusers.StableDiffusionXLPipeline(**parts, text_encoder_2=second, tokenizer_2=parts["tokenizer"])
    pipe.save_pretrained(folder)
    return folder


def _controlnet(folder: Path) -> Path:
    diffusers = library()

    net = diffusers.ControlNetModel.from_unet(
        diffusers.UNet2DConditionModel(**unet_config()),
        # one halving, as the tiny VAE has
        conditioning_embedding_out_channels=(8, 16),
    )
    # the released ones begin with zeros here and learn; these are to matter untrained
    for block in [*net.controlnet_down_blocks, net.controlnet_mid_block]:
        torch.nn.init.normal_(block.weight, std=0.5)
    net.save_pretrained(folder)
    return folder


def _lora(folder: Path) -> Path:
    diffusers = library()
    from peft import LoraConfig
    from peft.utils import get_peft_model_state_dict

    unet = diffusers.UNet2DConditionModel(**unet_config())
    unet.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=["to_q", "to_k", "to_v"], init_lora_weights=False))
    layers = get_peft_model_state_dict(unet)
    diffusers.StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=layers, safe_serialization=True)
    return folder / "pytorch_lora_weights.safetensors"


_MAKERS = {"sd": _sd, "instruct": _instruct, "sdxl": _sdxl, "controlnet": _controlnet, "lora": _lora}


def picture(number: int, height: int = 32, width: int = 48) -> np.ndarray:
    """A smooth picture, another one for every number."""
    generator = torch.Generator().manual_seed(number)
    coarse = torch.rand(1, 3, 4, 6, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")[0]
    return smooth.mul(255).byte().permute(1, 2, 0).numpy()


def edited(folder: Path, to: Path, **changes: object) -> Path:
    """A copy of a model whose index is changed; ``None`` removes an entry."""
    import shutil

    shutil.copytree(folder, to)
    index = to / "model_index.json"
    tree = json.loads(index.read_text())
    for name, value in changes.items():
        tree[name] = value
    index.write_text(json.dumps({name: value for name, value in tree.items() if value is not None}))
    return to
