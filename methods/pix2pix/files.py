"""Weights of pix2pix: one safetensors file that says how its network is built."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from methods.errors import InputError
from methods.pix2pix.network import UNetGenerator

FORMAT = "sceneshift-pix2pix-1"


def save_generator(
    path: Path, generator: UNetGenerator, tensors: Mapping[str, Tensor], about: Mapping[str, str]
) -> Path:
    """Write ``tensors`` (the generator's own or averaged ones) beside their place and move them in."""
    metadata = {
        "format": FORMAT,
        "config": json.dumps({"width": generator.width, "levels": generator.levels}),
        "about": json.dumps(dict(about), sort_keys=True),
    }
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, partial, metadata)
    # safetensors makes files only their owner may read
    partial.chmod(0o644)
    os.replace(partial, path)
    return path


def load_generator(path: Path) -> UNetGenerator:
    """The generator of a file of :func:`save_generator`, float32 on the CPU.

    Raises:
        InputError: not such a file, or tensors that do not fit the network it describes.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if metadata.get("format") != FORMAT:
            found = metadata.get("format", "no format entry")
            raise InputError(f"{path}: found {found} in its metadata, expected '{FORMAT}': not a pix2pix file of ours")
        config = json.loads(metadata["config"])
        generator = UNetGenerator(int(config["width"]), int(config["levels"]))
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a readable pix2pix file ({type(error).__name__}: {error})") from None
    own = generator.state_dict()
    for name, tensor in own.items():
        if name not in tensors:
            raise InputError(f"{path}: '{name}' {tuple(tensor.shape)} missing")
        if tensors[name].shape != tensor.shape:
            raise InputError(f"{path}: '{name}' is {tuple(tensors[name].shape)}, expected {tuple(tensor.shape)}")
    generator.load_state_dict({name: tensors[name].float() for name in own})
    return generator
