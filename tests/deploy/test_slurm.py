"""The batch scripts, as far as they can be looked at without Slurm."""

from __future__ import annotations

import subprocess
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
