"""Programs that `make test-cluster` installs; a test is skipped, with the reason, where one is missing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / ".venv" / "cluster"


def program(name: str) -> str:
    """Path of a program; the test is skipped if it is not installed."""
    places = [str(TOOLS / each / "bin") for each in ("", "checks", "airflow")]
    found = shutil.which(name, path=os.pathsep.join([*places, os.environ["PATH"], "/usr/sbin"]))
    if found is None:
        pytest.skip(f"no {name} here; `make test-cluster` installs it")
    return found
