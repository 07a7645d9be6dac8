"""The bundled detector on rendered streets: nothing is lost where nothing changed, what is painted over is lost."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from math import ceil, floor
from pathlib import Path

import numpy as np
import pytest

import methods
from benchmarks.label_survival import RESULTS, pasted
from jobs.streets.dataset import write_dataset
from methods.base import Inputs
from methods.nn.detection.load import load_detector
from pipeline.labels import parse_sample
from pipeline.labels.check import CheckRules
from pipeline.labels.records import Labels
from pipeline.metrics import Measured, Pictures, build
from pipeline.sources import open_source
from pipeline.sources.peek import resolve_layout
from pipeline.spec import SourceSpec
from pipeline.training.decoded import decoded

URI, CLASSES = "bundled://street-detector", ("vehicle", "person")
CARD = Path(methods.__file__).parent / "bundled" / "street-detector" / "README.md"
Scenes = tuple[list[np.ndarray], list[np.ndarray], list[Labels | None]]


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Scenes:
    """Six scenes that the detector was not trained on: by day, by true night, and their labels."""
    folder = tmp_path_factory.mktemp("streets")
    write_dataset(str(folder), 6, 128, ["day", "night"], 0, "webdataset", workers=1)
    pictures: dict[str, list[np.ndarray]] = {}
    labels: list[Labels | None] = []
    for name in ("day", "night"):
        spec = SourceSpec(uri=str(Path(folder) / name))
        source, layout = open_source(spec, "webdataset", 64), resolve_layout(spec, "webdataset", 64)
        samples = [each for file in source.plan() for shard in source.read(file, layout, 64) for each in shard.samples]
        found = [decoded(sample).image for sample in samples]
        pictures[name] = [image for image in found if image is not None]
        labels = [parse_sample(sample.labels_raw or "") for sample in samples]
    return pictures["day"], pictures["night"], labels


def measured(source: list[np.ndarray], output: list[np.ndarray], labels: list[Labels | None]) -> Measured:
    metric = build([{"label_check": {"detector": URI}}])[0]
    return metric.measure(replace(Pictures(source, output, [None] * len(source)), labels=labels))


def total(found: Measured, column: str) -> float:
    return sum(found.values[f"labels.{column}"])


def test_the_same_picture_loses_and_invents_nothing(scenes: Scenes) -> None:
    days, _, labels = scenes
    found = measured(days, [day.copy() for day in days], labels)
    assert total(found, "found_before") >= 10
    assert set(found.values["labels.survival"]) == {1.0}
    assert total(found, "invented") == 0


def test_what_is_painted_over_is_lost(scenes: Scenes) -> None:
    days, _, labels = scenes
    lost = measured(days, empty(scenes), labels)
    assert total(lost, "found_before") >= 10
    assert total(lost, "held") == 0


def test_what_comes_back_from_under_the_paint_is_invented(scenes: Scenes) -> None:
    days, _, labels = scenes
    seen = measured(days, days, labels)
    gained = measured(empty(scenes), days, [None] * len(days))
    # a black box may itself be seen as something, then what comes back is nothing new
    assert total(gained, "invented") >= 0.7 * total(seen, "found_before")


def test_pasted_vehicles_are_invented(scenes: Scenes) -> None:
    """All of 16 pixels and more, most of 12: of smaller ones the detector overlooks some, see its card."""
    days, _, labels = scenes
    detector, rules = load_detector(URI, None, "cpu", {}), CheckRules(0.5, 0.3, 12.0, CLASSES, {"car": "vehicle"})
    own = [[(each.category, each.bbox) for each in said.annotations] if said else [] for said in labels]
    inputs = [Inputs(str(n), day, None, {"boxes": own[n]}) for n, day in enumerate(days)]
    pastes = [*pasted(inputs, [detector.detect([day], 0.15)[0] for day in days], rules)]
    assert len(pastes) >= 3
    at = [paste.scene for paste in pastes]
    found = measured([days[n] for n in at], [paste.image for paste in pastes], [labels[n] for n in at])
    called = [number >= 1 for number in found.values["labels.invented"]]
    assert sum(called) >= 0.6 * len(pastes)
    large = [each for paste, each in zip(pastes, called, strict=True) if min(paste.box[2:]) >= 16]
    assert large
    assert all(large)


def empty(scenes: Scenes) -> list[np.ndarray]:
    """The days with every labelled box black, to the pixels that it touches."""
    days, _, labels = scenes
    found = []
    for day, own in zip(days, labels, strict=True):
        painted = day.copy()
        for each in own.annotations if own is not None else ():
            assert each.bbox is not None
            x, y, width, height = each.bbox
            painted[max(0, floor(y)) : ceil(y + height), max(0, floor(x)) : ceil(x + width)] = 0
        found.append(painted)
    return found


def test_true_nights_agree(scenes: Scenes) -> None:
    """Of six scenes; of many see below."""
    days, nights, labels = scenes
    found = measured(days, nights, labels)
    assert total(found, "held") >= 0.8 * total(found, "found_before")


def test_the_recorded_figures_of_many_scenes_keep_what_is_promised() -> None:
    """Of ``python -m benchmarks.label_survival``: at least 40 scenes that no training saw."""
    recorded, black_row = json.loads(RESULTS.read_text()), "labels painted black"
    assert recorded["scenes"] >= 40
    assert recorded["detector"] == URI
    same, night, black = (recorded[name] for name in ("unchanged", "true night", black_row))
    assert (same["all"]["survival"], same["invented"]) == (1.0, {})
    assert black["all"]["held"] == 0
    vehicles = [night["classes"][name] for name in ("car", "truck", "bus")]
    held, before = (sum(each[count] for each in vehicles) for count in ("held", "found_before"))
    assert held >= 0.9 * before
    sizes = [recorded["pasted vehicles"][name] for name in ("8 to 11", "12 to 15", "16 and more")]
    for counts, share in ((sizes, 0.85), (sizes[1:], 0.9)):
        assert sum(each["invented"] for each in counts) >= share * sum(each["pasted"] for each in counts)
    card = CARD.read_text()
    for name, row in (("night by", "translated night"), ("the true night", "true night"), ("the day with", black_row)):
        invented = sum(recorded[row]["invented"].values())
        assert re.search(rf"^\| {name}.* \| {recorded[row]['all']['held']} .* \| {invented} \|$", card, re.MULTILINE)
    called, vehicles_pasted = (sum(each[name] for each in sizes) for name in ("invented", "pasted"))
    assert f"Of {vehicles_pasted} vehicles that are pasted" in card
    assert f"{called} are called invented" in card
