"""Sources of many objects in a bucket: as on a disk, whatever order the answers come in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import JobFailed
from pipeline.run.driver import run_job
from pipeline.spec import JobSpec
from pipeline.storage import Unreachable
from tests.support.datasets import encoded, picture, read_tree
from tests.support.jobs import index_rows, job
from tests.support.label_files import write_files
from tests.support.seaweed import Bucket

NAMES = [f"{n:02d}" for n in range(40)]


def on_bucket(bucket: Bucket, source: str, out: Path, **storage: Any) -> JobSpec:
    tree = job(f"{bucket.uri}/{source}", out, output__shard_size=8, max_rejects=3).as_tree()
    tree["source"]["storage"] = {**bucket.storage, **storage}
    return JobSpec.parse(tree)


@pytest.mark.parametrize("source", ["loose", "lists/a.csv"])
def test_objects_come_as_files_do(bucket: Bucket, tmp_path: Path, source: str) -> None:
    files: dict[str, bytes | str] = {f"loose/{name}.png": encoded(picture(int(name)), "PNG") for name in NAMES}
    files |= {f"loose/{name}.txt": f"street {name}" for name in NAMES[::3]}
    gone = ["gone"] if source != "loose" else []
    files["lists/a.csv"] = "path\n" + "".join(f"../loose/{name}.png\n" for name in [*NAMES[:20], *gone, *NAMES[20:]])
    write_files(tmp_path, files)
    for name, data in files.items():
        bucket.store().put(name, data.encode() if isinstance(data, str) else data)
    run_job(on_bucket(bucket, source, tmp_path / "far"), local=True)
    near = job(tmp_path / source, tmp_path / "near", output__shard_size=8, max_rejects=3)
    run_job(near, local=True)
    assert read_tree(tmp_path / "far", "data") == read_tree(tmp_path / "near", "data")
    bare = [
        {column: value for column, value in row.items() if column != "source_uri"}
        for row in index_rows(tmp_path / "far")
    ]
    assert bare == [
        {column: value for column, value in row.items() if column != "source_uri"}
        for row in index_rows(tmp_path / "near")
    ]
    assert [row["key"].rpartition("/")[2] for row in bare if row["status"] == "rejected"] == gone
    assert len(bare) == len(NAMES) + len(gone)


def test_a_store_that_stops_answering_costs_no_picture(bucket: Bucket, tmp_path: Path, monkeypatch) -> None:
    """An outage says nothing about the objects: what was not fetched is no row, and a rerun has it all."""
    from pipeline.sources import loose

    store = bucket.store("loose")
    for name in NAMES[:24]:
        store.put(f"{name}.png", encoded(picture(1), "PNG"))
    spec = on_bucket(bucket, "loose", tmp_path / "out")
    fetch = loose.fetch

    def failing(uri: str, *rest: Any) -> bytes:
        if uri.endswith(("20.png", "21.png")):
            raise Unreachable(f"{uri}: the store does not answer")
        return fetch(uri, *rest)

    monkeypatch.setattr("pipeline.sources.folder.fetch", failing)
    with pytest.raises(JobFailed, match="does not answer"):
        run_job(spec, local=True)
    monkeypatch.undo()
    run_job(spec, local=True)
    rows = index_rows(tmp_path / "out")
    assert [row["key"] for row in rows] == NAMES[:24]
    assert {row["status"] for row in rows} == {"ok"}
