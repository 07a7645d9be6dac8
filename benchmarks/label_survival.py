"""How many labelled objects survive the bundled translation to night, beside how many survive a true night.

    python -m benchmarks.label_survival [--data FOLDER] [--scenes 48] [--detector bundled://street-detector]
        [--side 128] [--score 0.3] [--iou 0.5] [--smallest 8]

The same scenes by day, translated to night (``street_day_to_night``), by true night, and by day with all labelled boxes
painted black, all seen by one detector with the defaults of ``labels.check``. What it loses in true nights is its own
fault; what it loses beyond that is the translation's. Of what is painted over nothing may be held. Vehicles that are
pasted into scenes where none is labelled are to be called invented.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from math import ceil, floor
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch

from benchmarks.augmentation import scenes, translated
from jobs.streets.dataset import write_dataset
from jobs.streets.taxonomy import CATEGORIES
from methods.base import Inputs
from methods.nn.detection.base import Detections, Detector
from methods.nn.detection.load import load_detector
from methods.weights import identity, redacted
from methods.weights.address import Kind, kind_of
from pipeline.labels import Labels
from pipeline.labels.arrow import to_arrow_value
from pipeline.labels.check import CheckRules, agreement, overlap
from pipeline.labels.check_names import INVENTED, MEASURED, UNCOMPARED
from pipeline.labels.check_table import SurvivalTable
from pipeline.labels.records import Annotation
from pipeline.metrics.label_check_params import LabelCheckParams

Box: TypeAlias = "tuple[float, float, float, float]"
OWN = "bundled://street-detector"
VEHICLES = ("vehicle", "car", "truck", "bus", "train")
"""What the detector calls a vehicle: its own class, or those of COCO."""
RESULTS = Path(__file__).parent / "results" / "label_survival.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="streets with day and night; none renders them")
    parser.add_argument("--scenes", type=int, default=48)
    parser.add_argument("--detector", default=OWN, help="as labels.check.detector")
    parser.add_argument("--side", type=int, default=128, help="pixels a side of the scenes")
    for name in ("score", "iou", "smallest"):
        default = LabelCheckParams.model_fields[name].default
        parser.add_argument(f"--{name}", type=float, default=default, help=f"as labels.check.{name}")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    params = LabelCheckParams(detector=asked.detector, score=asked.score, iou=asked.iou, smallest=asked.smallest)
    detector = load_detector(params.weight_uris()[0], params.torchvision_network(), "cpu", {})
    # the classes that scenes can have: a detector of more may see suitcases in them, and no label could say so
    named = tuple(CATEGORIES.values())
    rules = CheckRules(params.iou, params.score, params.smallest, detector.classes, detector.aliases, named=named)
    with tempfile.TemporaryDirectory() as folder:
        data = asked.data
        if data is None:
            data = Path(folder) / "streets"
            write_dataset(str(data), asked.scenes, asked.side, ["day", "night"], 3_300_000, "webdataset")
        days, nights = scenes(data / "day", asked.scenes), scenes(data / "night", asked.scenes)
    result: dict[str, Any] = {
        "scenes": len(days),
        "detector": shown(asked.detector),
        "weights": identity(params.weight_uris()[0]),
    }
    result |= {"side": asked.side, "score": params.score, "iou": params.iou, "smallest": params.smallest}
    conditions = {
        "unchanged": days,
        "translated night": translated(days),
        "true night": nights,
        "labels painted black": [painted_black(day) for day in days],
    }
    for name, others in conditions.items():
        result[name] = survival(days, others, detector, rules).as_tree()
    result["pasted vehicles"] = called_invented(days, detector, rules)
    out = RESULTS if asked.detector == OWN else RESULTS.with_stem(f"{RESULTS.stem}_{Path(shown(asked.detector)).stem}")
    out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def shown(detector: str) -> str:
    """What of a detector's URI is recorded: of a path the last name, where it lies is of no interest."""
    return Path(detector).name if kind_of(detector) == Kind.PATH else redacted(detector)


def survival(days: Sequence[Inputs], others: Sequence[Inputs], detector: Detector, rules: CheckRules) -> SurvivalTable:
    """What of the labels of scenes is still found in others, as the report of a job has it."""
    table = SurvivalTable()
    for day, other in zip(days, others, strict=True):
        assert day.image is not None
        assert other.image is not None
        labels = labels_of(day)
        before, after = detector.detect([day.image, other.image], rules.score / 2)
        found = agreement(labels, before, after, rules)
        said = [
            Annotation(each.category, bbox=each.bbox, attributes={MEASURED: entry})
            for each, entry in zip(labels.annotations, found.annotations, strict=True)
        ]
        attributes = {INVENTED: json.dumps(found.invented), UNCOMPARED: json.dumps(found.uncompared)}
        table.add([to_arrow_value(Labels(annotations=said, attributes=attributes))])
    return table


def painted_black(day: Inputs) -> Inputs:
    """The scene with every labelled box black, to the pixels that it touches."""
    assert day.image is not None
    image = day.image.copy()
    for _, (x, y, width, height) in day.columns["boxes"]:
        image[max(0, floor(y)) : ceil(y + height), max(0, floor(x)) : ceil(x + width)] = 0
    return replace(day, image=image)


@dataclass(frozen=True)
class Paste:
    """A labelled vehicle in a scene that is not its own, at its own place.

    Attributes:
        scene: number of the scene.
        image: the scene with it.
        box: (x, y, width, height) of it.
    """

    scene: int
    image: np.ndarray
    box: Box


def pasted(days: Sequence[Inputs], before: Sequence[Detections], rules: CheckRules) -> Iterator[Paste]:
    """Each vehicle that was found, with two pixels around it, in the next scene where it touches no labelled box."""
    for number, (day, found) in enumerate(zip(days, before, strict=True)):
        boxes = day.columns["boxes"]
        said = agreement(labels_of(day), found, found, rules).annotations
        for (category, box), entry in zip(boxes, said, strict=True):
            if rules.known(category) not in VEHICLES or not entry.get("found_before"):
                continue
            assert day.image is not None
            high, wide = day.image.shape[:2]
            left, top = (max(0, floor(side) - 2) for side in box[:2])
            right, bottom = min(wide, ceil(box[0] + box[2]) + 2), min(high, ceil(box[1] + box[3]) + 2)
            for step in range(1, len(days)):
                at = (number + step) % len(days)
                own = np.array([each for _, each in days[at].columns["boxes"]]).reshape(-1, 4)
                corners = np.concatenate([own[:, :2], own[:, :2] + own[:, 2:]], axis=1)
                if overlap(np.array([[left, top, right, bottom]], float), corners).any():
                    continue
                into = days[at].image
                assert into is not None
                image = into.copy()
                image[top:bottom, left:right] = day.image[top:bottom, left:right]
                yield Paste(at, image, box)
                break


def called_invented(days: Sequence[Inputs], detector: Detector, rules: CheckRules) -> dict[str, Any]:
    """How many pasted vehicles there are and how many of them are called invented, by their smaller side in pixels."""
    before = [detector.detect([day.image], rules.score / 2)[0] for day in days if day.image is not None]
    counts = {name: {"pasted": 0, "invented": 0} for name in ("8 to 11", "12 to 15", "16 and more")}
    for paste in pasted(days, before, rules):
        (after,) = detector.detect([paste.image], rules.score / 2)
        invented = agreement(labels_of(days[paste.scene]), before[paste.scene], after, rules).invented
        side = min(paste.box[2:])
        count = counts["8 to 11" if side < 12 else "12 to 15" if side < 16 else "16 and more"]
        count["pasted"] += 1
        count["invented"] += any(overlap(corners_of(paste.box), corners_of(box)) >= rules.iou for _, _, box in invented)
    return counts


def labels_of(day: Inputs) -> Labels:
    """The labelled boxes of a scene."""
    return Labels(annotations=[Annotation(category, bbox=box) for category, box in day.columns["boxes"]])


def corners_of(box: Box) -> np.ndarray:
    """(1, 4) left, top, right, bottom."""
    x, y, width, height = box
    return np.array([[x, y, x + width, y + height]])


if __name__ == "__main__":
    main()
