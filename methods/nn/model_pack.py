"""A whole text-to-image model in one safetensors file: easy to train, ship and bundle; unpacked where it is loaded."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file

from methods.errors import InputError
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
            for key, value in load_file(file).items():
                tensors[f"{name}:{key}"] = value.to(dtype) if value.is_floating_point() else value
        else:
            texts[name] = file.read_text(encoding="utf-8")
    metadata = {"format": FORMAT, "files": json.dumps(texts), "about": json.dumps(dict(about), sort_keys=True)}
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    save_file(tensors, partial, metadata)
    # safetensors makes files only their owner may read
    partial.chmod(0o644)
    os.replace(partial, path)
    return path


def unpack(path: Path) -> Path:
    """The folder of a file of :func:`pack`, float32, made once in the cache.

    Raises:
        InputError: not such a file.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                raise InputError(
                    f"{path}: found a file, expected the folder of a model in diffusers' layout, or one file of ours "
                    f"({FORMAT})"
                )
            texts = json.loads(metadata["files"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise InputError(
            f"{path}: found a file, expected the folder of a model in diffusers' layout, or one file of ours "
            f"({type(error).__name__})"
        ) from None
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    folder = cache_folder() / "unpacked" / digest[:32]
    if folder.exists():
        return folder
    partial = folder.with_name(f".{folder.name}.{os.getpid()}")
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in tensors.items():
        file_name, _, key = name.partition(":")
        parts.setdefault(file_name, {})[key] = tensor.float() if tensor.is_floating_point() else tensor
    for name in (*texts, *parts):
        # names come from a file: they stay inside
        if len(Path(name).parts) != 2 or ".." in Path(name).parts or Path(name).is_absolute():
            raise InputError(f"{path}: holds a file named '{name}', expected PART/FILE")
        (partial / name).parent.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (partial / name).write_text(text, encoding="utf-8")
    for name, part in parts.items():
        save_file(part, partial / name, {"format": "pt"})
    try:
        os.replace(partial, folder)
    except OSError:
        # another process was faster
        shutil.rmtree(partial)
    return folder
