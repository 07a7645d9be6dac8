"""Labels in a bucket: a glob and a folder of them, and a table that another machine fetches from the output."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

from methods.errors import InputError
from pipeline.labels import LabelTable, TableSource, open_table
from pipeline.labels.source import converted, fetched, publish, withdraw
from pipeline.run.driver import run_job
from pipeline.spec import JobSpec
from pipeline.storage import StorageOptions, Store
from tests.support.datasets import encoded, picture
from tests.support.jobs import index_rows, job
from tests.support.seaweed import Bucket


def frame(name: str) -> bytes:
    sides = {"x1": 1, "y1": 2, "x2": 31, "y2": 22}
    return json.dumps([{"name": f"{name}.jpg", "labels": [{"category": "car", "box2d": sides}]}]).encode()


def options(bucket: Bucket) -> StorageOptions:
    return StorageOptions.model_validate(bucket.storage)


def test_a_job_whose_labels_are_a_glob_in_a_bucket(bucket: Bucket, tmp_path: Path) -> None:
    store = bucket.store()
    for name in "ab":
        store.put(f"pictures/{name}.jpg", encoded(picture(1)))
        store.put(f"labels/det_{name}.json", frame(name))
    store.put("labels/notes.json", b"{}")
    tree = job(f"{bucket.uri}/pictures", tmp_path / "out").as_tree()
    tree["source"] |= {"storage": bucket.storage, "labels": {"uri": f"{bucket.uri}/labels/det_*.json"}}
    outcome = run_job(JobSpec.parse(tree), local=True)
    assert outcome.summary.labels["pictures"] == 2
    assert outcome.summary.labels["unmatched"] == 0
    found = [row["labels"]["annotations"][0]["bbox"] for row in index_rows(tmp_path / "out")]
    assert found == [[1, 2, 30, 20]] * 2


def test_another_machine_fetches_the_table_from_the_output(
    bucket: Bucket, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bucket.store().put("labels.json", frame("a"))
    source = TableSource(f"{bucket.uri}/labels.json", "bdd100k", options(bucket))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    path = converted(source)
    output = Store(f"{bucket.uri}/out", options(bucket))
    publish(path, output)
    (tmp_path / "other").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "other"))
    # The source itself is out of reach of that machine.
    bucket.store().delete("labels.json")
    table = LabelTable(fetched(path.name, output, source))
    assert table.find("a") is not None
    withdraw(path.name, output)
    assert LabelTable(fetched(path.name, output, source)).find("a") is not None
    assert bucket.objects("out") == {}


def test_a_label_place_that_is_not_there(bucket: Bucket) -> None:
    for uri in (f"{bucket.uri}/labels.json", f"{bucket.uri}/labels/*.json", f"{bucket.uri}/folder"):
        with pytest.raises(InputError, match=r"does not exist|no label file here"):
            open_table(TableSource(uri, "auto", options(bucket)))
