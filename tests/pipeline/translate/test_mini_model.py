"""The bundled model through the whole job: what the demo promises."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from jobs.streets.dataset import write_dataset
from methods.errors import InputError
from pipeline.run.driver import run_job
from tests.support.jobs import data_rows, index_rows, job


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six scenes by day, each with its true night, at a size that is no square."""
    folder = tmp_path_factory.mktemp("streets")
    write_dataset(str(folder), 6, (128, 96), ["day"], 77_000, "webdataset", workers=1, paired_with="night")
    return folder / "day"


def night(streets: Path, out: Path, **changes) -> Path:
    method = {"name": "cyclegan_turbo", "preset": "street_day_to_night"}
    run_job(job(streets / "*.tar", out, method=method, **changes), local=True)
    return out


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)


def test_batch_size_costs_one_grey_level_at_most(streets, tmp_path):
    rows = [data_rows(night(streets, tmp_path / f"b{size}", compute__batch_size=size)) for size in (1, 8)]
    assert rows[0].keys() == rows[1].keys()
    for key in rows[0]:
        assert np.abs(pixels(rows[0][key]["image"]) - pixels(rows[1][key]["image"])).max() <= 1


def test_it_gets_dark_and_the_labels_stay(streets, tmp_path):
    out = night(streets, tmp_path / "out", metrics=["psnr", "ssim", "structure"])
    for row in data_rows(out).values():
        day, dark, truth = (
            pixels(data) for data in (day_picture(streets, row["key"]), row["image"], row["target.jpg"])
        )
        assert dark.shape == (96, 128, 3)
        sky = slice(0, 16)
        assert dark[sky].mean() < 0.6 * day[sky].mean()
        assert np.abs(dark - truth).mean() < 0.6 * np.abs(day - truth).mean()
        assert row["labels"]["annotations"]
    for row in index_rows(out):
        assert row["metric.psnr_target"] > row["metric.psnr"]


def day_picture(streets: Path, key: str) -> bytes:
    for path in streets.glob("*.tar"):
        with tarfile.open(path) as archive:
            member = archive.extractfile(f"{key}.jpg")
            assert member is not None
            return member.read()
    raise AssertionError(key)


def test_a_gpu_that_is_not_there_is_said_at_once(streets, tmp_path, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="no CUDA device"):
        night(streets, tmp_path / "out", compute__gpus=1)
    assert not (tmp_path / "out").exists()


def test_what_a_crop_cuts_off_is_cut_off_everything(streets, tmp_path):
    method = {
        "name": "cyclegan_turbo",
        "preset": "street_day_to_night",
        "params": {"image_prep": "resized_crop_64"},
    }
    spec = job(streets / "*.tar", tmp_path / "out", method=method, output__pairs=True, metrics=["psnr"])
    run_job(spec, local=True)
    for row in data_rows(tmp_path / "out").values():
        # 128 x 96: the middle 96 columns stay, at the source's scale.
        day = pixels(day_picture(streets, row["key"]))[:, 16:112]
        assert np.abs(pixels(row["source_image"]) - day).mean() < 3
        for name in ("image", "target.jpg", "seg.png"):
            assert pixels(row[name]).shape == (96, 96, 3)
        assert (row["labels"]["width"], row["labels"]["height"]) == (96, 96)
        for thing in row["labels"]["annotations"]:
            x, y, w, h = thing["bbox"]
            assert -1e-6 <= x <= x + w <= 96 + 1e-6
            assert -1e-6 <= y <= y + h <= 96 + 1e-6
