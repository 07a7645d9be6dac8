"""Our own file of a one-step generator: one safetensors file that needs nothing beside it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from methods.errors import InputError

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
    """Write the file beside its place and move it in, so that a reader never sees half of it."""
    fields = {name: value for name, value in vars(config).items() if name != "about"}
    for part in ("unet", "vae", "scheduler"):
        # diffusers keeps the path a configuration was read from: no business of the file's readers
        fields[part] = {name: value for name, value in fields[part].items() if name != "_name_or_path"}
    metadata = {"format": FORMAT, "config": json.dumps(fields, sort_keys=True), "about": json.dumps(config.about)}
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    save_file({name: value.detach().cpu().contiguous() for name, value in tensors.items()}, partial, metadata)
    # safetensors makes files only their owner may read
    partial.chmod(0o644)
    os.replace(partial, path)


def is_safetensors(path: Path) -> bool:
    """Whether the file begins as safetensors does: a header length, then JSON."""
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"


def read_native(path: Path, method: str, only_vae: str | None = None) -> tuple[NativeConfig, dict[str, Tensor]]:
    """Configuration and tensors of a file written by :func:`save_native`.

    Args:
        path: the file.
        method: the method it must be for.
        only_vae: read the VAE of this direction and leave the others in the file.

    Raises:
        InputError: not such a file, of another version, or for another method.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            if metadata.get("format") != FORMAT:
                found = metadata.get("format", "no format entry")
                raise InputError(
                    f"{path}: found {found} in its metadata, expected '{FORMAT}': not a turbo file of ours"
                )
            fields = json.loads(metadata["config"])
            fields["captions"] = tuple(fields["captions"])
            config = NativeConfig(**fields, about=json.loads(metadata["about"]))
            if config.method != method:
                raise InputError(f"{path}: holds a model for '{config.method}', expected '{method}'")
            left = tuple(f"{name}." for direction, name in config.vaes.items() if only_vae and direction != only_vae)
            names = [name for name in file.keys() if not name.startswith(left)]  # noqa: SIM118
            return config, {name: file.get_tensor(name) for name in names}
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: not a readable turbo file ({type(error).__name__}: {error})") from None
