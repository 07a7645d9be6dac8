"""Edit directions: the mean text embedding of one concept minus that of another (section 3.2 of arXiv 2302.03027)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from methods import weights as store
from methods.counting import counted
from methods.errors import InputError
from methods.nn.tensor_file import is_safetensors, read_pickle, read_safetensors, write_tensors
from methods.nn.text_encoder import TextEncoder
from methods.pix2pix_zero.prompts import prompts_of, read_prompts

FORMAT = "sceneshift-direction-1"
_BATCH = 32
_SAME_ENCODER = 0.05
"""How far the state of the first token may be from the encoder's own, as a share of its length: bfloat16 moves it by
0.002, another training of the same network by most of it."""


def mean_embedding(text: TextEncoder, sentences: Sequence[str]) -> Tensor:
    """Mean over sentences of the text encoder's last hidden state, (1, 77, D) float32 on the CPU."""
    total = torch.zeros(1, text.length, text.width, dtype=torch.float64)
    for start in range(0, len(sentences), _BATCH):
        some = sentences[start : start + _BATCH]
        for sentence in some:
            text.check(sentence)
        total += text.embed(some).double().sum(0, keepdim=True).cpu()
    return (total / len(sentences)).float()


def load_concept(name: str, text: TextEncoder) -> Tensor:
    """The mean embedding of a concept, (1, 77, D) float32.

    Args:
        name: bundled prompts, a ``.txt`` of sentences, or a ``.pt`` / ``.safetensors`` of embeddings (n, 77, D), whose
            mean over n is taken, as the release does.

    Raises:
        InputError: not there, not such a file, or embeddings of another text encoder.
    """
    path = prompts_of(name) or store.fetch(name)
    if path.suffix == ".txt":
        return mean_embedding(text, read_prompts(path))
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
        names = ("source", "target")
        for name in names:
            if name not in tensors:
                raise InputError(f"{path}: '{name}' missing, found {', '.join(tensors) or 'nothing'}")
        for name in names:
            _check(tensors[name], text, f"{path} ({name})")
        return tensors["target"].float() - tensors["source"].float()
    direction = _only_tensor(path)
    _check_shape(direction, text, str(path))
    return direction.float().mean(0, keepdim=True)


def save_direction(path: Path, source: Tensor, target: Tensor, about: Mapping[str, Any]) -> None:
    """Write both mean embeddings (1, 77, D) with ``about`` (words, sentences, text encoder), in one move."""
    tensors = {"source": source, "target": target}
    write_tensors(path, tensors, {"format": FORMAT, "about": json.dumps(dict(about), sort_keys=True)})


def _check(embedding: Tensor, text: TextEncoder, where: str) -> None:
    _check_shape(embedding, text, where)
    # The first token sees itself alone, so its state is the same in every sentence: it tells text encoders apart.
    own = text.embed(["a"])[0, 0].float().cpu()
    apart = float((embedding.float().mean(0)[0] - own).norm() / own.norm())
    if apart > _SAME_ENCODER:
        raise InputError(
            f"{where}: found embeddings of another text encoder than the one in {text.folder} (the first token differs "
            f"by {100 * apart:.0f} %, expected at most {100 * _SAME_ENCODER:.0f} %): make them again with this model "
            "(sceneshift directions make, with --base)"
        )


def _check_shape(embedding: Tensor, text: TextEncoder, where: str) -> None:
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
        raise InputError(
            f"{path}: found {counted(len(tensors), 'tensor')} ({', '.join(tensors)}), expected one of embeddings"
        )
    return next(iter(tensors.values()))


def _tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file or of a torch file that holds one tensor."""
    if not path.is_file():
        raise InputError(f"{path}: found a folder, expected a file of embeddings")
    expected = "one tensor of embeddings (n, 77, D)"
    if is_safetensors(path):
        return read_safetensors(path, expected=expected)
    loaded = read_pickle(path, expected)
    if not isinstance(loaded, Tensor):
        raise InputError(f"{path}: found a {type(loaded).__name__}, expected {expected}")
    return {"embedding": loaded}, {}
