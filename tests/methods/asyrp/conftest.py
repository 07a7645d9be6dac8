from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import methods
from methods.asyrp.method import Asyrp
from tests.support.golden_case import GoldenCase

GOLDEN = Path(__file__).parents[2] / "golden" / "asyrp"
HEADS = {"ddpm_edit6": 64, "iddpm_edit6": 16}


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of the golden cases of Asyrp."""
    return GOLDEN


@pytest.fixture(scope="session")
def case() -> Callable[[str], GoldenCase]:
    """A golden case by name."""
    return lambda name: GoldenCase(GOLDEN / name)


@pytest.fixture(scope="session")
def load() -> Callable[..., Asyrp]:
    """The tiny model of a golden case, its parameters changed as asked."""

    def build(name: str, unet: Path | None = None, dtype: str = "float32", **changes: Any) -> Asyrp:
        folder = GOLDEN / name
        params: dict[str, Any] = {
            "attributes": [{"block": str(folder / "delta.pth")}],
            "strength": 1.2 if name == "iddpm_edit6" else 1.0,
            "t_edit": 400,
            "t_boost": 250,
            "steps": 6,
            "steps_inversion": 6,
            "steps_train": 6,
            "beta_end": 0.004,
            "norm_num_groups": 8,
            "num_head_channels": HEADS[name],
            "image_size": 64 if name == "ddpm_edit6" else 32,
        }
        weights = unet or folder / "unet_official_layout.safetensors"
        method = methods.load("asyrp", weights=str(weights), dtype=dtype, **{**params, **changes})
        assert isinstance(method, Asyrp)
        return method

    return build
