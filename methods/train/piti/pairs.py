"""A picture and its condition, as PITI's trainings see them; the models they start from; the files they end in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from methods import weights as store
from methods.base import Inputs
from methods.errors import BadSample, InputError
from methods.nn.image_prep import to_tensor
from methods.nn.tensor_file import fill, read_tensors
from methods.piti.condition import ConditionReader
from methods.piti.conditions.squash import squash_smooth
from methods.piti.config import CHANNELS, CONDITION_SIZE, Family, ModelConfig, PITIConfig
from methods.piti.loading import load_model, save_native
from methods.piti.networks import PITIModel
from methods.piti.params import PITIParams
from methods.train.piti.info import PITITrainingParams

_OF_TEXT = ("transformer.", "padding_embedding", "positional_embedding", "token_embedding.", "final_ln.")


class PairReader:
    """Pairs of one kind of condition. Picture and condition are squashed to 256 x 256, without a crop."""

    def __init__(self, params: PITITrainingParams) -> None:
        """Raises InputError as :meth:`ConditionReader.build`."""
        self.column, self.flip = params.column, params.flip
        shared = set(PITIParams.model_fields) & set(type(params).model_fields)
        self.reader = ConditionReader.build(PITIParams(**{name: getattr(params, name) for name in shared}))

    def read(self, inputs: Inputs, rng: np.random.Generator) -> tuple[np.ndarray, Tensor]:
        """(256, 256, 3) uint8 picture and (C, 256, 256) condition in [-1, 1], mirrored together or not.

        Raises:
            BadSample: no picture, no condition, or one that is not what it should be.
        """
        if inputs.image is None:
            raise BadSample("no_image", "training needs a picture")
        picture, condition = squash_smooth(inputs.image), self.reader.tensor(self._condition(inputs))
        if self.flip and rng.random() < 0.5:
            return np.ascontiguousarray(picture[:, ::-1]), condition.flip(-1)
        return picture, condition

    def _condition(self, inputs: Inputs) -> Inputs:
        if self.reader.params.condition in ("canny", "hed"):
            return inputs
        stored = inputs.columns.get(self.column)
        if not isinstance(stored, np.ndarray):
            raise BadSample("no_condition", f"found no picture '{self.column}', expected it among the masks")
        grey = stored.ndim == 2 and stored.dtype == np.uint8
        seen = np.repeat(stored[..., None], 3, axis=2) if grey else stored
        return replace(inputs, image=seen if seen.ndim == 3 else None, stored=stored)


def resized(picture: np.ndarray, side: int) -> Tensor:
    """(H, W, 3) uint8 -> (3, side, side) in [-1, 1], bicubic."""
    if picture.shape[0] != side:
        picture = np.array(Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC))
    return to_tensor(picture)


def start_model(params: PITITrainingParams, config: ModelConfig) -> PITIModel:
    """A model to train: from ``params.weights``, else with ``params.glide`` for its UNet, else from random numbers.

    Raises:
        InputError: weights that cannot be found or do not fit.
    """
    model = PITIModel(config, CHANNELS[params.family])
    if params.weights is not None:
        loaded = load_model(store.fetch(params.weights), config.stage, params.family)
        fill(model, loaded.state_dict(), params.weights)
    elif params.glide is not None:
        path = store.fetch(params.glide)
        fill(model.decoder, without_text(read_tensors(path), path), str(path))
    return model


def without_text(tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """What PITI keeps of GLIDE's own weights: all but the text transformer.

    Raises:
        InputError: not GLIDE's weights.
    """
    if "transformer_proj.weight" not in tensors:
        first = next(iter(tensors), "nothing")
        raise InputError(f"{path}: found tensors such as '{first}', expected GLIDE's base.pt or upsample.pt")
    return {name: tensor for name, tensor in tensors.items() if not name.startswith(_OF_TEXT)}


def merged(model: PITIModel, averaged: Mapping[str, Tensor] | None, prefix: str = "") -> dict[str, Tensor]:
    """The model's tensors, those of ``averaged`` (named below ``prefix``) in place of their own."""
    state = dict(model.state_dict())
    state.update({prefix + name: tensor for name, tensor in (averaged or {}).items()})
    return state


def write_model(
    path: Path,
    config: ModelConfig,
    family: Family,
    state: Mapping[str, Tensor],
    about: Mapping[str, str],
    base: str | None,
) -> Path:
    """Write ``state``: the official format for a ``.pt``, else ours, with the base model of ``base`` in it."""
    if path.suffix == ".pt":
        torch.save({name: tensor.detach().cpu().float().contiguous() for name, tensor in state.items()}, path)
        return path
    tensors = {f"{config.stage}.{name}": tensor for name, tensor in state.items()}
    if config.stage == "base":
        save_native(path, PITIConfig(family=family, base=config), tensors, about)
        return path
    beside = None
    if base is not None:
        model = load_model(store.fetch(base), "base", family)
        beside = model.config
        tensors |= {f"base.{name}": tensor for name, tensor in model.state_dict().items()}
    save_native(path, PITIConfig(family=family, base=beside, upsampler=config), tensors, about)
    return path


def side_by_side(condition: Tensor, *pictures: Tensor) -> np.ndarray:
    """(H, W, 3) uint8: a condition and pictures (3, H, W) in [-1, 1], enlarged to the condition's size."""
    shown = condition[:3] if condition.shape[0] >= 3 else condition[:1].expand(3, -1, -1)
    size = (CONDITION_SIZE, CONDITION_SIZE)
    large = [torch.nn.functional.interpolate(p[None].float(), size, mode="nearest")[0] for p in (shown, *pictures)]
    row = torch.cat([p.cpu() for p in large], dim=2).clamp(-1, 1)
    return ((row + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
