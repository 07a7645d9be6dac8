"""A manifest that several readers share gives the shards that one reader gives, each once."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipeline.plan import FilePlan
from pipeline.records import Shard
from pipeline.run import units
from pipeline.run.resolving import resolve
from pipeline.run.steps import read_file
from pipeline.run.units import units_of
from tests.support.datasets import encoded, picture
from tests.support.jobs import job
from tests.support.label_files import write_files


def bare(shard: Shard) -> tuple[str, tuple[tuple[str, bytes | None], ...], bool]:
    return shard.id, tuple((sample.key, sample.image) for sample in shard.samples), shard.last


@pytest.mark.parametrize("readers", [1, 2, 3, 8])
def test_shares_of_a_manifest_are_the_whole_manifest(tmp_path: Path, monkeypatch, readers: int) -> None:
    monkeypatch.setattr(units, "UNIT", 10)
    names = [f"{n:02d}.png" for n in range(23)]
    write_files(tmp_path, {f"pics/{name}": encoded(picture(1), "PNG") for name in names})
    write_files(tmp_path, {"list.csv": "path\n" + "".join(f"pics/{name}\n" for name in names)})
    made, plan = resolve(job(tmp_path / "list.csv", tmp_path / "out", output__shard_size=4))
    (one,) = plan.files
    whole = [bare(shard) for shard in read_file(made, one)]
    assert [last for *_, last in whole] == [False] * 5 + [True]
    shares = units_of(plan.files, made.source_format, readers)
    assert len(shares) == readers
    found = [bare(shard) for share in shares for shard in read_file(made, share)]
    assert sorted(found) == whole
    rest = units_of([FilePlan(one.file, frozenset({0, 3}))], made.source_format, readers)
    found = [bare(shard) for share in rest for shard in read_file(made, share)]
    assert sorted(found) == [whole[n] for n in (1, 2, 4, 5)]
    assert units_of(plan.files, "webdataset", readers) == [one]
