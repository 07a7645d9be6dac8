"""Augmentation, the cache of decoded samples, balanced sampling."""

from __future__ import annotations

import errno
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.base import Inputs
from methods.errors import BadSample, InputError
from methods.train import registry
from pipeline.records import Sample
from pipeline.spec import SourceSpec
from pipeline.training.array_file import ArrayFile
from pipeline.training.augment import AugmentSpec, augmented
from pipeline.training.balance import balanced, value_of
from pipeline.training.decoded import DecodedCache, decoded
from pipeline.training.place import run_training
from pipeline.training.spec import TrainSpec
from pipeline.training.streams import Loader, Stream
from tests.jobs.test_train import folder_of, same, tree
from tests.support.datasets import encoded, label_map, picture, write_tar

SIDES = st.integers(24, 64)


def everywhere(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A picture and a map in which every pixel says where it is: (y, x, 0) and 256 y + x."""
    y, x = np.mgrid[:height, :width]
    return np.stack([y, x, np.zeros_like(y)], -1).astype(np.uint8), (256 * y + x).astype(np.uint16)


@settings(max_examples=80, deadline=None)
@given(height=SIDES, width=SIDES, crop=st.none() | st.integers(8, 24), scale=st.floats(1, 3), seed=st.integers(0, 999))
def test_picture_target_and_maps_move_together(
    height: int, width: int, crop: int | None, scale: float, seed: int
) -> None:
    image, where = everywhere(height, width)
    given_ = Inputs("k", image, None, {"target": image, "depth": where, "seg.png": image[..., 0], "note": "x"})
    spec = AugmentSpec(flip=True, crop=crop, scale=scale)
    found = augmented(given_, spec, np.random.default_rng(seed))
    assert found.image is not None
    size = (height, width) if crop is None else (crop, crop)
    assert found.image.shape == (*size, 3)
    assert found.columns["note"] == "x"
    np.testing.assert_array_equal(found.columns["target"], found.image)
    depth = found.columns["depth"]
    assert depth.shape == size
    assert set(np.unique(depth)) <= set(np.unique(where))
    np.testing.assert_array_equal(found.columns["seg.png"], depth // 256)
    # the picture is interpolated, the map is not: they agree to a pixel and what ringing adds
    assert np.abs(found.image[..., 0].astype(int) - depth // 256).max() <= 2
    assert np.abs(found.image[..., 1].astype(int) - depth % 256).max() <= 2
    again = augmented(given_, spec, np.random.default_rng(seed))
    np.testing.assert_array_equal(again.image, found.image)


@settings(max_examples=60, deadline=None)
@given(
    x=st.integers(0, 40),
    y=st.integers(0, 40),
    side=st.integers(4, 20),
    crop=st.none() | st.integers(16, 40),
    scale=st.floats(1, 2),
    seed=st.integers(0, 999),
)
def test_a_box_stays_around_what_it_is_around(
    x: int, y: int, side: int, crop: int | None, scale: float, seed: int
) -> None:
    mask = np.zeros((60, 60), np.uint8)
    mask[y : y + side, x : x + side] = 1
    inputs = Inputs("k", np.zeros((60, 60, 3), np.uint8), None, {"seg": mask, "boxes": [("car", (x, y, side, side))]})
    found = augmented(inputs, AugmentSpec(flip=True, crop=crop, scale=scale), np.random.default_rng(seed)).columns
    rows, columns = np.nonzero(found["seg"])
    if not len(rows):
        assert all(min(w, h) < 2 for _, (_, _, w, h) in found["boxes"])
        return
    ((name, (left, top, width, height)),) = found["boxes"]
    assert name == "car"
    edges = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert np.abs(np.subtract((left, top, left + width, top + height), edges)).max() <= 1


@settings(max_examples=40, deadline=None)
@given(half=st.integers(12, 32), scale=st.floats(1, 2), seed=st.integers(0, 999))
def test_a_map_of_half_the_size_is_cut_at_the_same_place(half: int, scale: float, seed: int) -> None:
    image, _ = everywhere(2 * half, 2 * half)
    small = image[::2, ::2, 0]
    spec = AugmentSpec(flip=True, crop=half, scale=scale)
    found = augmented(Inputs("k", image, None, {"seg.png": small}), spec, np.random.default_rng(seed))
    seen = found.columns["seg.png"]
    assert found.image is not None
    middle = found.image[half // 2, half // 2, 0]
    assert abs(int(seen[seen.shape[0] // 2, seen.shape[1] // 2]) - int(middle)) <= 4


@given(colour=st.floats(0, 0.9), seed=st.integers(0, 99))
@settings(max_examples=30, deadline=None)
def test_colour_changes_pictures_alike_and_no_map(colour: float, seed: int) -> None:
    pixels, ids = picture(seed, (16, 16)), np.arange(256, dtype=np.uint8).reshape(16, 16)
    inputs = Inputs("k", pixels, None, {"target": pixels, "seg.png": ids})
    found = augmented(inputs, AugmentSpec(colour=colour), np.random.default_rng(seed))
    assert found.image is not None
    np.testing.assert_array_equal(found.image, found.columns["target"])
    np.testing.assert_array_equal(found.columns["seg.png"], ids)
    grey = np.full((8, 8, 3), 100, np.uint8)
    flat = augmented(Inputs("k", grey), AugmentSpec(colour=colour), np.random.default_rng(seed))
    assert flat.image is not None
    assert len(np.unique(flat.image)) == 1


def test_everything_is_reached_and_small_pictures_are_refused() -> None:
    image, _ = everywhere(32, 32)
    spec = AugmentSpec(flip=True, crop=8)
    corners = {tuple(augmented(Inputs("k", image), spec, np.random.default_rng(n)).image[0, 0]) for n in range(400)}  # type: ignore[index]
    assert {y for y, _, _ in corners} == set(range(25))
    with pytest.raises(BadSample, match=r"32x32 pixels, fewer than augment.crop 40"):
        augmented(Inputs("k", image), AugmentSpec(crop=40), np.random.default_rng(0))


def test_training_sees_varied_samples_and_validation_does_not(tmp_path: Path) -> None:
    folder_of(tmp_path / "in", 4)
    objective = registry.build("toy_colour", {}, torch.device("cpu"), torch.float32, 4)
    streams = {"a": Stream(SourceSpec(uri=str(tmp_path / "in")), 0)}
    seen = []
    for augment in (AugmentSpec(), AugmentSpec(colour=0.5), AugmentSpec(colour=0.5)):
        loader = Loader(objective, streams, 4, 0, torch.device("cpu"), 1, augment)
        seen.append(loader(0)["a"]["image"])
        loader.close()
    assert not torch.equal(seen[0], seen[1])  # type: ignore[arg-type]
    assert torch.equal(seen[1], seen[2])  # type: ignore[arg-type]
    plain = TrainSpec.parse(tree(tmp_path))
    varied = TrainSpec.parse(tree(tmp_path, augment={"flip": True, "scale": 1.2}))
    assert plain.fingerprint != varied.fingerprint
    assert plain.fingerprint == TrainSpec.parse(tree(tmp_path, augment={})).fingerprint


def test_the_cache_is_bounded_and_changes_nothing(tmp_path: Path) -> None:
    samples = [Sample(str(n), "here", encoded(picture(n, (24, 16)), "PNG")) for n in range(4)]
    cache = DecodedCache(2 * 24 * 16 * 3 + 5)
    first = [cache.of(sample) for sample in samples]
    second = [cache.of(sample) for sample in samples]
    assert (len(cache), cache.size) == (2, 2304)
    assert [one is other for one, other in zip(first, second, strict=True)] == [True, True, False, False]
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.image, other.image)
    # another picture under a known key is another sample
    other = cache.of(Sample("0", "here", samples[3].image))
    np.testing.assert_array_equal(other.image, first[3].image)


def test_what_does_not_fit_in_memory_is_kept_on_disk_up_to_its_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    label = label_map(0, (24, 16))
    samples = [
        Sample(
            str(n), "here", encoded(picture(n, (24, 16)), "PNG"), masks={"seg": label}, passthrough={"city": f"c{n}"}
        )
        for n in range(4)
    ]
    size = 24 * 16 * 4
    disk = ArrayFile(2 * size + 5, str(tmp_path))
    cache = DecodedCache(size, disk)
    first = [cache.of(sample) for sample in samples]
    assert (len(cache), cache.size, disk.size) == (3, size, 2 * size)
    # nothing is left behind, however the process ends
    assert not list(tmp_path.iterdir())
    decodings: list[str] = []
    monkeypatch.setattr("pipeline.training.decoded.decoded", lambda s: decodings.append(s.key) or decoded(s))
    for sample, before in zip(samples, first, strict=True):
        after = cache.of(sample)
        assert (after.key, after.caption, after.columns.keys()) == (before.key, before.caption, before.columns.keys())
        assert after.columns["city"] == before.columns["city"]
        for one, other in ((before.image, after.image), (before.columns["seg"], after.columns["seg"])):
            assert one is not None
            assert other is not None
            np.testing.assert_array_equal(one, other)
            assert one.dtype == other.dtype
    assert decodings == ["3"]


def test_a_full_disk_ends_the_keeping_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    samples = [Sample(str(n), "here", encoded(picture(n, (24, 16)), "PNG")) for n in range(3)]
    cache = DecodedCache(0, ArrayFile(10**9, str(tmp_path)))
    kept = cache.of(samples[0]).image

    def full(*args: Any) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.pwrite", full)
    for sample in samples:
        np.testing.assert_array_equal(cache.of(sample).image, decoded(sample).image)
    np.testing.assert_array_equal(cache.of(samples[0]).image, kept)
    assert len(cache) == 1
    said = [record.message for record in caplog.records]
    assert said == ["compute.cache_disk_mb: decoded samples are no longer kept on disk: No space left on device"]


def test_the_cache_changes_no_weights_and_its_folder_is_looked_at_first(tmp_path: Path) -> None:
    folder_of(tmp_path / "in", 5)
    for name, compute in (("memory", {}), ("disk", {"cache_mb": 0, "cache_disk_mb": 1, "cache_folder": str(tmp_path)})):
        run_training(TrainSpec.parse(tree(tmp_path, output__uri=str(tmp_path / name), compute=compute)))
    assert same(tmp_path / "memory" / "model.safetensors", tmp_path / "disk" / "model.safetensors")
    nowhere = {"cache_disk_mb": 1, "cache_folder": str(tmp_path / "nowhere")}
    with pytest.raises(InputError, match=r"compute.cache_folder: .*nowhere: no file can be made here \(No such file"):
        run_training(TrainSpec.parse(tree(tmp_path, compute=nowhere)))
    assert not (tmp_path / "out").exists()
    with pytest.raises(InputError, match=r"compute.cache_folder: say under compute.cache_disk_mb"):
        TrainSpec.parse(tree(tmp_path, compute={"cache_folder": "x"}))


@given(st.lists(st.sampled_from(["day", "night", "dawn", None]), min_size=1, max_size=60), st.integers(0, 99))
@settings(deadline=None)
def test_balanced_values_come_equally_often(values: list[str | None], seed: int) -> None:
    samples = [
        Sample(str(n), "here", labels_raw=json.dumps({"attributes": {"time": value}}) if value else None)
        for n, value in enumerate(values)
    ]
    found = balanced(samples, "attributes.time", len(samples), np.random.default_rng(seed))
    assert len(found) == len(samples)
    counts = Counter(value_of(sample, "attributes.time") for sample in found)
    if len(samples) >= len(set(values)):
        assert set(counts) == set(values)
        assert max(counts.values()) - min(counts.values()) <= 1
    for value in set(values):
        keys = Counter(sample.key for sample in found if value_of(sample, "attributes.time") == value)
        assert not keys or max(keys.values()) - min(keys.values()) <= 1


def test_a_rare_value_is_seen_as_often_as_a_frequent_one(tmp_path: Path) -> None:
    samples: dict[str, Any] = {
        f"{n:02d}": {
            "png": encoded(picture(n, (24, 16)), "PNG"),
            "json": json.dumps({"weather": "fog" if n == 3 else "clear"}).encode(),
        }
        for n in range(12)
    }
    write_tar(tmp_path / "in" / "a.tar", samples)
    source = SourceSpec(uri=str(tmp_path / "in"), image="png")
    stream = Stream(source, 0, balance="json.weather")
    walked = [next(stream.near(position)).key for position in range(24)]
    assert walked.count("03") == 12
    assert len(set(walked)) > 8
    with pytest.raises(InputError, match=r"balance: no sample has 'json.wether'"):
        Stream(source, 0, balance="json.wether")
    with pytest.raises(InputError, match="balance: no stream 'b', it can name: a"):
        TrainSpec.parse(tree(tmp_path, balance={"b": "weather"}))
    spec = TrainSpec.parse(tree(tmp_path, steps=2, data__a=source.model_dump(), balance={"a": "json.weather"}))
    assert run_training(spec).step == 2
