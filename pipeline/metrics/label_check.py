"""Whether labels still hold: a detector looks at source and output."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from methods.errors import InputError
from methods.plugins import nearest
from pipeline.labels.check_names import INVENTED, UNCOMPARED
from pipeline.metrics.base import Measured, Pictures
from pipeline.metrics.encoded import EncodedPictures
from pipeline.metrics.label_check_params import ReadyLabelCheckParams

if TYPE_CHECKING:
    import torch

    from methods.nn.detection.base import Detections, Detector
    from pipeline.labels.check import CheckRules


class LabelCheck:
    """What of the labels a detector still finds after the translation, and what it finds that was never there.

    ``labels.checked`` boxes of classes that it knows; ``labels.found_before`` of them it finds in the source and
    ``labels.held`` in the output too, with their class; ``labels.survival`` is the share of the one in the other (1
    where it found nothing before: nothing is lost). ``labels.invented`` objects it finds in the output, where it finds
    none in the source and no label is, of classes that the labels may have. What it says of each box stands with the
    annotation.
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

    def __init__(self, device: str | torch.device, params: ReadyLabelCheckParams) -> None:
        self._device, self._params = device, params
        self._rules: CheckRules | None = None
        self._detector: Detector | None = None
        self._found: EncodedPictures[Detections] = EncodedPictures(self._detect)

    def load(self) -> Detector:
        """Put the detector on the device.

        Raises:
            InputError: weights that do not fit, a map to unknown classes, or no class in common with the labels.
        """
        if self._detector is None:
            from methods.nn.detection.load import load_detector

            params = self._params
            uri, network = params.weight_uris()[0], params.torchvision_network()
            self._detector = load_detector(uri, network, self._device, params.map)
            self.rules(self._detector)
        return self._detector

    def rules(self, detector: Detector) -> CheckRules:
        """What counts with this detector. Raises InputError where it knows none of the classes, or not a wanted one."""
        if self._rules is None:
            from pipeline.labels.check import CheckRules

            params = self._params
            names = detector.aliases | params.map
            rules = CheckRules(
                params.iou, params.score, params.smallest, detector.classes, names, params.classes, params.named
            )
            for wanted in params.classes or ():
                if rules.known(wanted) is None:
                    hint = nearest(wanted, detector.classes)
                    raise InputError(
                        f"labels.check.classes: the detector knows no '{wanted}': {hint}; name it in the detector's "
                        "terms with labels.check.map"
                    )
            if not rules.comparable():
                raise InputError(
                    f"labels.check: the detector knows none of the labels' classes ({_some(params.named or ())}), but "
                    f"{_some(detector.classes)}: name them in its terms with labels.check.map"
                )
            self._rules = rules
        return self._rules

    def measure(self, pictures: Pictures) -> Measured:
        """One value per sample in each column, what is said of each annotation, and the invented objects."""
        from pipeline.labels.check import agreement

        rules = self.rules(self.load())
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
            said = {INVENTED: found.invented, UNCOMPARED: dict(sorted(found.uncompared.items()))}
            attributes.append({name: json.dumps(value) for name, value in said.items() if value})
        return Measured(columns, annotations=annotations, attributes=attributes)

    def combine(self, features: Mapping[str, np.ndarray]) -> Mapping[str, float]:
        """Nothing: the table by class is counted from the index."""
        return {}

    def _detect(self, pictures: Sequence[np.ndarray]) -> list[Detections]:
        # an object that was half seen before is not invented
        return self.load().detect(pictures, self._params.score / 2)


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:12]) + (", ..." if len(names) > 12 else "")
