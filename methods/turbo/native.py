"""Our own file of a one-step generator: one safetensors file that needs nothing beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from methods.errors import InputError, first_line
from methods.nn.tensor_file import check_format, read_metadata, read_safetensors, write_tensors

FORMAT = "sceneshift.turbo/1"


@dataclass(frozen=True)
class NativeConfig:
    """The configuration stored in the file's metadata.

    Attributes:
        method: ``cyclegan_turbo`` or ``pix2pix_turbo``.
        unet, vae, scheduler: diffusers configurations; the scheduler gives alpha-bar.
        vaes: the VAEs in the file by direction, for example ``{"a2b": "vae_a2b", "b2a": "vae_b2a"}``.
        captions: caption of each stored embedding ``captions.0``, ``captions.1``, ... of shape (L, D).
        default_captions: the caption a direction was trained with.
        about: free: training spec, seeds, scores, commit.
    """

    method: str
    unet: Mapping[str, Any]
    vae: Mapping[str, Any]
    scheduler: Mapping[str, Any]
    vaes: Mapping[str, str]
    captions: tuple[str, ...]
    default_captions: Mapping[str, str]
    about: Mapping[str, Any] = field(default_factory=dict)


def save_native(path: Path, config: NativeConfig, tensors: Mapping[str, Tensor]) -> None:
    """Write the file in one move: the same bytes for the same configuration and tensors."""
    fields = {name: value for name, value in vars(config).items() if name != "about"}
    for part in ("unet", "vae", "scheduler"):
        # diffusers keeps the path a configuration was read from: no business of the file's readers
        fields[part] = {name: value for name, value in fields[part].items() if name != "_name_or_path"}
    metadata = {"format": FORMAT, "config": json.dumps(fields, sort_keys=True), "about": json.dumps(config.about)}
    write_tensors(path, tensors, metadata)


def read_native(
    path: Path, method: str | None = None, only_vae: str | None = None
) -> tuple[NativeConfig, dict[str, Tensor]]:
    """Configuration and tensors of a file written by :func:`save_native`.

    Args:
        path: the file.
        method: the method it must be for; any where none is given.
        only_vae: read the VAE of this direction and leave the others in the file.

    Raises:
        InputError: not such a file, of another version, or for another method.
    """
    metadata = read_metadata(path)
    check_format(path, metadata, FORMAT, "turbo file")
    try:
        fields = json.loads(metadata["config"])
        fields["captions"] = tuple(fields["captions"])
        config = NativeConfig(**fields, about=json.loads(metadata["about"]))
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: its configuration cannot be read ({first_line(error)})") from None
    if method is not None and config.method != method:
        raise InputError(f"{path}: holds a model for '{config.method}', expected '{method}'")
    left = tuple(f"{name}." for direction, name in config.vaes.items() if only_vae and direction != only_vae)
    return config, read_safetensors(path, lambda name: not name.startswith(left))[0]
