"""The bundled detector on rendered streets: nothing is lost where nothing changed, what is painted over is lost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from jobs.streets.dataset import write_dataset
from pipeline.labels import parse_sample
from pipeline.labels.records import Labels
from pipeline.metrics import Measured, Pictures, build
from pipeline.sources import open_source
from pipeline.sources.peek import resolve_layout
from pipeline.spec import SourceSpec
from pipeline.training.decoded import decoded

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
    metric = build([{"label_check": {"detector": "bundled://street-detector"}}])[0]
    return metric.measure(replace(Pictures(source, output, [None] * len(source)), labels=labels))


def total(found: Measured, column: str) -> float:
    return sum(found.values[f"labels.{column}"])


def test_the_same_picture_loses_and_invents_nothing(scenes: Scenes) -> None:
    days, _, labels = scenes
    found = measured(days, [day.copy() for day in days], labels)
    assert total(found, "found_before") >= 10
    assert set(found.values["labels.survival"]) == {1.0}
    assert total(found, "invented") == 0


def test_what_is_painted_over_is_lost_and_what_was_not_there_is_invented(scenes: Scenes) -> None:
    days, _, labels = scenes
    empty = []
    for day, own in zip(days, labels, strict=True):
        painted = day.copy()
        for each in own.annotations if own is not None else ():
            assert each.bbox is not None
            x, y, width, height = (round(side) for side in each.bbox)
            painted[max(0, y) : y + height, max(0, x) : x + width] = 0
        empty.append(painted)
    lost = measured(days, empty, labels)
    assert total(lost, "held") <= 0.1 * total(lost, "found_before")
    gained = measured(empty, days, [None] * len(days))
    # a faint ghost of half the score where the car was keeps it from counting as invented
    assert total(gained, "invented") >= 0.35 * total(lost, "found_before")


def test_true_nights_agree(scenes: Scenes) -> None:
    days, nights, labels = scenes
    found = measured(days, nights, labels)
    assert total(found, "held") >= 0.8 * total(found, "found_before")
