"""Distances between sets against clean-fid and torch-fidelity, and whatever way a set is cut."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from cleanfid.resize import build_resizer
from hypothesis import given, settings
from hypothesis import strategies as st
from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

from methods.errors import InputError
from pipeline import metrics
from pipeline.metrics import Pictures
from pipeline.metrics.frechet import frechet, frechet_error
from pipeline.metrics.kernel_distance import gaussian, mmd, polynomial
from pipeline.metrics.reference import Statistics
from pipeline.metrics.set_features import chosen, rank
from pipeline.metrics.set_params import InceptionParams
from tests.support.datasets import picture


def features(seed: int, count: int, width: int, shift: float = 0.0) -> np.ndarray:
    random = np.random.default_rng(seed)
    mixed = random.normal(size=(count, width)) @ np.random.default_rng(0).normal(size=(width, width)) / width**0.5
    return np.abs(mixed + shift).astype(np.float16)


@pytest.mark.parametrize(("n", "m", "width"), [(300, 250, 24), (40, 55, 64), (64, 300, 64)])
def test_frechet_is_that_of_clean_fid(n: int, m: int, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    import cleanfid.fid

    # clean-fid asks scipy for a pair that newer versions no longer give
    root = scipy.linalg.sqrtm
    monkeypatch.setattr(cleanfid.fid.linalg, "sqrtm", lambda a, disp=True: root(a) if disp else (root(a), 0.0))
    x, y = features(1, n, width), features(2, m, width, 0.4)
    moments = [(np.mean(each, 0, np.float64), np.cov(each.astype(np.float64), rowvar=False)) for each in (x, y)]
    if min(n, m) > width:
        expected = cleanfid.fid.frechet_distance(*moments[0], *moments[1])
    else:
        # a matrix root of a singular product is good to half the digits: its trace by eigenvalues
        values = np.linalg.eigvals(moments[0][1] @ moments[1][1]).real
        root_trace = np.sqrt(np.maximum(values, 0)).sum()
        traces = np.trace(moments[0][1]) + np.trace(moments[1][1])
        expected = np.square(moments[0][0] - moments[1][0]).sum() + traces - 2 * root_trace
    assert frechet(x, y) == pytest.approx(expected, rel=1e-6)
    assert frechet(x, x) == pytest.approx(0, abs=1e-9)


def test_kid_is_that_of_clean_fid_within_its_error() -> None:
    import cleanfid.fid

    x, y = features(1, 400, 32), features(2, 300, 32, 0.2)
    value, error = mmd(x, y, polynomial, 200)
    np.random.seed(0)
    expected = cleanfid.fid.kernel_distance(x.astype(np.float64), y.astype(np.float64), 50, 250)
    assert abs(value - expected) < 2 * error


def test_cmmd_is_the_unbiased_estimate() -> None:
    x, y = (features(seed, 30, 8).astype(np.float64) for seed in (1, 2))
    y[:, 0] += 3

    def kernel(a: np.ndarray, b: np.ndarray) -> float:
        return math.exp(-float(np.square(a - b).sum()) / 200)

    within = [sum(kernel(a[i], a[j]) for i in range(30) for j in range(30) if i != j) / (30 * 29) for a in (x, y)]
    between = sum(kernel(a, b) for a in x for b in y) / 900
    assert mmd(x, y, gaussian, 0)[0] == pytest.approx(sum(within) - 2 * between, abs=1e-12)


def test_more_rows_than_a_block_change_nothing() -> None:
    x, y = features(1, 2100, 6), features(2, 1300, 6, 0.1)
    assert mmd(x, y, polynomial, 0)[0] == pytest.approx(kid_of_all(x, y), rel=1e-9)


def kid_of_all(x: np.ndarray, y: np.ndarray) -> float:
    a, b = x.astype(np.float64), y.astype(np.float64)
    xx, yy, xy = ((p @ q.T / 6 + 1) ** 3 for p, q in ((a, a), (b, b), (a, b)))
    n, m = len(a), len(b)
    return float((xx.sum() - np.trace(xx)) / (n * (n - 1)) + (yy.sum() - np.trace(yy)) / (m * (m - 1)) - 2 * xy.mean())


def test_bootstrap_errors_are_those_of_drawing_again() -> None:
    pairs = [(features(2 * seed, 80, 6), features(2 * seed + 1, 80, 6, 0.6)) for seed in range(40)]
    for estimate, error in (
        (lambda x, y: mmd(x, y, polynomial, 0)[0], lambda x, y: mmd(x, y, polynomial, 100)[1]),
        (frechet, lambda x, y: frechet_error(x, y, 30)),
    ):
        spread = float(np.std([estimate(x, y) for x, y in pairs]))
        said = float(np.mean([error(x, y) for x, y in pairs[:8]]))
        assert 0.6 < said / spread < 1.6


def test_ranks_are_a_fixed_random_order() -> None:
    ranks = [rank(f"picture {number}", 0) for number in range(4000)]
    assert len(set(ranks)) == 4000
    assert 0 <= min(ranks) <= max(ranks) < 2**63
    assert sum(chosen(ranks, 0.25)) == pytest.approx(1000, abs=120)
    assert all(chosen(ranks, 1.0))
    assert rank("a", 0) != rank("a", 1)


@pytest.fixture(scope="module")
def inception(tmp_path_factory: pytest.TempPathFactory) -> tuple[FeatureExtractorInceptionV3, Path]:
    """Inception of random weights in torch-fidelity's file."""
    from pipeline.metrics.inception_features import Unfilled

    torch.manual_seed(0)
    network = Unfilled().eval()
    path = tmp_path_factory.mktemp("inception") / "inception.pth"
    torch.save(network.state_dict(), path)
    return network, path


def test_inception_features_are_those_of_torch_fidelity_and_clean_fid(inception: Any) -> None:
    network, path = inception
    source, output = picture(0, (70, 50)), picture(1, (70, 50))
    pictures = Pictures([source], [output], [None])
    legacy, clean = metrics.build([{"fid": {"network": str(path)}}, {"kid": {"network": str(path), "resize": "clean"}}])
    found = legacy.measure(pictures).features
    with torch.no_grad():
        (expected,) = network(torch.from_numpy(output.copy()).permute(2, 0, 1)[None])
    assert np.asarray(found["inception_output"][0], np.float64) == pytest.approx(
        expected[0].numpy(), rel=2e-3, abs=1e-4
    )
    assert found["inception_target"] == [None]
    assert found["inception_source"][0] is not None
    resized = build_resizer("clean")(output)
    from pipeline.metrics.inception_features import clean as own

    assert own(output)[0].permute(1, 2, 0).numpy() == pytest.approx(resized, abs=1e-3)
    assert "inception_clean_output" in clean.measure(pictures).features


def test_fid_refuses_another_network(tmp_path: Path) -> None:
    torch.save({"conv.weight": torch.zeros(1)}, tmp_path / "other.pth")
    metric: Any = metrics.build([{"fid": {"network": str(tmp_path / "other.pth")}}])[0]
    with pytest.raises(InputError, match="not the Inception network of FID"):
        metric.load()


class Stored:
    """Features in memory, as an output's are read."""

    def __init__(self, parts: list[dict[str, list[np.ndarray | None]]]) -> None:
        self._parts = parts

    def sample(self, name: str, count: int) -> np.ndarray | None:
        rows = [row for part in self._parts for row in part.get(name, []) if row is not None]
        ranks = [row[0] for part in self._parts for row in part.get(f"{name}_rank", []) if row is not None]
        return np.stack([rows[at] for at in np.argsort(ranks)][:count]) if rows else None


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 39), max_size=6), st.randoms(use_true_random=False))
def test_figures_are_the_same_however_the_set_is_cut(cuts: list[int], order: Any) -> None:
    metric: Any = metrics.build([{"kernel": {"library": "timm", "model": "any", "network": "x", "sample": 25}}])[0]
    vectors = {f"k{number}": features(number, 2, 5) for number in range(40)}

    class Encoded:
        def of(self, pictures: Pictures, role: str, wanted: list[bool]) -> list[np.ndarray | None]:
            keys = [key for key, _ in pictures.key]
            return [
                vectors[key][int(role == "source")] if take else None for key, take in zip(keys, wanted, strict=True)
            ]

    metric._encoded = Encoded()
    blank = np.zeros((4, 4, 3), np.uint8)

    def figures(groups: list[list[str]]) -> dict[str, float]:
        parts = []
        for keys in groups:
            count = len(keys)
            found = Pictures([blank] * count, [blank] * count, [None] * count, key=[(key, 0) for key in keys])
            parts.append(dict(metric.measure(found).features))
        return dict(metric.finish(Stored(parts), None).values)

    whole = figures([list(vectors)])
    keys = list(vectors)
    order.shuffle(keys)
    bounds = [0, *sorted(set(cuts)), len(keys)]
    assert figures([keys[a:b] for a, b in pairwise(bounds)]) == whole
    assert whole["kernel_any_source_count"] == 25
    assert whole["kernel_any_source_low"] < whole["kernel_any_source"] < whole["kernel_any_source_high"]


def test_few_pictures_say_that_they_are_few() -> None:
    metric: Any = metrics.build([{"dino_distance": {"against": "reference"}}])[0]
    name = metric.params.set_name()
    rows = list(features(0, 12, 5))
    part = {f"{name}_output": rows, f"{name}_output_rank": [np.array([at]) for at in range(12)]}
    found = metric.finish(Stored([part]), features(1, 12, 5))
    assert set(found.values) == {f"dino_distance{kind}" for kind in ("", "_low", "_high", "_count")}
    assert found.notes == ("dino_distance of 12 pictures says little: it needs 10,000 on either side",)
    none = metric.finish(Stored([]), features(1, 12, 5))
    assert none.values == {}
    assert none.notes == ("dino_distance: no figure, for it takes two pictures on either side (outputs 0, others 12)",)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("count", [2, 3, 5, 6, 9])
def test_the_error_of_a_handful_of_pictures_is_one_or_is_not_given(count: int) -> None:
    """A bootstrap sample of few rows may hold one of them alone, which makes no pair."""
    for x, y in ((features(1, count, 4), features(2, 30, 4)), (features(2, 30, 4), features(1, count, 4))):
        value, error = mmd(x, y, polynomial, 2000)
        assert math.isfinite(value)
        assert math.isfinite(error) == (count >= 6)


def test_files_of_statistics_keep_what_they_hold_and_refuse_what_they_do_not(tmp_path: Path) -> None:
    rows = features(0, 5, 4)
    made = Statistics("night", 5, {"inception": rows}, {"inception": "sha256:1"})
    data = made.to_bytes()
    assert data == made.to_bytes()
    read = Statistics.from_bytes(data, "night.npz")
    assert (read.source, read.pictures) == ("night", 5)
    params = InceptionParams(network=str(tmp_path / "none.pth"), sample=3)
    assert np.array_equal(read.of(params, "sha256:1", "night.npz", "fid"), rows[:3])
    for change, network in (({}, "sha256:2"), ({"resize": "clean"}, "sha256:1")):
        with pytest.raises(InputError, match=r"no features for metric 'fid' by the same network.*sceneshift stats"):
            read.of(params.model_copy(update=change), network, "night.npz", "fid")
    for broken in (b"", b"PK", data[:50]):
        with pytest.raises(InputError, match=r"night\.npz: damaged, or no statistics of a dataset"):
            Statistics.from_bytes(broken, "night.npz")
