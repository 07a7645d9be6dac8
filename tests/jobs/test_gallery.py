"""The gallery: jobs are run, shown with truth and scores; what lacks its weights is named; the sheet stays small."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from jobs.gallery.build import build, missing_weights, own_methods
from jobs.gallery.exhibit import Exhibit
from jobs.gallery.page import scores
from jobs.gallery.sheet import LARGEST, write_sheet
from jobs.gallery.shown import ShownSample, read_shown
from methods.errors import InputError
from pipeline.run.driver import run_job
from pipeline.spec import JobSpec
from tests.support.datasets import encoded, picture, street_samples, write_tar

SPECS = sorted((Path(__file__).resolve().parents[2] / "jobs" / "examples" / "gallery").glob("*.yaml"))


def spec_file(folder: Path, name: str, **changes: object) -> Path:
    """A job over three streets with their truth: the inverted picture."""
    samples = street_samples([f"k{n}" for n in range(3)])
    for number, members in enumerate(samples.values()):
        members["target.jpg"] = encoded(255 - picture(number))
    write_tar(folder / "in" / "a.tar", samples)
    tree = {
        "name": name,
        "source": {"uri": str(folder / "in" / "a.tar")},
        "method": {"name": "invert"},
        "output": {"uri": str(folder / name), "pairs": True},
        "metrics": ["psnr"],
        **changes,
    }
    path = folder / f"{name}.yaml"
    path.write_text(f"# {name}, by inversion\n{yaml.safe_dump(tree)}")
    return path


def test_jobs_are_run_and_shown_and_the_others_named(tmp_path: Path) -> None:
    good = spec_file(tmp_path, "inverted")
    lacking = spec_file(tmp_path, "lacking", method={"name": "piti", "weights": "bundled://nowhere"})
    notes: list[str] = []
    exhibits, absent = build([good, lacking], tmp_path / "gallery", note=notes.append)
    assert [exhibit.name for exhibit in exhibits] == ["inverted"]
    assert len(exhibits[0].samples) == 3
    assert all(sample.truth for sample in exhibits[0].samples)
    assert set(exhibits[0].samples[0].metrics) >= {"psnr", "psnr_target"}
    assert notes == ["inverted: invert", "lacking: piti"]
    reasons = {each.method: each.reason for each in absent}
    assert "nothing bundled of that name" in reasons["piti"]
    # every other method of the package is named too, and no third party's
    assert set(reasons) == set(own_methods())
    page = (tmp_path / "gallery" / "index.html").read_text()
    assert page.count("data:image/jpeg;base64,") == 9
    assert "psnr_target" in page
    assert "# inverted, by inversion" in page
    assert not re.search(r"(src|href)=\"(?!data:)", page)
    with Image.open(tmp_path / "gallery" / "sheet.jpg") as sheet:
        assert sheet.format == "JPEG"


def test_running_it_again_does_nothing_and_shows_the_same(tmp_path: Path) -> None:
    spec = spec_file(tmp_path, "inverted")
    first, _ = build([spec], tmp_path / "gallery")
    again, _ = build([spec], tmp_path / "gallery")
    assert first[0].seconds > 0
    assert again[0].seconds == 0
    assert again[0].samples == first[0].samples


def test_what_cannot_be_shown(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nothing to show"):
        build([spec_file(tmp_path, "lacking", method={"name": "piti", "weights": "bundled://nowhere"})], tmp_path / "g")
    with pytest.raises(InputError, match="no finished output here"):
        read_shown(tmp_path, 3)
    alone = JobSpec.load(spec_file(tmp_path, "alone", output={"uri": str(tmp_path / "alone")}))
    run_job(alone, local=True)
    with pytest.raises(InputError, match=r"output\.pairs: true"):
        read_shown(tmp_path / "alone", 3)


def test_scores_are_means() -> None:
    summary = {"columns": {"psnr": {"mean": 20.12345}, "ssim": {"mean": None}}}
    assert scores(summary) == [("psnr", "20.12")]


def test_the_sheet_keeps_to_its_size(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noisy = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (256, 256, 3), dtype=np.uint8)).save(noisy, "PNG")
    sample = ShownSample("k", None, noisy.getvalue(), noisy.getvalue(), None)
    exhibits = [Exhibit(f"job {n}", "method", "", [sample] * 3, {}, 0.0) for n in range(8)]
    path = write_sheet(tmp_path / "sheet.jpg", exhibits)
    assert path.stat().st_size <= LARGEST
    with pytest.raises(ValueError, match="takes more than"):
        write_sheet(tmp_path / "sheet.jpg", exhibits * 12)


@pytest.mark.parametrize("path", SPECS, ids=lambda path: path.stem)
def test_the_jobs_of_the_gallery_can_run_here(path: Path) -> None:
    spec = JobSpec.load(path)
    assert spec.output.pairs
    assert missing_weights(spec) is None
