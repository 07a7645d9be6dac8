"""The batch scripts, as far as they can be looked at without Slurm."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPTS = sorted((Path(__file__).resolve().parents[2] / "deploy" / "slurm").glob("*.sbatch"))


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_bash_and_says_how_it_is_used(script: Path):
    text = script.read_text()
    assert text.startswith("#!/bin/bash\n")
    subprocess.run(["bash", "-n", str(script)], check=True)
    # Directives end at the first command.
    first = next(n for n, line in enumerate(text.splitlines()) if line and not line.startswith("#"))
    assert all(n < first for n, line in enumerate(text.splitlines()) if line.startswith("#SBATCH"))
    done = subprocess.run(["bash", str(script)], capture_output=True, text=True)
    assert done.returncode != 0
    assert "usage: sbatch" in done.stderr
    # It would end every Ray of the user on the node.
    assert "ray stop" not in "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))


def test_a_missing_file_is_one_line(tmp_path: Path):
    script = SCRIPTS[0].with_name("sceneshift.sbatch")
    done = subprocess.run(["bash", str(script), "none.yaml"], capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (2, "sceneshift.sbatch: none.yaml: no such file\n")


def test_a_ray_that_did_not_start_is_said_at_once(tmp_path: Path) -> None:
    """Not after the minutes that nodes are given to join, or that Ray itself would try for."""
    script = SCRIPTS[0].with_name("sceneshift.sbatch")
    waits = script.read_text().split("<<'PYTHON' || exit 3\n")[1].split("\nPYTHON\n")[0]
    (tmp_path / "ray.py").write_text("def init(*arguments, **options): raise SystemExit('Ray was asked')\n")
    # Nobody has waited for it yet, as in the script.
    step = subprocess.Popen(["true"])
    command = [sys.executable, "-c", waits, "127.0.0.1:9", "2", str(step.pid)]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(tmp_path)}, capture_output=True, text=True)
    step.wait()
    assert done.returncode == 1
    assert done.stderr.strip() == "sceneshift.sbatch: Ray did not start on these nodes; see sceneshift-*.ray-*.log"
