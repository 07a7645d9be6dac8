"""AVIF by Pillow's own plug-in, HEIC by the extra: colours, turns, transparency, sequences, damage, and whole jobs."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, features

from methods.errors import BadSample
from pipeline import codec
from pipeline.run.driver import run_job
from tests.support.datasets import encoded, picture
from tests.support.jobs import data_rows, index_rows, job
from tests.support.label_files import write_files


def need(kind: str) -> None:
    """Skip where there is no reader, with the reason."""
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this Pillow was built without AVIF")
    if kind == "HEIC":
        pytest.importorskip("pillow_heif", reason="the extra sceneshift[heic] is not installed").register_heif_opener()


def corners() -> np.ndarray:
    """(24, 40, 3): red top left, blue bottom right, so that every turn can be seen."""
    pixels = np.zeros((24, 40, 3), np.uint8)
    pixels[:12, :20], pixels[12:, 20:] = (250, 10, 10), (10, 10, 250)
    return pixels


def saved(kind: str, pixels: np.ndarray, **options: Any) -> bytes:
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "HEIF" if kind == "HEIC" else kind, quality=95, **options)
    return out.getvalue()


@pytest.mark.parametrize("kind", ["AVIF", "HEIC"])
@pytest.mark.parametrize("orientation", [1, 3, 5, 6, 8])
def test_pictures_of_phones_are_upright(kind: str, orientation: int) -> None:
    need(kind)
    exif = Image.Exif()
    exif[0x112] = orientation
    data = saved(kind, corners(), exif=exif.tobytes())
    assert codec.kind_of(data[:32]) == kind
    got = codec.decode(data).pixels
    expected = codec.upright(corners(), orientation)
    assert got.shape == expected.shape
    assert np.abs(got.astype(int) - expected).mean() < 4


@pytest.mark.parametrize("kind", ["AVIF", "HEIC"])
def test_transparency_is_composited_over_white(kind: str) -> None:
    need(kind)
    half = np.dstack([corners(), np.full((24, 40), 128, np.uint8)])
    assert codec.decode(saved(kind, half)).pixels[2, 2].tolist() == pytest.approx([252, 132, 132], abs=4)


@pytest.mark.parametrize("kind", ["AVIF", "HEIC"])
def test_sequences_and_cut_files_are_refused(kind: str) -> None:
    need(kind)
    with pytest.raises(BadSample) as caught:
        codec.decode(saved(kind, corners(), save_all=True, append_images=[Image.fromarray(corners()[::-1])]))
    assert caught.value.reason == "animated"
    data = saved(kind, corners())
    with pytest.raises(BadSample) as caught:
        codec.decode(data[: len(data) // 2])
    assert caught.value.reason in ("truncated", "corrupt")
    with pytest.raises(BadSample, match="more than 100 pixels"):
        codec.decode(data, max_pixels=100)


@pytest.mark.parametrize(("kind", "ending"), [("AVIF", "avif"), ("HEIC", "heic"), ("HEIC", "HEIF")])
def test_a_folder_of_them_is_translated(tmp_path: Path, kind: str, ending: str) -> None:
    need(kind)
    write_files(tmp_path / "in", {f"a.{ending}": saved(kind, corners()), "b.jpg": encoded(picture(1))})
    run_job(job(tmp_path / "in", tmp_path / "out", method__name="null"), local=True)
    assert {row["key"]: row["status"] for row in index_rows(tmp_path / "out")} == {"a": "ok", "b": "ok"}
    made = codec.decode(data_rows(tmp_path / "out")["a/0"]["image"]).pixels
    assert np.abs(made.astype(int) - corners()).mean() < 5
