"""Whether labels still hold: a detector looks at source and output."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from pipeline.labels.check_names import INVENTED
from pipeline.metrics.base import Measured, Pictures
from pipeline.metrics.encoded import EncodedPictures
from pipeline.metrics.label_check_params import LabelCheckParams

if TYPE_CHECKING:
    import torch

    from methods.nn.detection.base import Detections, Detector


class LabelCheck:
    """What of the labels a detector still finds after the translation, and what it finds that was never there.

    ``labels.checked`` boxes of classes that it knows; ``labels.found_before`` of them it finds in the source and
    ``labels.held`` in the output too, with their class; ``labels.survival`` is the share of the one in the other (1
    where it found nothing before: nothing is lost). ``labels.invented`` objects it finds in the output, where it finds
    none in the source and no label is. What it says of each box stands with the annotation.
    """

    name: ClassVar[str] = "label_check"
    columns: ClassVar[tuple[str, ...]] = (
        "labels.survival",
        "labels.invented",
        "labels.checked",
        "labels.found_before",
        "labels.held",
    )
    needs_labels: ClassVar[bool] = True

    def __init__(self, device: str | torch.device, params: LabelCheckParams) -> None:
        self._device, self._params = device, params
        self._detector: Detector | None = None
        self._found: EncodedPictures[Detections] = EncodedPictures(self._detect)

    def load(self) -> Detector:
        """Put the detector on the device. Raises InputError: weights that do not fit, or a map to unknown classes."""
        if self._detector is None:
            from methods.nn.detection.load import load_detector

            params = self._params
            uri, network = params.weight_uris()[0], params.torchvision_network()
            self._detector = load_detector(uri, network, self._device, params.map)
        return self._detector

    def measure(self, pictures: Pictures) -> Measured:
        """One value a sample in each column, what is said of each annotation, and the invented objects."""
        from pipeline.labels.check import CheckRules, agreement

        detector, params = self.load(), self._params
        rules = CheckRules(params.iou, params.score, params.smallest, detector.classes, detector.aliases | params.map)
        columns: dict[str, list[float]] = {name: [] for name in self.columns}
        annotations, attributes = [], []
        labels = pictures.labels or [None] * len(pictures)
        before, after = self._found.of(pictures, "source"), self._found.of(pictures, "output")
        for own, first, second in zip(labels, before, after, strict=True):
            assert first is not None
            assert second is not None
            found = agreement(own, first, second, rules)
            columns["labels.survival"].append(found.held / found.found_before if found.found_before else 1.0)
            columns["labels.invented"].append(float(len(found.invented)))
            columns["labels.checked"].append(float(found.checked))
            columns["labels.found_before"].append(float(found.found_before))
            columns["labels.held"].append(float(found.held))
            annotations.append(found.annotations)
            attributes.append({INVENTED: json.dumps(found.invented)} if found.invented else {})
        return Measured(columns, annotations=annotations, attributes=attributes)

    def combine(self, features: Mapping[str, np.ndarray]) -> Mapping[str, float]:
        """Nothing: the table by class is counted from the index."""
        return {}

    def _detect(self, pictures: Sequence[np.ndarray]) -> list[Detections]:
        # an object that was half seen before is not invented
        return self.load().detect(pictures, self._params.score / 2)
