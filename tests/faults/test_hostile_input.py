"""Input that lies: every case is read, becomes a row, or is refused in one line; nothing escapes, memory is bounded."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipeline.run.driver import run_job
from pipeline.sources import base, parquet
from tests.support.datasets import encoded, picture
from tests.support.hostile import KINDS
from tests.support.hostile_tools import MOST_MIB
from tests.support.jobs import index_rows, job

ROOT = Path(__file__).resolve().parent.parent.parent
FEW = {"tar": 120, "parquet": 120, "image": 150, "label": 60, "spec": 60, "keep": 150, "weights": 60}
MANY = {"tar": 4000, "parquet": 3000, "image": 6000, "label": 2500, "spec": 2000, "keep": 2000, "weights": 1500}


def feed(kind: str, cases: int, seed: int) -> tuple[int, int]:
    """(cases that were refused, MiB at the peak) of a process that reads so many cases of a kind."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.support.hostile", kind, str(cases), str(seed)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0, done.stderr[-4000:]
    refused, peak = json.loads(done.stdout.splitlines()[-1])
    return refused, peak


@pytest.mark.parametrize("kind", KINDS)
def test_a_few_cases(kind: str) -> None:
    refused, peak = feed(kind, FEW[kind], seed=1)
    assert peak < MOST_MIB
    # Neither all nor none: the cases reach the readers, and the readers look.
    assert FEW[kind] // 4 < refused <= FEW[kind]


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("kind", KINDS)
def test_twenty_thousand_cases(kind: str) -> None:
    assert sum(MANY.values()) >= 20_000
    _, peak = feed(kind, MANY[kind], seed=2)
    assert peak < MOST_MIB


BOMB = """
import sys
from pathlib import Path
from tests.support.hostile_tools import read_source
from tests.support.memory import peak_mib
print(read_source(Path(sys.argv[1]), "parquet"), peak_mib())
"""


def test_a_value_that_is_stored_once_and_unpacked_for_every_row(tmp_path: Path) -> None:
    """Some kilobytes that were gigabytes in memory."""
    value = pa.array([bytes(16 << 20)])
    table = pa.table({"image": pa.DictionaryArray.from_arrays(pa.array([0] * 64, pa.int8()), value)})
    pq.write_table(table, tmp_path / "a.parquet", compression="zstd", store_schema=False)
    assert (tmp_path / "a.parquet").stat().st_size < 10_000
    code = [sys.executable, "-c", BOMB, str(tmp_path / "a.parquet")]
    done = subprocess.run(code, cwd=ROOT, capture_output=True, text=True, env=os.environ, check=True)
    refused, peak = map(int, done.stdout.split())
    assert refused == 64
    assert peak < 1024


def test_a_row_group_that_unpacks_a_hundredfold_is_not_read(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(parquet, "_UNPACKED", 1 << 20)
    image = encoded(picture(1, (16, 16)), "PNG")
    for name, images in (("a", [image] * 3), ("b", [bytes(1 << 20) + bytes([n]) for n in range(4)])):
        (tmp_path / "in").mkdir(exist_ok=True)
        table = pa.table({"key": [f"{name}{n}" for n in range(len(images))], "image": images})
        pq.write_table(table, tmp_path / f"in/{name}.parquet", compression="zstd", use_dictionary=False)
    run_job(job(tmp_path / "in", tmp_path / "out", max_rejects=5), local=True)
    rows = index_rows(tmp_path / "out")
    assert [(row["key"], row["status"], row["error"]) for row in rows] == [
        ("a0", "ok", None),
        ("a1", "ok", None),
        ("a2", "ok", None),
        ("b.parquet#end", "rejected", "too_large"),
    ]
    assert "a row group unpacks to 4194" in rows[-1]["message"]


def test_a_shard_that_unpacks_to_more_than_its_budget_keeps_what_fits(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(base, "_BUDGET", 5000)
    image = encoded(picture(1, (16, 16)), "PNG")
    value = pa.array([image])
    many = pa.DictionaryArray.from_arrays(pa.array([0] * 40, pa.int8()), value)
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table({"image": many}), tmp_path / "in/a.parquet", store_schema=False)
    size = (tmp_path / "in/a.parquet").stat().st_size
    run_job(job(tmp_path / "in", tmp_path / "out", output__shard_size=40, max_rejects=40), local=True)
    rows = index_rows(tmp_path / "out")
    assert 4 * size < 40 * len(image)
    fits = max(5000, 4 * size) // len(image)
    assert [row["status"] for row in rows] == ["ok"] * fits + ["rejected"] * (40 - fits)
    assert {row["error"] for row in rows[fits:]} == {"too_large"}
