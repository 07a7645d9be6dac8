"""Weights of pix2pix: one safetensors file that says how its network is built."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from methods.errors import InputError, first_line
from methods.nn.tensor_file import check_format, fill, read_safetensors, write_tensors
from methods.pix2pix.network import UNetGenerator

FORMAT = "sceneshift-pix2pix-1"


def save_generator(
    path: Path, generator: UNetGenerator, tensors: Mapping[str, Tensor], about: Mapping[str, str]
) -> Path:
    """Write ``tensors`` (the generator's own or averaged ones) with what the network is built from."""
    metadata = {
        "format": FORMAT,
        "config": json.dumps({"width": generator.width, "levels": generator.levels}),
        "about": json.dumps(dict(about), sort_keys=True),
    }
    return write_tensors(path, tensors, metadata)


def load_generator(path: Path) -> UNetGenerator:
    """The generator of a file of :func:`save_generator`, float32 on the CPU.

    Raises:
        InputError: not such a file, or tensors that do not fit the network it describes.
    """
    tensors, metadata = read_safetensors(path, expected="a pix2pix file of ours")
    check_format(path, metadata, FORMAT, "pix2pix file")
    try:
        config = json.loads(metadata["config"])
        generator = UNetGenerator(int(config["width"]), int(config["levels"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: its configuration cannot be read ({first_line(error)})") from None
    fill(generator, tensors, str(path))
    return generator
