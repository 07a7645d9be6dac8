"""Putting a state dictionary into a module, or merging adapters into one, with errors a user can act on."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from methods.errors import InputError
from methods.turbo.lora import merge_lora


def below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with ``prefix``, without it."""
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def fill(module: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Load all of ``state`` into ``module``.

    Raises:
        InputError: names that are missing or too many, or shapes that differ: the first one, with found and expected.
    """
    own = module.state_dict()
    missing, extra = [name for name in own if name not in state], [name for name in state if name not in own]
    if missing:
        shape = tuple(own[missing[0]].shape)
        raise InputError(f"{where}: '{missing[0]}' {shape} missing ({len(missing)} of {len(own)} tensors)")
    if extra:
        raise InputError(f"{where}: found '{extra[0]}' ({len(extra)} tensors too many), which the model does not have")
    for name, tensor in state.items():
        if tensor.shape != own[name].shape:
            raise InputError(f"{where}: '{name}' is {tuple(tensor.shape)}, expected {tuple(own[name].shape)}")
    with torch.no_grad():
        module.load_state_dict({name: tensor.float() for name, tensor in state.items()})


def merge(weights: dict[str, Tensor], adapters: Mapping, scale: float, where: str, base: Path) -> None:
    """:func:`~methods.turbo.lora.merge_lora`; adapters that do not fit the base model in ``base`` raise InputError."""
    try:
        merge_lora(weights, adapters, scale)
    except KeyError as error:
        raise InputError(f"{where}: adapts '{error.args[0]}', which the base model {base} does not have") from None
    except ValueError as error:
        raise InputError(f"{where}: does not fit the base model {base}: {error}") from None
