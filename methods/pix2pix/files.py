"""Weights of pix2pix: one safetensors file that says how its network is built."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from methods.nn.described import read_described, write_described
from methods.pix2pix.network import UNetGenerator

FORMAT = "sceneshift-pix2pix-1"


def save_generator(
    path: Path, generator: UNetGenerator, tensors: Mapping[str, Tensor], about: Mapping[str, str]
) -> Path:
    """Write ``tensors`` (the generator's own or averaged ones) with what the network is built from."""
    return write_described(path, FORMAT, {"width": generator.width, "levels": generator.levels}, tensors, about)


def load_generator(path: Path) -> UNetGenerator:
    """The generator of a file of :func:`save_generator`, float32 on the CPU.

    Raises:
        InputError: not such a file, or tensors that do not fit the network it describes.
    """
    return read_described(
        path, FORMAT, "pix2pix file", lambda config: UNetGenerator(int(config["width"]), int(config["levels"]))
    )
