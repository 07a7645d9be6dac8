"""Reading the official ``.pkl`` files of img2img-turbo without running what is in them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from methods.counting import counted
from methods.errors import InputError
from methods.nn.tensor_file import read_pickle

KINDS = {
    "cyclegan_turbo": ("rank_unet", "rank_vae", "sd_encoder", "sd_decoder", "sd_other", "sd_vae_enc", "sd_vae_dec"),
    "pix2pix_turbo": ("rank_unet", "rank_vae", "state_dict_unet", "state_dict_vae"),
}
"""The keys of each method's file, in its order."""

UNET_GROUPS = {
    "sd_encoder": "l_target_modules_encoder",
    "sd_decoder": "l_target_modules_decoder",
    "sd_other": "l_modules_others",
}
"""CycleGAN-Turbo: each key with LoRA weights of the UNet, and the key that lists its modules."""

VAE_PREFIXES = {"a2b": "vae.", "b2a": "vae_b2a."}
"""CycleGAN-Turbo: what the names of a direction's VAE begin with."""

PRETRAINED_LAYER, TRAINED_LAYER = "conv_in.conv_in_pretrained", "conv_in.conv_in_curr"
"""Stochastic pix2pix-Turbo: the two first UNet layers that gamma mixes (section 3.3)."""

# PEFT's default, which the release used wherever it named no alpha; the file does not hold it
PEFT_ALPHA = 8

Adapters = dict[str, tuple[Tensor, Tensor]]


def read_official(path: Path, method: str) -> dict[str, Any]:
    """The dictionary of an official file, its tensors mapped from disk where the format allows.

    Args:
        path: the ``.pkl`` file.
        method: ``cyclegan_turbo`` or ``pix2pix_turbo``.

    Raises:
        InputError: code in the pickle (refused without running it), not such a file, the other method's file, or
            missing keys.
    """
    state = read_pickle(path, f"an official {method} checkpoint (tensors, numbers and text only)")
    if not isinstance(state, dict):
        raise InputError(f"{path}: found a {type(state).__name__}, expected the dictionary of an official checkpoint")
    missing = [key for key in KINDS[method] if key not in state]
    if missing:
        other = next(
            (kind for kind, keys in KINDS.items() if kind != method and all(key in state for key in keys)), None
        )
        if other:
            raise InputError(f"{path}: found a {other} checkpoint, expected one for {method}: use method {other}")
        found = ", ".join(sorted(map(str, state))[:8]) or "nothing"
        raise InputError(f"{path}: {', '.join(missing)} missing, expected a {method} checkpoint; found {found}")
    for key in ("rank_unet", "rank_vae"):
        if not isinstance(state[key], int) or state[key] < 1:
            raise InputError(f"{path}: {key} is {state[key]!r}, expected a positive whole number")
    for key in KINDS[method][2:]:
        if not isinstance(state[key], dict) or not all(isinstance(value, Tensor) for value in state[key].values()):
            raise InputError(f"{path}: {key} is no dictionary of tensors")
    return state


def collect_adapters(
    state: Mapping[str, Tensor], rank: int | None, where: str, modules: list[str] | None = None
) -> Adapters:
    """(A, B) by module from names such as ``conv1.lora_A.weight`` or ``conv1.lora_A.vae_skip.weight``.

    Args:
        state: names and tensors; those without ``.lora_A.`` or ``.lora_B.`` are passed over.
        rank: what every adapter must have; ``None`` takes any.
        where: file and key, for messages.
        modules: the modules that must be there, if the file lists them.

    Raises:
        InputError: half an adapter, a listed module without one, or another rank.
    """
    halves: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        for half in ("lora_A", "lora_B"):
            module, found, _ = name.partition(f".{half}.")
            if found:
                halves.setdefault(module, {})[half] = tensor
    lost = [m for m in (modules or []) if m not in halves] + [m for m, pair in halves.items() if len(pair) < 2]
    if lost:
        raise InputError(
            f"{where}: LoRA weights missing for {lost[0]} ({counted(len(lost), 'module')} in all), "
            f"expected A and B for each"
        )
    adapters = {module: (pair["lora_A"], pair["lora_B"]) for module, pair in halves.items()}
    for module, (a, b) in adapters.items():
        if rank is not None and (a.shape[0] != rank or b.shape[1] != rank):
            found = a.shape[0] if a.shape[0] != rank else b.shape[1]
            raise InputError(f"{where}: {module} has LoRA rank {found}, expected {rank} as the file states")
    return adapters
