"""Reading tensors from files that nobody vouches for, and filling networks with them."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from methods.errors import InputError


def read_pickle(path: Path) -> Any:
    """What ``torch.load(weights_only=True)`` finds in a file, on the CPU.

    Raises:
        InputError: code in the file (refused, not run), or no such file at all.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # torch says what it met: "Unsupported global: GLOBAL os.system was not an allowed global by default"
        code = str(error).partition("GLOBAL ")[2].split(" ")[0]
        if code:
            raise InputError(f"{path}: refused, it holds code ({code}), expected tensors only") from None
        raise InputError(f"{path}: found no readable checkpoint, expected one of torch.save or safetensors") from None
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        first = (str(error) or type(error).__name__).splitlines()[0][:160]
        raise InputError(f"{path}: found no readable checkpoint ({first})") from None


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Names and tensors of a ``.safetensors`` file or of a state dict saved by torch, on the CPU.

    Raises:
        InputError: a folder, an unreadable file, one with code in it, or one that is no flat state dict.
    """
    if path.is_dir():
        raise InputError(f"{path}: found a folder, expected a file of weights")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except (SafetensorError, OSError) as error:
            raise InputError(f"{path}: found no readable safetensors file ({str(error).splitlines()[0]})") from None
    state = read_pickle(path)
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        found = f"a dictionary of {', '.join(map(str, list(state)[:4]))}" if isinstance(state, dict) else type(state)
        raise InputError(f"{path}: found {found}, expected a state dict of tensors")
    return state


def fill(module: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Load all of ``state`` into ``module``, in the module's own precision.

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
    module.load_state_dict({name: tensor.to(own[name].dtype) for name, tensor in state.items()})
