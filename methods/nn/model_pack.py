"""A whole text-to-image model in one safetensors file: easy to train, ship and bundle; unpacked where it is loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import torch

from methods.errors import InputError, first_line
from methods.files import replacing, write_text
from methods.nn.tensor_file import read_safetensors, read_tensors, write_tensors
from methods.weights import cache_folder

FORMAT = "sceneshift-latent-model-1"


def pack(folder: Path, path: Path, about: Mapping[str, str], dtype: torch.dtype = torch.float32) -> Path:
    """Write a folder in diffusers' layout as one file: tensors under their file's name, all other files as text.

    Args:
        folder: small files and ``.safetensors``, one level of subfolders.
        dtype: what floating-point tensors are stored as.
    """
    tensors, texts = {}, {}
    for file in sorted(folder.glob("*/*")):
        name = file.relative_to(folder).as_posix()
        if file.suffix == ".safetensors":
            for key, value in read_tensors(file).items():
                tensors[f"{name}:{key}"] = value.to(dtype) if value.is_floating_point() else value
        else:
            texts[name] = file.read_text(encoding="utf-8")
    metadata = {"format": FORMAT, "files": json.dumps(texts), "about": json.dumps(dict(about), sort_keys=True)}
    return write_tensors(path, tensors, metadata)


def unpack(path: Path) -> Path:
    """The folder of a file of :func:`pack`, float32, made once in the cache.

    Raises:
        InputError: not such a file.
    """
    expected = f"the folder of a model in diffusers' layout, or one file of ours ({FORMAT})"
    tensors, metadata = read_safetensors(path, expected=expected)
    if metadata.get("format") != FORMAT:
        raise InputError(f"{path}: found a file, expected {expected}")
    try:
        texts: dict[str, str] = json.loads(metadata["files"])
    except (KeyError, ValueError) as error:
        raise InputError(f"{path}: its list of files cannot be read ({first_line(error)})") from None
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    folder = cache_folder() / "unpacked" / digest[:32]
    if folder.exists():
        return folder
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        file_name, _, key = name.partition(":")
        parts.setdefault(file_name, {})[key] = tensor.float() if tensor.is_floating_point() else tensor
    for name in (*texts, *parts):
        # names come from a file: they stay inside
        if len(Path(name).parts) != 2 or ".." in Path(name).parts or Path(name).is_absolute():
            raise InputError(f"{path}: holds a file named '{name}', expected PART/FILE")
    try:
        with replacing(folder) as partial:
            for name, text in texts.items():
                write_text(partial / name, text)
            for name, part in parts.items():
                write_tensors(partial / name, part, {"format": "pt"})
    except OSError:
        # another process was faster, and a folder with files in it is not replaced
        if not folder.exists():
            raise
    return folder
