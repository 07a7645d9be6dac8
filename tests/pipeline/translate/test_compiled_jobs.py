"""`compute.compile` in whole jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from methods.errors import InputError
from pipeline import codec
from pipeline.job import prepare
from pipeline.run.driver import run_job
from tests.support.datasets import street_samples, write_tar
from tests.support.jobs import data_rows, job

MINI: dict[str, Any] = {"name": "cyclegan_turbo", "preset": "street_day_to_night"}


def test_only_what_compiles_something_changes_the_fingerprint(tmp_path: Path) -> None:
    write_tar(tmp_path / "in/a.tar", street_samples(["a"]))
    with pytest.raises(InputError, match=r"compute.compile: method 'invert' has no network .*cyclegan_turbo") as error:
        prepare(job(tmp_path / "in", tmp_path / "out", compute__compile=True))
    assert "\n" not in str(error.value)
    prints = {
        compiled: prepare(job(tmp_path / "in", tmp_path / "out", method=MINI, compute__compile=compiled)).fingerprint
        for compiled in (False, "auto", True)
    }
    with pytest.raises(InputError, match=r"compute\.compile"):
        job(tmp_path / "in", tmp_path / "out", compute__compile="maybe")
    # on a CPU auto compiles nothing
    assert prints[False] == prints["auto"] != prints[True]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where machine code is kept, with nothing in it and no other place named."""
    monkeypatch.setenv("SCENESHIFT_CACHE", str(tmp_path / "cache"))
    # taken away again after the test, whoever sets it
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", "")
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    torch._dynamo.reset()
    return tmp_path / "cache" / "compiled"


def both(root: Path, method: dict[str, Any], caplog: pytest.LogCaptureFixture) -> list[str]:
    """Translate three pictures in batches of two, uncompiled and compiled; what was said of compiling."""
    write_tar(root / "in/a.tar", street_samples(["a", "b", "c"]))
    for compiled in (False, True):
        compute = {"compile": compiled, "batch_size": 2}
        with caplog.at_level("INFO", "sceneshift"):
            outcome = run_job(job(root / "in", root / f"out-{compiled}", method=method, compute=compute), local=True)
        assert outcome.summary.rows.ok == 3
    return [record.getMessage() for record in caplog.records if "networks compiled" in record.getMessage()]


def difference(root: Path) -> int:
    """The greatest difference of a pixel, in grey levels."""
    plain, compiled = (data_rows(root / f"out-{compiled}") for compiled in (False, True))
    pairs = [[codec.decode(rows[key]["image"]).pixels.astype(int) for rows in (plain, compiled)] for key in plain]
    assert len(pairs) == 3
    return max(int(np.abs(one - other).max()) for one, other in pairs)


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_torch_s_own_compiler_fills_batches_up_and_keeps_what_it_made(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    said = both(tmp_path, {"name": "smooth"}, caplog)
    # the last batch, of one picture, is filled up: it needs nothing compiled
    assert len(said) == 1
    assert said[0].startswith("networks compiled for 2 pictures of 48x32 at once")
    assert [*cache.rglob("*.so")]
    assert difference(tmp_path) <= 1


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_the_bundled_model_compiled_is_the_same_to_a_grey_level(
    tmp_path: Path, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Minutes of C++ compilation."""
    assert len(both(tmp_path, MINI, caplog)) == 1
    assert [*cache.rglob("*.so")]
    assert difference(tmp_path) <= 1
