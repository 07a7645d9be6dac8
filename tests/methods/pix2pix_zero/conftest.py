from __future__ import annotations

from pathlib import Path

import pytest
import torch

from methods.nn.stable_diffusion import StableDiffusion

FOLDER = Path(__file__).parents[2] / "golden" / "pix2pix_zero"


@pytest.fixture(scope="session")
def cases() -> Path:
    """Folder of the golden cases of pix2pix-zero."""
    return FOLDER


@pytest.fixture(scope="session")
def tiny() -> str:
    """The folder of a tiny model in the layout of Stable Diffusion 1.x."""
    return str(FOLDER / "models" / "tiny_a")


@pytest.fixture(scope="session")
def model(tiny: str) -> StableDiffusion:
    """The same model, loaded."""
    return StableDiffusion(tiny, torch.device("cpu"), torch.float32)
