"""How many labelled objects survive the bundled translation to night, beside how many survive a true night.

    python -m benchmarks.label_survival [--data FOLDER] [--scenes 48] [--detector bundled://street-detector]

The same scenes by day, translated to night (``street_day_to_night``), by true night, and by day with all labelled boxes
painted black, all seen by one detector with the defaults of ``labels.check``. What it loses in true nights is its own
fault; what it loses beyond that is the translation's. Of what is painted over nothing may be held.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from dataclasses import replace
from math import ceil, floor
from pathlib import Path

import torch

from benchmarks.augmentation import scenes, translated
from jobs.streets.dataset import write_dataset
from methods.base import Inputs
from methods.nn.detection.load import load_detector
from pipeline.labels import Labels
from pipeline.labels.arrow import to_arrow_value
from pipeline.labels.check import CheckRules, agreement
from pipeline.labels.check_names import INVENTED, MEASURED
from pipeline.labels.check_table import SurvivalTable
from pipeline.labels.records import Annotation
from pipeline.metrics.label_check_params import LabelCheckParams

RESULTS = Path(__file__).parent / "results" / "label_survival.json"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="streets of 128 pixels with day and night; none renders them")
    parser.add_argument("--scenes", type=int, default=48)
    parser.add_argument("--detector", default="bundled://street-detector")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    params = LabelCheckParams(detector=asked.detector)
    detector = load_detector(params.weight_uris()[0], None, "cpu", {})
    rules = CheckRules(params.iou, params.score, params.smallest, detector.classes, detector.aliases)
    with tempfile.TemporaryDirectory() as folder:
        data = asked.data
        if data is None:
            data = Path(folder) / "streets"
            write_dataset(str(data), asked.scenes, 128, ["day", "night"], 3_300_000, "webdataset")
        days, nights = scenes(data / "day", asked.scenes), scenes(data / "night", asked.scenes)
    result = {"scenes": len(days), "detector": asked.detector}
    conditions = {
        "unchanged": days,
        "translated night": translated(days),
        "true night": nights,
        "labels painted black": [painted_black(day) for day in days],
    }
    for name, others in conditions.items():
        table = SurvivalTable()
        for day, other in zip(days, others, strict=True):
            assert day.image is not None
            assert other.image is not None
            labels = Labels(annotations=[Annotation(category, bbox=box) for category, box in day.columns["boxes"]])
            before, after = detector.detect([day.image, other.image], params.score / 2)
            found = agreement(labels, before, after, rules)
            said = [
                Annotation(each.category, bbox=each.bbox, attributes={MEASURED: entry})
                for each, entry in zip(labels.annotations, found.annotations, strict=True)
            ]
            attributes = {INVENTED: json.dumps(found.invented)}
            table.add([to_arrow_value(Labels(annotations=said, attributes=attributes))])
        result[name] = table.as_tree()
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


def painted_black(day: Inputs) -> Inputs:
    """The scene with every labelled box black, to the pixels that it touches."""
    assert day.image is not None
    image = day.image.copy()
    for _, (x, y, width, height) in day.columns["boxes"]:
        image[max(0, floor(y)) : ceil(y + height), max(0, floor(x)) : ceil(x + width)] = 0
    return replace(day, image=image)


if __name__ == "__main__":
    main()
