"""PITI from a job file: label maps in, pictures out, refusals as rows."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from methods.errors import InputError
from methods.piti.conditions.label_maps import palette
from methods.piti.conditions.tables import TRAIN_IDS
from pipeline.job import prepare
from pipeline.run.driver import run_job
from tests.support.datasets import encoded, label_map, picture, write_tar
from tests.support.jobs import data_rows, index_rows, job

PITI: dict[str, Any] = {
    "source__image": "seg.png",
    "source__condition": "bdd100k",
    "method__name": "piti",
    "method__params": {"steps": "ddim2", "upsampler_steps": "ddim2"},
}


def pixels(data: bytes) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(data)))


def streets(folder: Path, **more: bytes) -> Path:
    """Three label maps with their photos; ``more`` are further label maps by key."""
    samples = {f"s{n}": {"seg.png": label_map(n), "jpg": encoded(picture(n))} for n in range(3)}
    samples |= {key: {"seg.png": data, "jpg": encoded(picture(9))} for key, data in more.items()}
    write_tar(folder / "streets.tar", samples)
    return folder


def test_label_maps_become_pictures(tmp_path: Path, native: Path) -> None:
    source = streets(tmp_path / "in")
    spec = job(source, tmp_path / "out", method__weights=str(native), variants=2, metrics=["psnr"], **PITI)
    assert run_job(spec, local=True).state == "done"
    rows = index_rows(tmp_path / "out")
    assert [(row["key"], row["status"]) for row in rows] == [(f"s{n}", "ok") for n in range(3) for _ in range(2)]
    assert all(np.isfinite(row["metric.psnr"]) for row in rows)
    data = data_rows(tmp_path / "out")
    first, second = (pixels(data[f"s0/{variant}"]["image"]).astype(int) for variant in (0, 1))
    assert first.shape == (32, 48, 3)
    assert np.abs(first - second).mean() > 2
    again = job(source, tmp_path / "again", method__weights=str(native), compute__batch_size=3, **PITI)
    run_job(again, local=True)
    other = pixels(data_rows(tmp_path / "again")["s0/0"]["image"]).astype(int)
    assert np.abs(first - other).mean() < 0.1


def test_metrics_see_the_label_map_in_colours(tmp_path: Path, native: Path) -> None:
    from pipeline.translate.translator import Translator

    source = streets(tmp_path / "in")
    ready = prepare(job(source, tmp_path / "out", method__weights=str(native), **PITI))
    translator = Translator(ready)
    from pipeline.records import Sample

    prepared = translator.prepare(translator.open(Sample("s0", "streets.tar", image=label_map(0))))
    lookup = np.array([palette()[TRAIN_IDS[number]] for number in range(19)])
    np.testing.assert_array_equal(prepared.decoded.pixels, lookup[pixels(label_map(0))])
    translator.close()


def test_the_label_map_beside_its_picture_keeps_its_numbers(tmp_path: Path, native: Path) -> None:
    changes = {**PITI, "output__pairs": True, "output__size": "method"}
    run_job(job(streets(tmp_path / "in"), tmp_path / "out", method__weights=str(native), **changes), local=True)
    row = data_rows(tmp_path / "out")["s1/0"]
    beside = pixels(next(row[name] for name in row if "source" in name and isinstance(row[name], bytes)))
    assert beside.shape == pixels(row["image"]).shape[:2] == (64, 64)
    assert set(np.unique(beside)) <= set(range(19))


def test_what_is_no_label_map_becomes_a_rejected_row(tmp_path: Path, native: Path) -> None:
    wrong = pixels(label_map(0)).copy()
    wrong[:2] = 77
    source = streets(tmp_path / "in", photo=encoded(picture(5), "PNG"), ids=encoded(wrong, "PNG"))
    run_job(job(source, tmp_path / "out", method__weights=str(native), **PITI), local=True)
    rows = {row["key"]: row for row in index_rows(tmp_path / "out")}
    assert [key for key, row in rows.items() if row["status"] == "ok"] == ["s0", "s1", "s2"]
    assert (rows["photo"]["stage"], rows["photo"]["error"]) == ("prepare", "not_a_label_map")
    assert rows["ids"]["error"] == "unknown_label"
    assert "1 id on 96 of 1,536 pixels is not in the table of bdd100k" in rows["ids"]["message"]
    assert "the first is 77" in rows["ids"]["message"]


def test_conditions_that_do_not_belong_to_the_method(tmp_path: Path, native: Path) -> None:
    source = streets(tmp_path / "in")
    with pytest.raises(InputError, match="method 'invert' takes photos, not conditions"):
        prepare(job(source, tmp_path / "out", source__condition="sketch"))
    with pytest.raises(InputError, match=r"method\.params\.condition: .*'cocostuff'"):
        prepare(job(source, tmp_path / "out", **{**PITI, "source__condition": "cocostuff"}))
    twice = {**PITI, "method__params": {"condition": "sketch"}}
    with pytest.raises(InputError, match=r"source\.condition is bdd100k, but method\.params\.condition is sketch"):
        prepare(job(source, tmp_path / "out", method__weights=str(native), **twice))


def test_the_condition_is_part_of_the_fingerprint(tmp_path: Path, native: Path) -> None:
    source = streets(tmp_path / "in")
    found = {
        prepare(
            job(source, tmp_path / "out", method__weights=str(native), **{**PITI, "source__condition": kind})
        ).fingerprint
        for kind in ("bdd100k", "cityscapes", "colour")
    }
    assert len(found) == 3
