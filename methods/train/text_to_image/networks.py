"""The networks of a small text-to-image model, in the layout of Stable Diffusion 1.x."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import nn

from methods.train.text_to_image.info import TextToImageParams

TOKENS = 77
_START, _END = "<|startoftext|>", "<|endoftext|>"
_HEADS = 4
_LOG_VARIANCE = -5.0


def scheduler_config(params: TextToImageParams) -> dict[str, object]:
    """Of diffusers' DDIMScheduler; all but the last timestep's noise is Stable Diffusion's."""
    return {
        "_class_name": "DDIMScheduler",
        "num_train_timesteps": 1000,
        "beta_start": 0.00085,
        "beta_end": params.beta_end,
        "beta_schedule": "scaled_linear",
        "steps_offset": 1,
        "set_alpha_to_one": False,
        "clip_sample": False,
        "prediction_type": "epsilon",
    }


def build_vae(params: TextToImageParams) -> AutoencoderKL:
    """An autoencoder whose latents begin with little noise: it only blurs what is learned first.

    Its norms have one group: each group takes the mean of its channels away, and with it what a narrow network has to
    say of the colour of a whole picture.
    """
    levels = len(params.vae_widths)
    config = {
        "down_block_types": ["DownEncoderBlock2D"] * levels,
        "up_block_types": ["UpDecoderBlock2D"] * levels,
        "block_out_channels": list(params.vae_widths),
        "layers_per_block": 1,
        "latent_channels": params.latent_channels,
        "norm_num_groups": 1,
        "sample_size": params.size,
    }
    vae = cast(AutoencoderKL, AutoencoderKL.from_config(config))
    assert vae.quant_conv is not None
    assert vae.quant_conv.bias is not None
    with torch.no_grad():
        vae.quant_conv.bias[params.latent_channels :] = _LOG_VARIANCE
    _pass_through(vae)
    return vae


def build_unet(params: TextToImageParams) -> UNet2DConditionModel:
    """Cross-attention at every level."""
    levels = len(params.unet_widths)
    unet = UNet2DConditionModel(
        sample_size=params.size >> (len(params.vae_widths) - 1),
        in_channels=params.latent_channels,
        out_channels=params.latent_channels,
        down_block_types=("CrossAttnDownBlock2D",) * levels,
        up_block_types=("CrossAttnUpBlock2D",) * levels,
        block_out_channels=tuple(params.unet_widths),
        layers_per_block=1,
        cross_attention_dim=params.text_width,
        attention_head_dim=_HEADS,
        norm_num_groups=_groups(params.unet_widths),
    )
    _pass_through(cast(UNet2DConditionModel, unet))
    return cast(UNet2DConditionModel, unet)


def _pass_through(network: nn.Module) -> None:
    """Let every residual block begin as its shortcut alone, as in guided-diffusion: early steps go straight through."""
    for module in network.modules():
        if isinstance(module, ResnetBlock2D):
            nn.init.zeros_(module.conv2.weight)
            nn.init.zeros_(cast(nn.Parameter, module.conv2.bias))


def _groups(widths: Sequence[int]) -> int:
    """Of the UNet's norms. As published, a group has four channels at least: alone, a channel would lose its mean, with
    which the colour of a whole picture goes.
    """
    return next((groups for groups in (8, 4) if min(widths) >= 4 * groups), 2)


def text_encoder_config(params: TextToImageParams, vocabulary: int) -> dict[str, object]:
    """Of transformers' CLIPTextModel."""
    return {
        "vocab_size": vocabulary,
        "hidden_size": params.text_width,
        "intermediate_size": 2 * params.text_width,
        "num_hidden_layers": params.text_layers,
        "num_attention_heads": _HEADS,
        "max_position_embeddings": TOKENS,
        "hidden_act": "quick_gelu",
        "projection_dim": params.text_width,
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": vocabulary - 1,
    }


def write_tokenizer(folder: Path, sentences: Sequence[str], merges_wanted: int) -> int:
    """A byte-pair tokenizer in CLIP's files, its merges learned from ``sentences``; returns its number of tokens.

    Printable ASCII in the two forms (inside a word, at its end), the merges, and the two special tokens.
    """
    merges = learned_merges(sentences, merges_wanted)
    ascii_letters = [chr(code) for code in range(33, 127)]
    tokens = [*ascii_letters, *(f"{letter}</w>" for letter in ascii_letters)]
    tokens += [joined for merge in merges if (joined := merge.replace(" ", "")) not in tokens]
    vocabulary = {token: number for number, token in enumerate(dict.fromkeys([*tokens, _START, _END]))}
    special = {"bos_token": _START, "eos_token": _END, "unk_token": _END, "pad_token": _END}
    config = {"tokenizer_class": "CLIPTokenizer", "model_max_length": TOKENS, **special}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(vocabulary))
    (folder / "merges.txt").write_text("#version: 0.2\n" + "".join(f"{merge}\n" for merge in merges))
    (folder / "special_tokens_map.json").write_text(json.dumps(special))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return len(vocabulary)


def learned_merges(sentences: Sequence[str], wanted: int) -> list[str]:
    """At most ``wanted`` merges of byte-pair encoding, most useful first, each two tokens with a blank between."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    words = [" ".join(re.findall(r"[a-z]+|[0-9]", sentence.lower())) for sentence in sentences]
    learner = Tokenizer(models.BPE(end_of_word_suffix="</w>"))
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()  # type: ignore[assignment]
    letters = len({letter for sentence in words for letter in sentence.replace(" ", "")})
    trainer = trainers.BpeTrainer(  # type: ignore[call-arg]
        vocab_size=2 * letters + wanted, end_of_word_suffix="</w>", show_progress=False, min_frequency=1
    )
    learner.train_from_iterator(words, trainer)
    found = json.loads(learner.to_str())["model"]["merges"]
    return [pair if isinstance(pair, str) else " ".join(pair) for pair in found][:wanted]
