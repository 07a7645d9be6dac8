"""PITI's models from the official files, and from files of ours that say what they are."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from pydantic import ValidationError
from torch import Tensor

from methods import weights as store
from methods.errors import InputError
from methods.nn.tensor_file import below, fill, read_metadata, read_tensors, write_tensors
from methods.piti.config import CHANNELS, OFFICIAL_BASE, OFFICIAL_UPSAMPLER, Family, ModelConfig, PITIConfig, Stage
from methods.piti.networks import PITIModel

FORMAT = "sceneshift.piti/1"
_STEM = "encoder.cnn.conv1.weight"
_FIRST = "decoder.input_blocks.0.0.weight"


def load_models(weights: str, upsampler: str | None, family: Family) -> tuple[PITIModel, PITIModel | None]:
    """Base model and upsampler, float32 on the CPU. No upsampler: the pictures stay as small as the base makes them.

    Args:
        weights: an official ``base_*.pt``, or one of our ``.safetensors``, which may hold both.
        upsampler: an official ``upsample_*.pt`` or a file of ours with one; wins over the one in ``weights``.
        family: what the models must be conditioned on.

    Raises:
        InputError: weights that cannot be found or do not fit: file, found and expected are named.
    """
    path = store.fetch(weights)
    base = load_model(path, "base", family)
    if upsampler is not None:
        return base, load_model(store.fetch(upsampler), "upsampler", family)
    if not _is_ours(path):
        raise InputError(f"{path}: holds the base model alone: set method.params.upsampler to an upsample_*.pt")
    return base, load_model(path, "upsampler", family) if read_config(path).upsampler else None


def load_model(path: Path, stage: Stage, family: Family) -> PITIModel:
    """One model of an official file (full size), or of one of ours.

    Raises:
        InputError: a file of another kind, or one that does not fit.
    """
    if not _is_ours(path):
        return load_stage(path, OFFICIAL_BASE if stage == "base" else OFFICIAL_UPSAMPLER, family)
    tensors = read_tensors(path)
    config = read_config(path)
    if config.family != family:
        raise InputError(f"{path}: found a model for {config.family} conditions, expected {family}")
    chosen = config.base if stage == "base" else config.upsampler
    if chosen is None:
        raise InputError(f"{path}: holds no {stage} model, expected one")
    return _filled(chosen, family, below(tensors, f"{stage}."), f"{path} ({stage})")


def load_stage(path: Path, config: ModelConfig, family: Family) -> PITIModel:
    """A model of known dimensions from a file in the official format.

    Raises:
        InputError: a file of another kind, or one that does not fit.
    """
    tensors = read_tensors(path)
    check_kind(tensors, path, config.stage, family)
    return _filled(config, family, tensors, str(path))


def check_kind(tensors: Mapping[str, Tensor], path: Path, stage: Stage, family: Family) -> None:
    """Refuse an official file of another kind, in words: sketch for mask, upsampler for base, encoder alone.

    Raises:
        InputError: file, found and expected.
    """
    expected = f"a PITI {stage} model for {family} conditions (encoder.* and decoder.*)"
    if "cnn.conv1.weight" in tensors:
        raise InputError(f"{path}: found a condition encoder alone (stage 1 of training), expected {expected}")
    if "input_blocks.0.0.weight" in tensors:
        raise InputError(f"{path}: found a UNet without condition encoder (GLIDE itself?), expected {expected}")
    if _STEM not in tensors or _FIRST not in tensors or tensors[_STEM].dim() != 4 or tensors[_FIRST].dim() != 4:
        first = next(iter(tensors), "no tensors")
        raise InputError(f"{path}: found tensors such as '{first}', expected {expected}")
    channels = tensors[_STEM].shape[1]
    if channels != CHANNELS[family]:
        kinds = " or ".join(name for name, number in CHANNELS.items() if number == channels) or "unknown"
        raise InputError(f"{path}: found a model for {kinds} conditions ({channels} channels), expected {expected}")
    found: Stage = "upsampler" if tensors[_FIRST].shape[1] == 6 else "base"
    if found != stage:
        raise InputError(f"{path}: found the {found}, expected {expected}")


def save_native(path: Path, config: PITIConfig, tensors: Mapping[str, Tensor], about: Mapping[str, str]) -> None:
    """Write ``base.*`` and ``upsampler.*`` tensors with their configuration, in one move."""
    metadata = {"format": FORMAT, "config": config.model_dump_json(), "about": json.dumps(dict(about), sort_keys=True)}
    write_tensors(path, tensors, metadata)


def read_config(path: Path) -> PITIConfig:
    """What a file of ours says of itself.

    Raises:
        InputError: not a file of ours.
    """
    metadata = read_metadata(path)
    if metadata.get("format") != FORMAT:
        found = metadata.get("format", "no format entry")
        raise InputError(f"{path}: found {found}, expected a file of format '{FORMAT}' or an official .pt")
    try:
        return PITIConfig.model_validate_json(metadata.get("config", ""))
    except ValidationError as error:
        raise InputError(f"{path}: its configuration cannot be read ({error.errors()[0]['msg']})") from None


def _filled(config: ModelConfig, family: Family, tensors: Mapping[str, Tensor], where: str) -> PITIModel:
    with torch.device("meta"):
        model = PITIModel(config, CHANNELS[family])
    model = model.to_empty(device="cpu")
    fill(model, tensors, where)
    return model


def _is_ours(path: Path) -> bool:
    return path.suffix == ".safetensors"
