"""The weights of a graph model: what its manifest lists, from the binary files beside it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from torch import Tensor

from methods.counting import counted
from methods.errors import InputError
from methods.weights.beside import beside


class _Quantization(BaseModel):
    dtype: Literal["float16"]


class _Weight(BaseModel):
    name: str
    shape: list[Annotated[int, Field(ge=0)]]
    dtype: Literal["float32", "int32"]
    quantization: _Quantization | None = None

    @property
    def stored(self) -> np.dtype[Any]:
        """How its numbers lie in the file, least byte first."""
        if self.dtype == "float32":
            return np.dtype("<f4" if self.quantization is None else "<f2")
        return np.dtype("<i4")


class _Group(BaseModel):
    paths: list[str]
    weights: list[_Weight]


_MANIFEST = TypeAdapter(list[_Group])


def read_weights(path: Path, manifest: Any) -> dict[str, Tensor]:
    """Tensors by name on the CPU, float32 (halves are widened) or int32.

    Args:
        path: the ``.json``; the files of numbers lie beside it.
        manifest: its ``weightsManifest``.

    Raises:
        InputError: another manifest, another quantization than float16, a name that comes twice, or files that are
            missing or of another size than the manifest says.
    """
    try:
        groups = _MANIFEST.validate_python(manifest)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        said = str(first["input"])[:80]
        raise InputError(f"{path}: weightsManifest.{place}: {first['msg']} (got {said})") from None
    beside(path)
    found: dict[str, Tensor] = {}
    for group in groups:
        data = b"".join(_bytes(path, name) for name in group.paths)
        wanted = sum(math.prod(each.shape) * each.stored.itemsize for each in group.weights)
        if len(data) != wanted:
            raise InputError(
                f"{path}: its weights take {counted(wanted, 'byte')}, and {', '.join(group.paths)} "
                f"{'has' if len(group.paths) == 1 else 'have'} {len(data):,}"
            )
        at = 0
        for each in group.weights:
            if each.name in found:
                raise InputError(f"{path}: weightsManifest lists '{each.name}' twice")
            count = math.prod(each.shape)
            numbers = np.frombuffer(data, each.stored, count, at).reshape(each.shape)
            found[each.name] = torch.from_numpy(numbers.astype(each.dtype))
            at += count * each.stored.itemsize
    return found


def _bytes(path: Path, name: str) -> bytes:
    try:
        return (path.parent / name).read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {name}, which it names beside it, cannot be read ({error.strerror})") from None
