from __future__ import annotations

from pathlib import Path

import pytest
import torch

from methods.nn.stable_diffusion import StableDiffusion

GOLDEN = Path(__file__).parents[2] / "golden"


@pytest.fixture(scope="session")
def cases() -> Path:
    """Folder of the golden cases of self-guidance."""
    return GOLDEN / "selfguidance"


@pytest.fixture(scope="session")
def tiny() -> str:
    """The folder of a tiny model in the layout of Stable Diffusion 1.x, with a VAE."""
    return str(GOLDEN / "pix2pix_zero" / "models" / "tiny_a")


@pytest.fixture(scope="session")
def model(tiny: str) -> StableDiffusion:
    """The same model, loaded."""
    return StableDiffusion(tiny, torch.device("cpu"), torch.float32)
