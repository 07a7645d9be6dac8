"""What `sceneshift refilter` says."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.commands.refilter import refilter_command
from jobs.console import Console
from methods.errors import InputError
from pipeline.run.driver import run_job
from tests.support.datasets import write_tars
from tests.support.jobs import job


def test_a_filter_is_put_on_and_taken_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_tars(tmp_path / "in", 1, 3)
    run_job(job(tmp_path / "in", tmp_path / "out", metrics=["psnr"]), local=True)

    def said(keep: str | None, *, undo: bool = False) -> str:
        refilter_command(Console(False), str(tmp_path / "out"), keep, undo=undo)
        return " ".join(capsys.readouterr().out.split())

    assert "There was no filter to take back. 3 kept, 0 filtered" in said(None, undo=True)
    assert "Filtered by: psnr > 1000. 0 kept, 3 filtered" in said("psnr > 1000")
    assert "The filter is taken back. 3 kept, 0 filtered" in said(None, undo=True)
    with pytest.raises(InputError, match="either --keep EXPRESSION or --undo"):
        said("psnr > 1", undo=True)
