"""Edit directions: the mean text embedding of one concept minus that of another (section 3.2 of arXiv 2302.03027)."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from methods import weights as store
from methods.errors import InputError
from methods.nn.stable_diffusion import TextEncoder
from methods.pix2pix_zero.banks import bank_of, read_bank

FORMAT = "sceneshift-direction-1"
_BATCH = 32


def mean_embedding(text: TextEncoder, sentences: Sequence[str], where: str) -> Tensor:
    """Mean over sentences of the text encoder's last hidden state, (1, 77, D) float32 on the CPU.

    Raises:
        InputError: a sentence too long for the text encoder; ``where`` and its number are named.
    """
    total = torch.zeros(1, text.length, text.width, dtype=torch.float64)
    for start in range(0, len(sentences), _BATCH):
        try:
            embedded = text.embed(sentences[start : start + _BATCH])
        except ValueError as error:
            raise InputError(f"{where}: {error}") from None
        total += embedded.double().sum(0, keepdim=True).cpu()
    return (total / len(sentences)).float()


def load_concept(name: str, text: TextEncoder) -> Tensor:
    """The mean embedding of a concept, (1, 77, D) float32.

    Args:
        name: a bundled bank, a ``.txt`` of sentences, or a ``.pt`` / ``.safetensors`` of embeddings (n, 77, D), whose
            mean over n is taken, as the release does.

    Raises:
        InputError: not there, not such a file, or embeddings of another text encoder.
    """
    path = bank_of(name) or store.fetch(name)
    if path.suffix == ".txt":
        return mean_embedding(text, read_bank(path), str(path))
    embedding = _only_tensor(path)
    _check(embedding, text, str(path))
    return embedding.float().mean(0, keepdim=True)


def load_direction(uri: str, text: TextEncoder) -> Tensor:
    """A direction (1, 77, D) float32 from a file of :func:`save_direction`, or from any file with one such tensor.

    Raises:
        InputError: as :func:`load_concept`.
    """
    path = store.fetch(uri)
    tensors, metadata = _tensors(path)
    if metadata.get("format") == FORMAT:
        for name in ("source", "target"):
            if name not in tensors:
                raise InputError(f"{path}: '{name}' missing, found {', '.join(tensors) or 'nothing'}")
            _check(tensors[name], text, f"{path} ({name})")
        return tensors["target"].float() - tensors["source"].float()
    direction = _only_tensor(path)
    _check(direction, text, str(path))
    return direction.float().mean(0, keepdim=True)


def save_direction(path: Path, source: Tensor, target: Tensor, about: Mapping[str, Any]) -> None:
    """Write both mean embeddings (1, 77, D) with ``about`` (words, sentences, text encoder), in one move."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    tensors = {"source": source.contiguous(), "target": target.contiguous()}
    save_file(tensors, partial, {"format": FORMAT, "about": json.dumps(dict(about), sort_keys=True)})
    # safetensors makes files only their owner may read
    partial.chmod(0o644)
    os.replace(partial, path)


def _check(embedding: Tensor, text: TextEncoder, where: str) -> None:
    shape, wanted = tuple(embedding.shape), (text.length, text.width)
    if embedding.ndim != 3 or not embedding.is_floating_point() or not embedding.numel():
        raise InputError(f"{where}: found a tensor {shape} {embedding.dtype}, expected embeddings (n, 77, {wanted[1]})")
    if shape[1:] != wanted:
        raise InputError(
            f"{where}: found embeddings {shape}, expected (n, {wanted[0]}, {wanted[1]}) of the text encoder in "
            f"{text.folder}: made with another model"
        )
    if not torch.isfinite(embedding).all():
        raise InputError(f"{where}: found values that are not numbers")


def _only_tensor(path: Path) -> Tensor:
    tensors, _ = _tensors(path)
    if len(tensors) != 1:
        raise InputError(f"{path}: found {len(tensors)} tensors ({', '.join(tensors)}), expected one of embeddings")
    return next(iter(tensors.values()))


def _tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file or of a torch file that holds one tensor."""
    if not path.is_file():
        raise InputError(f"{path}: found a folder, expected a file of embeddings")
    try:
        with path.open("rb") as file:
            head = file.read(9)
        if head[8:] == b"{":
            with safe_open(path, framework="pt") as file:
                return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        named = str(error).partition("GLOBAL ")[2].split(" ")[0]
        reason = f"refused, it holds code ({named})" if named else "not a torch file"
        raise InputError(f"{path}: {reason}, expected one tensor of embeddings") from None
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        first = (str(error) or type(error).__name__).splitlines()[0][:160]
        raise InputError(f"{path}: not a readable file of embeddings ({first})") from None
    if not isinstance(loaded, Tensor):
        raise InputError(f"{path}: found a {type(loaded).__name__}, expected one tensor of embeddings (n, 77, D)")
    return {"embedding": loaded}, {}
