"""Segmenters as detectors: the boxes of connected components of a class, or of instances."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import normalize, resize

from methods.errors import InputError, first_line
from methods.nn.detection.base import Detections
from methods.nn.detection.folder import load_folder
from methods.nn.detection.names import STUFF
from methods.nn.tensor_file import read_tensors

_SMALLEST = 4
"""Sides in pixels below which a component is noise at the edge of another."""


class TorchvisionSegmenter:
    """One of torchvision's semantic segmenters, with the 20 classes of VOC that its weights are trained on.

    Raises:
        InputError: weights of another network.
    """

    def __init__(self, name: str, path: Path, device: torch.device) -> None:
        from torchvision.models import get_model, get_model_weights

        published = get_model_weights(name)["DEFAULT"]
        self._classes, self._transforms = list(published.meta["categories"]), published.transforms()
        self.classes = tuple(self._classes[1:])
        self.aliases: dict[str, str] = {}
        state = read_tensors(path)
        # the published weights have a second head, which is of use in training alone
        state = {key: value for key, value in state.items() if not key.startswith("aux_classifier.")}
        model = get_model(name, weights=None, weights_backbone=None, num_classes=len(self._classes))
        try:
            model.load_state_dict(state)
        except RuntimeError as error:
            raise InputError(f"{path}: not torchvision's {name} ({first_line(error)})") from None
        self._model, self._device = model.eval().requires_grad_(False).to(device), device

    @torch.inference_mode()
    def detect(self, pictures: Sequence[np.ndarray], score: float) -> list[Detections]:
        """As :class:`methods.nn.detection.base.Detector`; pictures go through one by one."""
        found, how = [], self._transforms
        for picture in pictures:
            tensor = torch.from_numpy(np.array(picture)).to(self._device).permute(2, 0, 1)[None].float() / 255
            tensor = normalize(resize(tensor, how.resize_size, how.interpolation), how.mean, how.std)
            said = _probabilities(self._model(tensor)["out"], picture)
            found.append(components(said, dict(enumerate(self._classes)), self.classes).above(score))
        return found


class FolderSegmenter:
    """A semantic or instance segmenter of transformers from a folder.

    Args:
        kind: the ``Auto`` class of transformers that loads it.

    Raises:
        InputError: no such model.
    """

    def __init__(self, folder: Path, kind: str, device: torch.device) -> None:
        self._processor, self._model = load_folder(folder, kind, device)
        self._device = device
        self.aliases: dict[str, str] = {}
        self._semantic = "Semantic" in kind
        self._names = {int(number): str(name) for number, name in self._model.config.id2label.items()}
        self.classes = tuple(dict.fromkeys(name for name in self._names.values() if name.lower() not in STUFF))

    @torch.inference_mode()
    def detect(self, pictures: Sequence[np.ndarray], score: float) -> list[Detections]:
        """As :class:`methods.nn.detection.base.Detector`; pictures go through one by one."""
        found = []
        for picture in pictures:
            inputs = self._processor(images=Image.fromarray(picture), return_tensors="pt").to(self._device)
            outputs = self._model(**inputs)
            if self._semantic:
                said = components(_probabilities(outputs.logits, picture), self._names, self.classes)
            else:
                (instances,) = self._processor.post_process_instance_segmentation(
                    outputs, threshold=score, target_sizes=[picture.shape[:2]]
                )
                said = self._boxes(instances)
            found.append(said.above(score))
        return found

    def _boxes(self, instances: Mapping[str, Any]) -> Detections:
        found, places = [], np.asarray(instances["segmentation"].cpu())
        for each in instances["segments_info"]:
            rows, columns = np.nonzero(places == each["id"])
            name = self._names[int(each["label_id"])]
            if len(rows) and name in self.classes:
                box = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
                found.append((float(each["score"]), name, box))
        return _sorted(found)


def components(probabilities: np.ndarray, names: Mapping[int, str], wanted: Sequence[str]) -> Detections:
    """The connected components (8 neighbours) of each class, their score the mean probability of it in them.

    Args:
        probabilities: (C, H, W) float32.
        names: of its classes.
        wanted: the classes that are objects.
    """
    winners = probabilities.argmax(axis=0)
    found = []
    for number in np.unique(winners):
        name = names.get(int(number))
        if name not in wanted:
            continue
        count, places, facts, _ = cv2.connectedComponentsWithStats((winners == number).astype(np.uint8), connectivity=8)
        sums = np.bincount(places.ravel(), weights=probabilities[number].ravel(), minlength=count)
        for at in range(1, count):
            left, top, width, height, area = (int(each) for each in facts[at])
            if min(width, height) >= _SMALLEST:
                found.append((float(sums[at] / area), name, (left, top, left + width, top + height)))
    return _sorted(found)


def _probabilities(logits: Tensor, picture: np.ndarray) -> np.ndarray:
    size = picture.shape[:2]
    return F.interpolate(logits, size, mode="bilinear", align_corners=False)[0].softmax(0).float().cpu().numpy()


def _sorted(found: Sequence[tuple[float, str | None, tuple[Any, ...]]]) -> Detections:
    best = sorted(found, key=lambda each: -each[0])
    boxes = np.array([box for _, _, box in best], dtype=np.float64).reshape(-1, 4)
    scores = np.array([score for score, _, _ in best], dtype=np.float64)
    return Detections(boxes, scores, tuple(str(name) for _, name, _ in best))
