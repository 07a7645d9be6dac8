"""A network in one safetensors file that says how the network is built."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor, nn

from methods.errors import InputError, first_line
from methods.nn.tensor_file import check_format, fill, read_safetensors, write_tensors

Network = TypeVar("Network", bound=nn.Module)


def write_described(
    path: Path, format: str, config: Mapping[str, Any], tensors: Mapping[str, Tensor], about: Mapping[str, str]
) -> Path:
    """Write the tensors of a network.

    Args:
        path: the file.
        format: name and version of the format, such as ``sceneshift-pix2pix-1``.
        config: what the network is built from, as plain data.
        tensors: its own, or averaged ones.
        about: where they are from.

    Returns:
        ``path``.
    """
    about_text = json.dumps(dict(about), sort_keys=True)
    return write_tensors(path, tensors, {"format": format, "config": json.dumps(dict(config)), "about": about_text})


def read_described(path: Path, format: str, kind: str, build: Callable[[Mapping[str, Any]], Network]) -> Network:
    """The network of a file of :func:`write_described`, float32 on the CPU.

    Args:
        path: the file.
        format: as it was written with.
        kind: what the file is, for messages: ``pix2pix file``.
        build: makes the network from its configuration.

    Raises:
        InputError: not such a file, or tensors that do not fit the network it describes.
    """
    tensors, metadata = read_safetensors(path, expected=f"a {kind} of ours")
    check_format(path, metadata, format, kind)
    try:
        network = build(json.loads(metadata["config"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: its configuration cannot be read ({first_line(error)})") from None
    fill(network, tensors, str(path))
    return network
