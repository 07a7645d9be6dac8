"""Annotations of a picture as a condition: which class every pixel is of, and other maps beside it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from methods.base import Inputs
from methods.errors import BadSample


@dataclass(frozen=True)
class Annotations:
    """What is known of every pixel of a batch: ``labels`` (B, classes, H, W) of zeros and ones, ``maps`` (B, M, H, W)

    in [0, 1]; M may be 0. ``scale``: by how much smaller than usual the pictures of the batch are.
    """

    labels: Tensor
    maps: Tensor
    scale: int = 1

    @property
    def planes(self) -> Tensor:
        """Both, (B, classes + M, H, W)."""
        return torch.cat([self.labels, self.maps], dim=1)


def label_map(inputs: Inputs, column: str) -> np.ndarray:
    """The (H, W) uint8 class ids that a sample carries under ``column``.

    Raises:
        BadSample: ``no_labels``: there are none, they are no ids in 8 bits, or they have another size than the picture.
    """
    found = _map(inputs, column)
    if found.ndim != 2 or found.dtype != np.uint8:
        raise BadSample("no_labels", f"'{column}' is {found.dtype} {found.shape}, expected class ids, uint8 (H, W)")
    return found


def grey_map(inputs: Inputs, column: str) -> np.ndarray:
    """The (H, W) uint8 grey map that a sample carries under ``column``: a line drawing, or a depth map in 16 bits.

    16 bits become 8 by their logarithm: what is near matters more than what is far.

    Raises:
        BadSample: ``no_labels``: there is none, it has another form or another size than the picture.
    """
    found = _map(inputs, column)
    if found.ndim != 2 or found.dtype not in (np.uint8, np.uint16):
        raise BadSample("no_labels", f"'{column}' is {found.dtype} {found.shape}, expected uint8 or uint16 (H, W)")
    if found.dtype == np.uint8:
        return found
    return (np.log1p(found.astype(np.float32)) * (255 / np.log1p(65535))).round().astype(np.uint8)


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """(B, H, W) uint8 ids -> (B, classes, H, W) float of zeros and ones; ids from ``classes`` on are of no class."""
    ids = torch.arange(classes, dtype=torch.uint8, device=labels.device).view(1, -1, 1, 1)
    return (labels[:, None] == ids).float()


def _map(inputs: Inputs, column: str) -> np.ndarray:
    found = inputs.columns.get(column)
    if not isinstance(found, np.ndarray):
        raise BadSample("no_labels", f"found no label map '{column}': name it in the source's masks")
    if inputs.image is not None and inputs.image.shape[:2] != found.shape[:2]:
        raise BadSample("no_labels", f"'{column}' is {found.shape[:2]}, its picture {inputs.image.shape[:2]}")
    return found
