"""An output in which nothing can be written is refused before weights are fetched, and nothing is left of the try."""

from __future__ import annotations

from pathlib import Path

import pytest

from methods.errors import InputError
from pipeline.run import resolving, targets, writable
from pipeline.run.driver import Order, run_job
from pipeline.storage import Store
from tests.support.datasets import write_tars
from tests.support.jobs import job


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_tars(tmp_path / "in", 1, 2)
    return tmp_path / "in"


@pytest.fixture
def no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever would look for weights fails."""

    def never(*_: object, **__: object) -> None:
        raise AssertionError("the output was not looked at first")

    monkeypatch.setattr(resolving, "prepare", never)


@pytest.mark.usefixtures("no_weights")
def test_a_place_where_no_file_can_be_made_is_refused_first(source: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^/proc: no file can be made here; choose another place$"):
        run_job(job(source, "/proc/nothing/out"), local=True)
    with pytest.raises(InputError, match="no file can be made here"):
        targets.run_targets(job(source, "/proc/nothing/out", targets={"a": {}}), Order(local=True))
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="part of this path is a file, not a folder"):
        run_job(job(source, tmp_path / "file/out"), local=True)


@pytest.mark.usefixtures("no_weights")
def test_a_bucket_without_the_right_to_write_is_refused_first(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(self: object, path: str, data: bytes, **_: object) -> None:
        raise PermissionError("Access Denied")

    store = Store("memory://bucket-without-rights/out")
    monkeypatch.setattr(type(store.fs), "pipe_file", denied)
    with pytest.raises(InputError, match=r"out: access denied \(Access Denied\)"):
        run_job(job(source, store.root), local=True)


def test_the_try_leaves_nothing(source: Path, tmp_path: Path) -> None:
    for place in (str(tmp_path / "out"), "memory://tried/out"):
        store = Store(place)
        writable.try_to_write(store)
        assert store.list() == []
    assert not (tmp_path / "out").exists()


def test_a_finished_output_may_lie_where_it_is_only_read(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = job(source, tmp_path / "out")
    run_job(spec, local=True)

    def refused(store: Store) -> None:
        raise InputError("no permission")

    monkeypatch.setattr(writable, "try_to_write", refused)
    assert run_job(spec, local=True).state == "nothing_to_do"
    with pytest.raises(InputError, match="no permission"):
        run_job(spec, local=True, fresh=True)
