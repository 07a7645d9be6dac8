"""Tensor files: reading those that nobody vouches for, writing ours, and filling networks with what they hold."""

from __future__ import annotations

import json
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor, nn

from methods.counting import counted
from methods.errors import InputError, first_line
from methods.files import replacing

_DTYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}


def is_safetensors(path: Path) -> bool:
    """Whether the file begins as safetensors does: a header length, then JSON. Raises InputError: unreadable."""
    try:
        with path.open("rb") as file:
            return file.read(9)[8:] == b"{"
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None


def read_pickle(path: Path, expected: str = "a checkpoint of torch.save or safetensors") -> Any:
    """What ``torch.load(weights_only=True)`` finds in a file, on the CPU, mapped from disk where the format allows.

    Args:
        path: the file.
        expected: what should be in it, for messages.

    Raises:
        InputError: code in the file (refused, not run), or no such file at all.
    """
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        # torch says what it met: "Unsupported global: GLOBAL os.system was not an allowed global by default"
        code = str(error).partition("GLOBAL ")[2].split(" ")[0]
        if code:
            raise InputError(f"{path}: refused, it holds code ({code}), expected {expected}") from None
        raise InputError(f"{path}: no readable pickle, expected {expected}") from None
    except Exception as error:
        # Files that nobody vouches for make parsers raise nearly anything.
        raise InputError(f"{path}: cannot be read ({first_line(error)}), expected {expected}") from None


def read_safetensors(
    path: Path, wanted: Callable[[str], bool] | None = None, expected: str = "a safetensors file"
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by name, on the CPU, and the metadata of a safetensors file.

    Args:
        path: the file.
        wanted: reads only the tensors whose names it is true for.
        expected: what should be in it, for messages.

    Raises:
        InputError: unreadable, or not such a file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            names = [name for name in file.keys() if wanted is None or wanted(name)]  # noqa: SIM118
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except Exception as error:
        raise InputError(f"{path}: no readable safetensors file ({first_line(error)}), expected {expected}") from None


def read_metadata(path: Path) -> dict[str, str]:
    """The metadata of a safetensors file. Raises InputError as :func:`read_safetensors`."""
    return read_safetensors(path, wanted=lambda name: False)[1]


def check_format(path: Path, metadata: Mapping[str, str], format: str, kind: str) -> None:
    """Raise InputError unless the metadata say that a file is of one of our own formats, ``kind`` for people."""
    if metadata.get("format") != format:
        found = metadata.get("format", "no format entry")
        raise InputError(f"{path}: found {found} in its metadata, expected '{format}': not a {kind} of ours")


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Names and tensors of a safetensors file or of a state dict saved by torch, on the CPU.

    Raises:
        InputError: a folder, an unreadable file, one with code in it, or one that is no flat state dict.
    """
    if path.is_dir():
        raise InputError(f"{path}: found a folder, expected a file of weights")
    if path.suffix == ".safetensors" or is_safetensors(path):
        return read_safetensors(path)[0]
    state = read_pickle(path)
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        found = (
            f"a dictionary of {', '.join(repr(name)[:60] for name in list(state)[:4])}"
            if isinstance(state, dict)
            else type(state)
        )
        raise InputError(f"{path}: found {found}, expected a state dict of tensors")
    return state


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> Path:
    """Write a safetensors file in one move: the same bytes for the same tensors and metadata.

    The library writes metadata in an order that changes from run to run; here the header is sorted. The order of the
    tensors is the library's: wide types first, which keeps each aligned, then by name.

    Args:
        path: the file; its folder is made.
        tensors: on any device, of any memory layout; tied ones are written once per name.
        metadata: text by name.

    Returns:
        ``path``.
    """
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, tensor in ordered:
        begin, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"data_offsets": [begin, end], "dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape)}
    text = json.dumps(header, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with replacing(path) as partial, partial.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for _, tensor in ordered:
            file.write(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return path


def below(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with ``prefix``, without it."""
    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def fill(module: nn.Module, state: Mapping[str, Tensor], where: str) -> None:
    """Load all of ``state`` into ``module``, in the module's own precision.

    Raises:
        InputError: names that are missing or too many, or shapes that differ: the first one, with found and expected.
    """
    own = module.state_dict()
    missing, extra = [name for name in own if name not in state], [name for name in state if name not in own]
    if missing:
        shape = tuple(own[missing[0]].shape)
        raise InputError(f"{where}: '{missing[0]}' {shape} missing ({len(missing)} of {counted(len(own), 'tensor')})")
    if extra:
        raise InputError(
            f"{where}: found '{extra[0]}' ({counted(len(extra), 'tensor')} too many), which the model does not have"
        )
    for name, tensor in state.items():
        if tensor.shape != own[name].shape:
            raise InputError(f"{where}: '{name}' is {tuple(tensor.shape)}, expected {tuple(own[name].shape)}")
    module.load_state_dict({name: tensor.to(own[name].dtype) for name, tensor in state.items()})
