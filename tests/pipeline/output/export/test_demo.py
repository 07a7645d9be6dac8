"""What the demo's own job file makes, exported: every picture's labels say night."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.demo import SPEC
from pipeline.job import Job
from pipeline.job_record import stored_job
from pipeline.output.export.run import ExportOptions, export_folder
from pipeline.output.export.single import export_file
from pipeline.run.driver import run_job
from pipeline.spec import JobSpec
from pipeline.storage import Store
from tests.support.datasets import street_samples, write_tar

SCENES = 32


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """The demo's job on as many pictures, small ones, whose labels say that it is daytime."""
    root = tmp_path_factory.mktemp("demo")
    samples = street_samples([f"{number:08d}" for number in range(SCENES)])
    box = {"bbox": [2, 3, 10, 12], "category": "car"}
    for members in samples.values():
        members["json"] = json.dumps({"attributes": {"timeofday": "daytime"}, "annotations": [box]}).encode()
    write_tar(root / "day/a.tar", samples)
    changes = [f"source.uri={root}/day/*.tar", f"output.uri={root}/out", "metrics=[]"]
    run_job(JobSpec.load(SPEC, changes), local=True)
    store = Store(str(root / "out"))
    record = stored_job(store)
    assert record is not None
    return Job.from_record(record, store)


def folder(demo: Job, format: str, root: Path, document: str) -> Any:
    export_folder(demo, Store(str(root)), ExportOptions(format=format, images="none"))
    return json.loads((root / document).read_text())


def file(demo: Job, format: str, root: Path, document: str) -> Any:
    export_file(demo, root / document, format, None)
    return json.loads((root / document).read_text())


@pytest.mark.parametrize(
    ("export", "format", "document"),
    [
        (folder, "coco", "annotations/instances_train.json"),
        (folder, "bdd100k", "labels/train.json"),
        (file, "coco", "labels.json"),
        (file, "bdd100k", "labels.json"),
    ],
)
def test_every_picture_of_the_demo_is_exported_as_night(
    demo: Job, tmp_path: Path, export: Callable[[Job, str, Path, str], Any], format: str, document: str
) -> None:
    found = export(demo, format, tmp_path, document)
    pictures = found["images"] if format == "coco" else found
    assert [each["attributes"]["timeofday"] for each in pictures] == ["night"] * SCENES


def test_the_record_says_that_the_translation_set_it(demo: Job) -> None:
    assert demo.label_changes.attributes == {"timeofday": "night"}
    described = json.loads(demo.store.read("_sceneshift/job.json"))["label_changes"]
    assert described["set"] == {"timeofday": "night"}
    assert "`timeofday` is set to `night`" in demo.store.read("README.md").decode()
