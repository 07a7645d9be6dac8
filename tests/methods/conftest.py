from __future__ import annotations

from pathlib import Path

import pytest
import torch

GOLDEN = Path(__file__).parent.parent / "golden" / "turbo"


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """Two torch threads on two busy cores are far slower than one."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of the golden cases of img2img-turbo."""
    return GOLDEN


@pytest.fixture(scope="session")
def base() -> str:
    """A tiny look-alike of SD-Turbo."""
    return str(GOLDEN / "_weights")


@pytest.fixture(scope="session")
def official() -> Path:
    """A CycleGAN-Turbo checkpoint in the official format over :func:`base`."""
    return GOLDEN / "_weights" / "cyclegan_turbo.pkl"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCENESHIFT_CACHE", str(tmp_path / "cache"))
