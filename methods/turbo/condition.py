"""What pix2pix-Turbo is shown of a picture: the picture, its edges, or its strokes."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

from methods.nn.image_prep import to_tensor


def canny_edges(image: np.ndarray, low: float, high: float) -> np.ndarray:
    """(H, W, 3) uint8 RGB -> (H, W) uint8, 255 on an edge: OpenCV's Canny on the colour picture, aperture 3, L1."""
    return cv2.Canny(np.ascontiguousarray(image), low, high)


def condition(image: np.ndarray, kind: str, low: float = 100, high: float = 200) -> Tensor:
    """(H, W, 3) uint8 RGB -> (3, H, W) float32 in [0, 1], the range pix2pix-Turbo was trained on.

    Args:
        image: already of the size the model works at: the official scripts detect edges after the resize.
        kind: ``image``, ``canny`` or ``sketch`` (1 where a channel is below half: 127 is a stroke, 128 is paper).
        low, high: Canny's thresholds.
    """
    if kind == "canny":
        edges = canny_edges(image, low, high)
        return to_tensor(np.repeat(edges[:, :, None], 3, axis=2), signed=False)
    if kind == "sketch":
        return (to_tensor(image, signed=False) < 0.5).to(torch.float32)
    return to_tensor(image, signed=False)
