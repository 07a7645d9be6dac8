"""Training on chosen samples of outputs: several outputs, wherever they lie, and choices that leave much out."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from methods.errors import InputError
from pipeline.run.driver import run_job
from pipeline.spec import SourceSpec
from pipeline.training import streams
from pipeline.training.chosen import chosen_keys
from pipeline.training.streams import Stream
from tests.support.datasets import encoded as as_bytes
from tests.support.datasets import picture, write_tar
from tests.support.jobs import index_rows, job


def output(place: Path, out: Path, names: list[str]) -> Path:
    """A run of these samples; its metric psnr differs from sample to sample."""
    samples = {name: {"png": as_bytes(picture(n, (16, 16)), "PNG")} for n, name in enumerate(names)}
    write_tar(place / "in" / f"{names[0]}.tar", samples)
    run_job(job(place / "in", out, metrics=["psnr"]), local=True)
    return out


def test_the_samples_of_every_output_are_chosen_wherever_it_lies(tmp_path: Path) -> None:
    one = output(tmp_path / "1", tmp_path / "data" / "one", ["a", "b", "c", "d"])
    two = output(tmp_path / "2", tmp_path / "data" / "two", ["e", "f", "g"])
    rows = [*index_rows(one), *index_rows(two)]
    middle = sorted(row["metric.psnr"] for row in rows)[3]
    wanted = {row["key"] for row in rows if row["metric.psnr"] >= middle}
    assert wanted & set("abcd")
    assert wanted & set("efg")
    for first, second in (
        (one, two),
        (one / "data", f"{two}/data/"),
        (f"{one}/data/*.parquet", f"{two}/data/*.parquet"),
    ):
        assert chosen_keys(SourceSpec(uri=[str(first), str(second)]), f"psnr >= {middle}") == wanted
    stream = Stream(SourceSpec(uri=[f"{one}/data", f"{two}/data"]), 0, where=f"psnr >= {middle}")
    assert {next(stream.near(position)).key for position in range(28)} == wanted


def test_outputs_that_share_a_key_are_refused(tmp_path: Path) -> None:
    one = output(tmp_path / "1", tmp_path / "one", ["a", "b"])
    two = output(tmp_path / "2", tmp_path / "two", ["b", "c"])
    with pytest.raises(InputError, match="several of the outputs have a sample 'b'"):
        chosen_keys(SourceSpec(uri=[str(one), str(two)]), "psnr > 0")


def test_what_is_no_output_is_refused(tmp_path: Path) -> None:
    write_tar(tmp_path / "data" / "in" / "a.tar", {"a": {"png": as_bytes(picture(0, (16, 16)), "PNG")}})
    with pytest.raises(InputError, match=r"data/in is no output of `sceneshift run`"):
        chosen_keys(SourceSpec(uri=str(tmp_path / "data" / "in")), "psnr > 0")


def test_a_long_stretch_without_a_chosen_sample_is_passed_over(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(streams, "WINDOW", 4)
    out = output(tmp_path, tmp_path / "out", [f"{n:02d}" for n in range(24)])
    values = sorted((row["metric.psnr"], row["key"]) for row in index_rows(out))
    chosen = {key for _, key in values[-2:]}
    stream = Stream(SourceSpec(uri=str(out)), 0, where=f"psnr >= {values[-2][0]}")
    walked = Counter(next(stream.near(position)).key for position in range(24 * 4))
    assert set(walked) == chosen
    assert stream.chosen == chosen
    assert (stream.size, stream.usable) == (24, 2)
    # each of the six windows is read once per epoch, and one again to which the last ones lead back
    reads: list[tuple[int, int]] = []
    read = stream._read
    monkeypatch.setattr(stream, "_read", lambda *which: reads.append(which) or read(*which))
    for position in range(24 * 4, 24 * 6):
        next(stream.near(position))
    assert set(reads) == {(epoch, number) for epoch in (4, 5) for number in range(6)}
    assert len(reads) <= 2 * 7


def test_pictures_of_which_variants_are_missing_count_as_pictures(tmp_path: Path) -> None:
    write_tar(tmp_path / "in" / "a.tar", {f"{n}": {"png": as_bytes(picture(n, (16, 16)), "PNG")} for n in range(4)})
    out = tmp_path / "out"
    run_job(job(tmp_path / "in", out, method={"name": "noisy"}, variants=3, metrics=["psnr"]), local=True)
    ranked = sorted(index_rows(out), key=lambda row: -row["metric.psnr"])
    # as few as are of two pictures
    last = next(n for n, row in enumerate(ranked) if row["key"] != ranked[0]["key"])
    where = f"psnr >= {ranked[last]['metric.psnr']}"
    stream = Stream(SourceSpec(uri=str(out)), 0, 1, where=where)
    held = {stream.picture_of(sample.key) for sample in stream.kept(12)}
    trained_on = {stream.picture_of(next(stream.near(position)).key) for position in range(12)}
    assert len(held) == len(trained_on) == 1
    assert held | trained_on == {ranked[0]["key"], ranked[last]["key"]}
    with pytest.raises(InputError, match=r"out: 2 samples, of which validation.count holds out 2: none are left"):
        Stream(SourceSpec(uri=str(out)), 0, 2, where=where)
