"""The executor without Ray: shards overlap, and what fails takes nothing else with it."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

import pipeline.sink.commit
import pipeline.translate.shard
from pipeline.errors import JobFailed
from pipeline.run.driver import run_job
from tests.support.datasets import encoded, picture, read_tree, write_tar
from tests.support.jobs import index_rows, job


@pytest.fixture
def source(tmp_path: Path) -> Path:
    for name in ("a", "b", "c"):
        write_tar(tmp_path / "in" / f"{name}.tar", {f"{name}{n}": {"png": encoded(picture(n))} for n in range(4)})
    return tmp_path / "in"


def test_a_shard_that_cannot_be_committed_ends_its_file_alone(source: Path, tmp_path: Path, monkeypatch) -> None:
    commit = pipeline.sink.commit.commit
    tried: list[str] = []

    def failing(job, shard):
        tried.append(f"{shard.source}-{shard.part}")
        if shard.source == "b.tar" and shard.part == 1:
            raise OSError("no space left")
        return commit(job, shard)

    spec = job(source, tmp_path / "out", output__shard_size=1)
    with monkeypatch.context() as patch:
        patch.setattr(pipeline.sink.commit, "commit", failing)
        with pytest.raises(JobFailed, match=r"1 source file is not finished; first failure: b\.tar: .*no space left"):
            run_job(spec, local=True)
    assert "b.tar-3" not in tried
    assert "c.tar-3" in tried
    assert run_job(spec, local=True).state == "done"
    run_job(job(source, tmp_path / "undisturbed", output__shard_size=1), local=True)
    assert read_tree(tmp_path / "out", "data", "index") == read_tree(tmp_path / "undisturbed", "data", "index")
    assert len(index_rows(tmp_path / "out")) == 12


def test_a_shard_is_committed_while_the_next_one_is_translated(source: Path, tmp_path: Path, monkeypatch) -> None:
    """Each waits for the other: one after the other would never end (the test would meet its time limit)."""
    commit, translate = pipeline.sink.commit.commit, pipeline.translate.shard.translate_shard
    second_begun = threading.Event()
    first_in_commit = threading.Event()

    def committing(job, shard):
        if shard.source == "a.tar" and shard.part == 0:
            first_in_commit.set()
            assert second_begun.wait(60)
        return commit(job, shard)

    def translating(translator, shard, *note):
        if shard.source == "a.tar" and shard.part == 1:
            assert first_in_commit.wait(60)
            second_begun.set()
        return translate(translator, shard, *note)

    monkeypatch.setattr(pipeline.sink.commit, "commit", committing)
    monkeypatch.setattr(pipeline.translate.shard, "translate_shard", translating)
    assert run_job(job(source, tmp_path / "out", output__shard_size=1), local=True).state == "done"
