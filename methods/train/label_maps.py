"""Label maps as a condition: which class every pixel is of."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from methods.base import Inputs
from methods.errors import BadSample


def label_map(inputs: Inputs, column: str) -> np.ndarray:
    """The (H, W) uint8 class ids that a sample carries under ``column``.

    Raises:
        BadSample: ``no_labels``: there are none, they are no ids in 8 bits, or they have another size than the picture.
    """
    found = inputs.columns.get(column)
    if not isinstance(found, np.ndarray):
        raise BadSample("no_labels", f"found no label map '{column}': name it in the source's masks")
    if found.ndim != 2 or found.dtype != np.uint8:
        raise BadSample("no_labels", f"'{column}' is {found.dtype} {found.shape}, expected class ids, uint8 (H, W)")
    if inputs.image is not None and inputs.image.shape[:2] != found.shape:
        raise BadSample("no_labels", f"'{column}' is {found.shape}, its picture {inputs.image.shape[:2]}")
    return found


def one_hot(labels: Tensor, classes: int) -> Tensor:
    """(B, H, W) uint8 ids -> (B, classes, H, W) float of zeros and ones; ids from ``classes`` on are of no class."""
    ids = torch.arange(classes, dtype=torch.uint8, device=labels.device).view(1, -1, 1, 1)
    return (labels[:, None] == ids).float()
