"""Weights & Biases in offline mode: what its files hold of a training that is interrupted, and begun anew."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from methods.train.loop import TrainingProgress
from pipeline.training.place import run_training
from pipeline.training.spec import TrainSpec
from tests.jobs.test_train import folder_of, tree

pytest.importorskip("wandb")
_HEADER, _BLOCK = 7, 32768
_WHOLE, _LAST = 1, 4


def records(path: Path) -> Iterator[Any]:
    """The records of a ``.wandb`` file, which is a log in LevelDB's format behind a header of its own."""
    from wandb.proto import wandb_internal_pb2

    data, at, kept = path.read_bytes(), _HEADER, b""
    while at + 7 <= len(data):
        room = _BLOCK - at % _BLOCK
        if room < 7:
            at += room
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + 7])
        at += 7 + size
        kept += data[at - size : at]
        if kind in (_WHOLE, _LAST):
            record = wandb_internal_pb2.Record()  # type: ignore[attr-defined]
            record.ParseFromString(kept)
            kept = b""
            yield record


def logged(out: Path) -> list[tuple[str, list[dict[str, float]]]]:
    """(run, rows of its history) of every attempt below an output."""
    found = []
    for path in sorted((out / "wandb").glob("offline-run-*/*.wandb"), key=lambda path: path.stat().st_mtime_ns):
        run, rows = "", []
        for record in records(path):
            if record.HasField("run"):
                run = record.run.run_id
            if record.HasField("history"):
                items = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
                rows.append({name: json.loads(value) for name, value in items.items()})
        found.append((run, rows))
    return found


def losses(rows: list[dict[str, float]]) -> dict[float, float]:
    return {row["step"]: row["train/mse"] for row in rows if "train/mse" in row}


def test_a_resumed_training_is_one_run_without_gaps_and_a_fresh_one_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    folder_of(tmp_path / "in", 4)
    out = tmp_path / "out"
    spec = TrainSpec.parse(tree(tmp_path, validation={"count": 1}, validate_every=2, loggers=["wandb"]))

    def pull_the_plug(progress: TrainingProgress) -> None:
        if progress.step == 6:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_training(spec, watch=pull_the_plug)
    run_training(spec)
    (run, before), (same, after) = logged(out)
    assert run == same
    # the checkpoint is of step 4: what comes after it is done, and logged, once more
    assert set(losses(before)) == {1, 2, 3, 4, 5}
    assert set(losses(after)) == {5, 6}
    assert losses(after)[5] == losses(before)[5]
    assert [row["step"] for row in before + after if "validation/mse" in row] == [2, 4, 6]
    # its own count of steps, behind which nothing may fall, is not ours
    assert all([row["_step"] for row in rows] == list(range(len(rows))) for rows in (before, after))
    assert not (out / "tensorboard").exists()
    run_training(spec, fresh=True)
    ((other, anew),) = logged(out)
    assert other != run
    assert losses(anew) == losses(before) | losses(after)


def test_who_is_not_logged_in_is_refused_before_the_output_is_touched(tmp_path: Path) -> None:
    folder_of(tmp_path / "in", 4)
    path = tmp_path / "train.yaml"
    path.write_text(yaml.safe_dump(tree(tmp_path, loggers=["wandb"])))
    # a process of its own: wandb keeps for good what it was first set to
    env = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_") and name != "NETRC"}
    command = [sys.executable, "-m", "jobs", "train", str(path)]
    done = subprocess.run(command, env={**env, "HOME": str(tmp_path / "home")}, capture_output=True, text=True)
    assert done.returncode == 2, done.stderr
    assert "nobody is logged in at wandb: run `wandb login`, or set WANDB_MODE=offline" in done.stderr
    assert not (tmp_path / "out").exists()
