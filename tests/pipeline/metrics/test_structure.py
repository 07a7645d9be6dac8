"""The structure distance must tell another layout from another light."""

from __future__ import annotations

import numpy as np
import pytest

from jobs.streets import Frame, Scene
from pipeline.metrics import Pictures, build
from pipeline.metrics.structure import self_similarity, structure_distance

SCENES = 10


@pytest.fixture(scope="module")
def streets() -> dict[str, list[np.ndarray]]:
    frames = [Frame(Scene(seed), 144, 96, supersampling=1) for seed in range(500, 500 + SCENES)]
    return {name: [np.asarray(frame.render(name)) for frame in frames] for name in ("day", "night", "fog")}


@pytest.mark.parametrize("condition", ["night", "fog"])
def test_the_same_scene_is_nearer_than_any_other(streets: dict[str, list[np.ndarray]], condition: str) -> None:
    days = [self_similarity(picture) for picture in streets["day"]]
    changed = [self_similarity(picture) for picture in streets[condition]]
    distance = np.array([[np.square(a - b).mean() for b in changed] for a in days])
    distances = np.array([[np.square(a - b).mean() for b in days] for a in days])
    same = np.diag(distance)[:, None]
    off = ~np.eye(SCENES, dtype=bool)
    # areas under the ROC curve: against other scenes in the same new light, and against other scenes by day
    assert (same < distance[off][None]).mean() > 0.97
    assert (same < distances[off][None]).mean() > 0.95


def test_what_it_sees_and_what_not(streets: dict[str, list[np.ndarray]]) -> None:
    for picture in streets["day"][:4]:
        noise = np.random.default_rng(0).normal(0, 6, picture.shape)
        light = [
            (picture * 0.4).astype(np.uint8),
            255 - picture,
            np.repeat(picture.mean(2, keepdims=True), 3, axis=2).astype(np.uint8),
            np.clip(picture + noise, 0, 255).astype(np.uint8),
        ]
        layout = [
            picture[:, ::-1],
            np.roll(picture, 20, axis=1),
            np.roll(picture, 15, axis=0),
            np.full_like(picture, 90),
        ]
        worst = max(structure_distance(picture, np.ascontiguousarray(each)) for each in light)
        best = min(structure_distance(picture, np.ascontiguousarray(each)) for each in layout)
        assert worst < best
        assert structure_distance(picture, picture) == 0


def test_any_size_and_flat_pictures() -> None:
    rng = np.random.default_rng(1)
    for size in ((1, 1), (5, 300), (17, 9), (256, 256)):
        a, b = rng.integers(0, 256, (2, *size, 3), np.uint8)
        assert 0 <= structure_distance(a, b) <= 1
        assert structure_distance(np.full_like(a, 7), np.full_like(a, 200)) == pytest.approx(0, abs=1e-12)


def test_it_is_symmetric_and_its_similarities_are_bounded(streets: dict[str, list[np.ndarray]]) -> None:
    a, b = streets["day"][:2]
    assert structure_distance(a, b) == structure_distance(b, a)
    similar = self_similarity(a)
    assert similar.shape == (256, 256)
    assert similar.min() >= 0
    assert similar.max() <= 1


def test_the_column(streets: dict[str, list[np.ndarray]]) -> None:
    day, night = streets["day"], streets["night"]
    measured = build(["structure"])[0].measure(Pictures(source=day, output=night, target=[None] * SCENES))
    expected = [structure_distance(a, b) for a, b in zip(night, day, strict=True)]
    assert measured.values == {"structure": expected}
