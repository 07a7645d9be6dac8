"""Does translated data help? A detector trained on streets by day, with and without nights, tested on true nights.

    python -m benchmarks.augmentation [--data FOLDER] [--scenes 400] [--steps 600] [--seeds 3]

Three trainings a seed, of equal steps: on day alone, on day and its translation to night (``street_day_to_night``), on
day and the true night of the same scenes. AP is COCO's at an overlap of half (pycocotools), mean over classes, on true
nights of scenes that no training saw. The streets are rendered, and so is everything that is said here.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

import methods
from jobs.streets.dataset import write_dataset
from methods.base import Batch, Inputs, to_uint8
from methods.train.detector.info import INFO, DetectorTrainParams
from methods.train.detector.objective import DetectorTraining
from methods.train.updates import Rates, Updates
from pipeline.sources import open_source
from pipeline.sources.peek import resolve_layout
from pipeline.spec import SourceSpec
from pipeline.training.decoded import decoded

RESULTS = Path(__file__).parent / "results" / "augmentation.json"
MERGE = {"car": "vehicle", "truck": "vehicle", "bus": "vehicle", "train": "vehicle"} | {
    "pedestrian": "person",
    "rider": "person",
}
PARAMS = DetectorTrainParams(classes=("vehicle", "person"), merge=MERGE, side=128)
BATCH = 16


def scenes(folder: Path, count: int) -> list[Inputs]:
    """The first pictures of a rendered condition, with their boxes."""
    return list(_scenes(SourceSpec(uri=str(folder)), count))


def _scenes(spec: SourceSpec, count: int) -> Iterator[Inputs]:
    source, layout = open_source(spec, "webdataset", 64), resolve_layout(spec, "webdataset", 64)
    for file in source.plan():
        for shard in source.read(file, layout, 64):
            for sample in shard.samples:
                if count <= 0:
                    return
                count -= 1
                yield decoded(sample)


def translated(days: Sequence[Inputs]) -> list[Inputs]:
    """The same scenes as the bundled model makes night of them; boxes stay."""
    method = methods.load("cyclegan_turbo", preset="street_day_to_night")
    found = []
    for number, day in enumerate(days):
        with torch.inference_mode():
            image = method.translate(Batch(method.prepare(day)[None], [number], [day.key], [None], [{}]))
        found.append(Inputs(day.key, to_uint8(image)[0], None, day.columns))
    return found


def trained(pictures: Sequence[Inputs], steps: int, seed: int) -> DetectorTraining:
    """A detector from nothing, after so many steps."""
    torch.manual_seed(seed)
    objective = DetectorTraining.build(PARAMS, torch.device("cpu"), torch.float32, steps)
    updates = Updates()
    rates = Rates(objective.optimizers(), lambda step: INFO.schedule(PARAMS, step, steps))
    random = np.random.default_rng(seed)
    for step in range(steps):
        drawn = [
            objective.transform("labelled", pictures[int(at)], random)
            for at in random.integers(0, len(pictures), BATCH)
        ]
        batch = {name: torch.stack([torch.as_tensor(each[name]) for each in drawn]) for name in ("image", "boxes")}
        rates.set(step)
        objective.step({"labelled": batch}, step, torch.Generator(), updates)
    return objective


def average_precision(objective: DetectorTraining, pictures: Sequence[Inputs]) -> float:
    """COCO's AP at an overlap of half; boxes with a side below the least that is learnt are ignored."""
    images, annotations, results = [], [], []
    names = list(PARAMS.classes)
    objective.network.eval()
    for number, picture in enumerate(pictures, start=1):
        assert picture.image is not None
        height, width = picture.image.shape[:2]
        images.append({"id": number, "width": width, "height": height})
        for category, box in picture.columns["boxes"]:
            name = MERGE.get(category, category)
            if name in names:
                small = int(min(box[2:]) < PARAMS.smallest)
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": number,
                        "category_id": names.index(name) + 1,
                        "bbox": list(box),
                        "area": box[2] * box[3],
                        "iscrowd": small,
                    }
                )
        (found,) = objective.network.detect([picture.image], 0.02)
        for (left, top, right, bottom), score, name in zip(found.boxes, found.scores, found.classes, strict=True):
            box = [float(left), float(top), float(right - left), float(bottom - top)]
            results.append(
                {"image_id": number, "category_id": names.index(name) + 1, "bbox": box, "score": float(score)}
            )
    if not results:
        return 0.0
    with contextlib.redirect_stdout(io.StringIO()):
        truth: Any = COCO()
        categories = [{"id": at + 1, "name": name} for at, name in enumerate(names)]
        truth.dataset = {"images": images, "annotations": annotations, "categories": categories}
        truth.createIndex()
        found_all = truth.loadRes(results)
        evaluation = COCOeval(truth, found_all, "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[1])


def render(folder: Path, count: int, seed: int) -> Path:
    """Day and true night of so many scenes at 128 pixels."""
    write_dataset(str(folder), count, 128, ["day", "night"], seed, "webdataset")
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, help="streets of 128 pixels with day and night; none renders them")
    parser.add_argument("--test", type=Path, help="the same of other scenes, to test on; none renders 100")
    parser.add_argument("--scenes", type=int, default=400)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        data = asked.data or render(Path(folder) / "train", asked.scenes, 3_100_000)
        test = asked.test or render(Path(folder) / "test", 100, 3_200_000)
        days, nights = scenes(data / "day", asked.scenes), scenes(data / "night", asked.scenes)
        unseen = scenes(test / "night", 1000)
    assert not {each.key for each in days} & {each.key for each in unseen}, "test scenes must be others"
    sets = {"day": days, "day and translated night": [*days, *translated(days)], "day and true night": [*days, *nights]}
    found: dict[str, list[float]] = {name: [] for name in sets}
    for seed in range(asked.seeds):
        for name, pictures in sets.items():
            found[name].append(average_precision(trained(pictures, asked.steps, seed), unseen))
            print(f"seed {seed}, {name}: AP50 {found[name][-1]:.3f}", flush=True)
        # what is known so far, should the rest be broken off
        result: dict[str, Any] = {"scenes": len(days), "steps": asked.steps, "test pictures": len(unseen), "AP50": {}}
        for name, values in found.items():
            spread = statistics.stdev(values) if len(values) > 1 else None
            result["AP50"][name] = {"mean": statistics.mean(values), "std": spread, "seeds": values}
        RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    print(RESULTS.read_text())


if __name__ == "__main__":
    main()
