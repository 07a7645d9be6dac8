from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import methods
from methods.diffuseit.method import DiffuseIT
from tests.support.golden_case import GoldenCase

GOLDEN = Path(__file__).parents[2] / "golden" / "diffuseit"
_RECORDED = (
    "clip_guidance_lambda",
    "lambda_ssim",
    "lambda_contra_ssim",
    "lambda_dir_cls",
    "lambda_trg",
    "l2_trg_lambda",
    "range_lambda",
    "diff_iter",
    "use_noise_aug_all",
    "use_colormatch",
    "aug_num",
    "timestep_respacing",
    "skip_timesteps",
)


@pytest.fixture(scope="session")
def golden() -> Path:
    """Folder of the golden cases of DiffuseIT."""
    return GOLDEN


@pytest.fixture(scope="session")
def case() -> Callable[[str], GoldenCase]:
    """A golden case by name, its float16 inputs as float32."""

    def read(name: str) -> GoldenCase:
        found = GoldenCase(GOLDEN / name)
        found.inputs = {
            key: value.float() if value.dtype == torch.float16 else value for key, value in found.inputs.items()
        }
        return found

    return read


@pytest.fixture(scope="session")
def load() -> Callable[..., DiffuseIT]:
    """The tiny model with the parameters of ``text_run`` or ``image_run``, changed as asked."""

    def build(name: str, unet: Path | None = None, dtype: str = "float32", **changes: Any) -> DiffuseIT:
        weights = GOLDEN / "weights"
        recorded = GoldenCase(GOLDEN / name).about["parameters"]
        params: dict[str, Any] = {key: recorded[key] for key in _RECORDED}
        if name == "text_run":
            params |= {"prompt": recorded["prompt"], "source": recorded["source"]}
            params |= {
                "clip_models": [str(weights / "clip_vit.pt"), str(weights / "clip_rn.pt")],
                "clip_vocabulary": str(weights / "bpe_tiny.txt.gz"),
            }
        else:
            params["target_image"] = str(GOLDEN / name / "target.png")
        params |= {"dino": str(weights / "dino.pth"), "dino_heads": 4, "num_head_channels": 16}
        params |= {"image_size": 48, "resampling": 2, **changes}
        method = methods.load("diffuseit", weights=str(unet or weights / "unet.pt"), dtype=dtype, **params)
        assert isinstance(method, DiffuseIT)
        return method

    return build


@pytest.fixture(scope="session")
def source() -> Callable[[str], np.ndarray]:
    """The source picture of a run, (H, W, 3) uint8."""
    return lambda name: np.asarray(Image.open(GOLDEN / name / "source.png").convert("RGB"))
