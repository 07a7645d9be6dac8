"""One sample again: the same bytes from its index row and the job's record, or a clear word why not."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from jobs.cli import app
from methods.errors import InputError
from pipeline.job import Job
from pipeline.job_record import stored_job
from pipeline.output.reproduce import Difference, reproduce
from pipeline.run.driver import run_job
from pipeline.storage import Store
from tests.support.datasets import encoded, picture, read_tree, street_samples, write_parquet, write_tar
from tests.support.jobs import index_rows, job

NAMES = [f"k{n:02d}" for n in range(11)]


def ready(out: Path) -> Job:
    store = Store(str(out))
    record = stored_job(store)
    assert record is not None
    return Job.from_record(record, store)


@pytest.mark.parametrize("kind", ["webdataset", "parquet", "folder"])
def test_any_sample_of_any_source_comes_out_the_same(tmp_path, kind):
    samples = street_samples(NAMES)
    source = tmp_path / "in"
    if kind == "webdataset":
        write_tar(source / "a.tar", {"bad": {"txt": b"no picture"}, **samples})
    elif kind == "parquet":
        write_parquet(source / "a.parquet", samples)
    else:
        source.mkdir()
        for name, members in samples.items():
            (source / f"{name}.jpg").write_bytes(members["jpg"])
    method = {"name": "noisy"}
    run_job(job(source, tmp_path / "out", method=method, variants=2, output__shard_size=4, seed=5), local=True)
    before = read_tree(tmp_path / "out", ".")
    for key, variant in (("k00", 0), ("k07", 1), ("k10", 0)):
        found = reproduce(ready(tmp_path / "out"), key, variant)
        assert found.identical
        assert hashlib.sha256(found.row.image or b"").hexdigest() == found.recorded["sha256"]
    assert reproduce(ready(tmp_path / "out"), "k07", 1, whole_shard=True).identical
    if kind == "webdataset":
        rejected = reproduce(ready(tmp_path / "out"), "bad")
        assert rejected.identical
        assert rejected.row.image is None
    assert read_tree(tmp_path / "out", ".") == before


def test_what_is_asked_for_must_be_there_and_unchanged(tmp_path):
    samples = street_samples(NAMES)
    write_tar(tmp_path / "in" / "a.tar", samples)
    run_job(job(tmp_path / "in", tmp_path / "out"), local=True)
    with pytest.raises(InputError, match="nearest is 'k"):
        reproduce(ready(tmp_path / "out"), "k0")
    with pytest.raises(InputError, match="no sample 'k00' variant 3"):
        reproduce(ready(tmp_path / "out"), "k00", 3)
    samples["k03"]["jpg"] = encoded(picture(77))
    write_tar(tmp_path / "in" / "a.tar", samples)
    assert reproduce(ready(tmp_path / "out"), "k02").identical
    with pytest.raises(InputError, match="'k03' has changed"):
        reproduce(ready(tmp_path / "out"), "k03")
    del samples["k00"]
    write_tar(tmp_path / "in" / "a.tar", samples)
    with pytest.raises(InputError, match="has changed or is gone"):
        reproduce(ready(tmp_path / "out"), "k05")
    (tmp_path / "in" / "a.tar").unlink()
    with pytest.raises(InputError):
        reproduce(ready(tmp_path / "out"), "k05")


def test_another_result_is_measured_and_ends_with_3(tmp_path):
    write_tar(tmp_path / "in" / "a.tar", street_samples(NAMES))
    run_job(job(tmp_path / "in", tmp_path / "out"), local=True)
    # as if the job had been of another method
    path = tmp_path / "out" / "_sceneshift" / "job.json"
    tree = json.loads(path.read_text())
    tree["spec"]["method"]["name"] = "null"
    path.write_text(json.dumps(tree))
    found = reproduce(ready(tmp_path / "out"), "k04")
    assert not found.identical
    assert isinstance(found.difference, Difference)
    assert found.difference.most > 100
    target = tmp_path / "new" / "x.png"
    result = CliRunner().invoke(app, ["reproduce", str(tmp_path / "out"), "k04", "-o", str(target), "--json"])
    assert result.exit_code == 3
    assert json.loads(result.stdout)["difference"]["most"] == found.difference.most
    assert target.read_bytes() == found.row.image
    assert {row["status"] for row in index_rows(tmp_path / "out")} == {"ok"}
