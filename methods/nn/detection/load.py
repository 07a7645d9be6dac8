"""Any detector or segmenter by URI: torchvision's, those of transformers, CenterNet, and a small one of our own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from methods import weights as store
from methods.errors import InputError, first_line
from methods.nn.detection.base import Detections, Detector
from methods.nn.detection.centernet import CenterNet
from methods.nn.detection.folder import load_folder
from methods.nn.detection.names import TORCHVISION
from methods.nn.detection.segmenters import FolderSegmenter, TorchvisionSegmenter
from methods.nn.detection.small import load_small
from methods.nn.tensor_file import is_safetensors, read_metadata, read_tensors
from methods.plugins import nearest
from methods.weights.beside import graph_file


def load_detector(uri: str, network: str | None, device: str | torch.device, names: Mapping[str, str]) -> Detector:
    """A frozen detector in float32 on a device.

    Args:
        uri: of its weights.
        network: torchvision's name of it; ``None`` for others.
        names: classes of labels under the detector's names, to be checked against what it knows.

    Raises:
        InputError: weights that cannot be found or do not fit, or a name that the detector does not know.
    """
    path = store.fetch(uri)
    detector: Detector
    if network is not None:
        detector = _torchvision(network, path, torch.device(device))
    elif (graph := graph_file(path)) is not None:
        detector = CenterNet(graph, torch.device(device))
    elif path.is_dir():
        detector = _transformers(path, torch.device(device))
    elif is_safetensors(path) and read_metadata(path).get("format", "").startswith("sceneshift-detector"):
        detector = load_small(path).to(device)
    else:
        raise InputError(
            f"{path}: no detector of `sceneshift train`, no folder of a transformers detector or segmenter, no graph "
            "model of TensorFlow.js; for torchvision's weights name its network too (labels.check.network)"
        )
    for label, name in names.items():
        if name not in detector.classes:
            hint = nearest(name, detector.classes)
            raise InputError(f"labels.check.map: {label}: the detector knows no '{name}': {hint}")
    return detector


def _torchvision(name: str, path: Path, device: torch.device) -> Detector:
    from torchvision.models import list_models, segmentation

    if name in list_models(module=segmentation):
        return TorchvisionSegmenter(name, path, device)
    return _Torchvision(name, path, device)


def _transformers(folder: Path, device: torch.device) -> Detector:
    """What the model says it is made for decides: its ``architectures``."""
    try:
        made_for = " ".join(json.loads((folder / "config.json").read_text(encoding="utf-8"))["architectures"])
    except (OSError, ValueError, KeyError, TypeError):
        made_for = ""
    if made_for.endswith("ForSemanticSegmentation"):
        return FolderSegmenter(folder, "AutoModelForSemanticSegmentation", device)
    if made_for.endswith(("ForUniversalSegmentation", "ForInstanceSegmentation")):
        return FolderSegmenter(folder, "AutoModelForUniversalSegmentation", device)
    return _Transformers(folder, device)


class _Torchvision:
    def __init__(self, name: str, path: Path, device: torch.device) -> None:
        from torchvision.models import detection, get_model, get_model_weights, list_models

        if name not in list_models(module=detection):
            raise InputError(f"labels.check: torchvision has no detector '{name}': {nearest(name, TORCHVISION)}")
        state = read_tensors(path)
        self._classes = get_model_weights(name)["DEFAULT"].meta["categories"]
        self.classes = tuple(each for each in self._classes if each not in ("__background__", "N/A"))
        model = get_model(name, weights=None, weights_backbone=None, num_classes=len(self._classes))
        try:
            model.load_state_dict(state)
        except RuntimeError as error:
            raise InputError(f"{path}: not torchvision's {name} ({first_line(error)})") from None
        self._model = model.eval().requires_grad_(False).to(device)
        self._device = device
        self.aliases: dict[str, str] = {}

    @torch.inference_mode()
    def detect(self, pictures: Sequence[np.ndarray], score: float) -> list[Detections]:
        found = []
        for picture in pictures:
            tensor = torch.from_numpy(np.array(picture)).to(self._device).permute(2, 0, 1).float() / 255
            (said,) = self._model([tensor])
            found.append(_detections(said, lambda label: self._classes[label]).above(score))
        return found


class _Transformers:
    def __init__(self, folder: Path, device: torch.device) -> None:
        self._processor, self._model = load_folder(folder, "AutoModelForObjectDetection", device)
        self._device = device
        self.aliases: dict[str, str] = {}
        self.classes = tuple(dict.fromkeys(str(name) for name in self._model.config.id2label.values()))

    @torch.inference_mode()
    def detect(self, pictures: Sequence[np.ndarray], score: float) -> list[Detections]:
        found = []
        for picture in pictures:
            inputs = self._processor(images=Image.fromarray(picture), return_tensors="pt").to(self._device)
            outputs = self._model(**inputs)
            (said,) = self._processor.post_process_object_detection(
                outputs, threshold=score, target_sizes=[picture.shape[:2]]
            )
            found.append(_detections(said, lambda label: str(self._model.config.id2label[label])))
        return found


def _detections(said: Mapping[str, torch.Tensor], name: Any) -> Detections:
    scores = said["scores"].double().cpu().numpy()
    order = np.argsort(-scores, kind="stable")
    labels = said["labels"].cpu().numpy()[order]
    return Detections(
        said["boxes"].double().cpu().numpy().reshape(-1, 4)[order],
        scores[order],
        tuple(name(int(each)) for each in labels),
    )
