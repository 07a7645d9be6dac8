"""CenterNet ("Objects as Points", Zhou et al. 2019) for COCO as a graph model of TensorFlow.js.

What is read is the interface of https://github.com/610265158/mobilenetv3_centernet: RGB of 0 to 255 goes in; out come
``keypoints``, how likely each place is the centre of an object of each class, and ``wh``, how far its left, top, right
and bottom sides are from there, in pixels of the network's picture. A centre is a place above which no neighbour rises.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from methods.errors import InputError
from methods.nn.detection.base import Detections
from methods.nn.tfjs.graph import GraphModel

_MOST = 100
"""Objects in one picture at most, as the graph's own output has it."""


class CenterNet:
    """A frozen detector of the 80 classes of COCO, in float32.

    Args:
        path: the ``.json`` of the graph, its binary files beside it.

    Raises:
        InputError: a graph that cannot be read, or no such network.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        self._graph, self._device = GraphModel(path, device), device
        self.classes = coco_classes()
        self.aliases: dict[str, str] = {}
        self._centres, self._sides = (self._output(path, last) for last in ("keypoints", "wh"))
        inputs = self._graph.inputs
        (self._input, taken) = next(iter(inputs.items())) if len(inputs) == 1 else ("", ())
        centres, sides = self._graph.shape(self._centres) or (), self._graph.shape(self._sides) or ()
        self._side, self._step = _squares(taken, centres, sides)
        if not self._step:
            raise InputError(
                f"{path}: no CenterNet: takes {[*inputs.values()]}, gives {centres} for centres and {sides} for sides"
            )
        if (known := centres[3:]) != (len(self.classes),):
            raise InputError(f"{path}: knows {sum(known)} classes, and only the {len(self.classes)} of COCO are read")

    @torch.inference_mode()
    def detect(self, pictures: Sequence[np.ndarray], score: float) -> list[Detections]:
        """As :class:`methods.nn.detection.base.Detector`; pictures go through one by one, at most 100 objects each."""
        found = []
        for picture in pictures:
            image, scale, left, top = letterboxed(picture, self._side)
            tensor = torch.from_numpy(image).to(self._device).float()[None]
            centres, sides = self._graph.run({self._input: tensor}, (self._centres, self._sides))
            boxes, scores, numbers = peaks(centres[0], sides[0], score, self._step)
            placed = (boxes - np.array([left, top, left, top])) / scale
            height, width = picture.shape[:2]
            placed = placed.clip(0, np.array([width, height, width, height]))
            kept = np.flatnonzero((placed[:, 2:] > placed[:, :2]).all(axis=1))
            found.append(
                Detections(placed[kept], scores[kept], tuple(self.classes[int(number)] for number in numbers[kept]))
            )
        return found

    def _output(self, path: Path, last: str) -> str:
        names = [name for name in self._graph.names if name.rpartition("/")[2] == last]
        if len(names) != 1:
            raise InputError(f"{path}: no CenterNet: {'two nodes are' if names else 'no node is'} called '{last}'")
        return names[0]


def _squares(taken: tuple[int, ...], centres: tuple[int, ...], sides: tuple[int, ...]) -> tuple[int, int]:
    """Side of the network's picture, and its pixels from one place to the next; 0 for shapes of another network."""
    if not len(taken) == len(centres) == len(sides) == 4:
        return 0, 0
    side, places = taken[1], centres[1]
    fits = taken == (1, side, side, 3) and centres[:3] == (1, places, places) and sides == (1, places, places, 4)
    return (side, side // places) if fits and places and side % places == 0 else (0, 0)


def letterboxed(picture: np.ndarray, side: int) -> tuple[np.ndarray, float, int, int]:
    """A (H, W, 3) uint8 picture in the middle of a black square, its aspect kept.

    Returns:
        The (side, side, 3) uint8 square, by how much the picture grew, and where its left and top are in the square.
    """
    height, width = picture.shape[:2]
    scale = side / max(height, width)
    wide, high = (max(1, round(each * scale)) for each in (width, height))
    filter = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    left, top = (side - wide) // 2, (side - high) // 2
    square = np.zeros((side, side, 3), np.uint8)
    square[top : top + high, left : left + wide] = cv2.resize(picture, (wide, high), interpolation=filter)
    return square, scale, left, top


def peaks(centres: Tensor, sides: Tensor, score: float, step: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The objects at the peaks of one picture, best first, at most 100.

    Args:
        centres: (H, W, C), 0 to 1.
        sides: (H, W, 4), from a place to left, top, right and bottom.
        score: least one of a peak.
        step: pixels of the network's picture from one place to the next.

    Returns:
        (N, 4) left, top, right, bottom in the network's picture, (N,) scores, both float64, and (N,) classes.
    """
    planes = centres.permute(2, 0, 1)
    highest = F.max_pool2d(planes[None], 3, stride=1, padding=1)[0]
    rising = torch.where(planes == highest, planes, torch.full_like(planes, -math.inf)).flatten()
    scores, places = rising.sort(descending=True, stable=True)
    places = places[: min(_MOST, int((scores >= score).sum()))]
    scores = scores[: len(places)]
    high, wide = centres.shape[:2]
    numbers, rows, columns = places // (high * wide), places // wide % high, places % wide
    middle = torch.stack([columns, rows, columns, rows], dim=1) * step
    boxes = middle + sides[rows, columns] * torch.tensor([-1, -1, 1, 1], device=sides.device)
    return boxes.double().cpu().numpy(), scores.double().cpu().numpy(), numbers.cpu().numpy()


def coco_classes() -> tuple[str, ...]:
    """The 80 classes of COCO in its order, under torchvision's names."""
    from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights as Published

    named = Published.DEFAULT.meta["categories"]
    return tuple(each for each in named if each not in ("__background__", "N/A"))
