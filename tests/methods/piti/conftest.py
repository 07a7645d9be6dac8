"""The golden cases of PITI and its tiny models in the official format."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from methods.piti.config import EncoderConfig, ModelConfig, PITIConfig
from methods.piti.loading import save_native
from methods.piti.networks import PITIModel

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "piti"
TINY: dict[str, Any] = {
    "encoder": EncoderConfig(channels=(8, 8, 16, 16, 24), width=32, layers=2, heads=4),
    "model_channels": 32,
    "channel_mult": (1, 1),
    "num_res_blocks": 1,
    "attention_downsample": (2,),
    "num_head_channels": 16,
}
TINY_BASE = ModelConfig(stage="base", side=16, schedule="squaredcos_cap_v2", **TINY)
TINY_UPSAMPLER = ModelConfig(stage="upsampler", side=64, schedule="linear", **TINY)


class Case:
    """One golden case: its description, inputs and expected tensors (half precision noise cast up)."""

    def __init__(self, name: str) -> None:
        self.folder = GOLDEN / name
        self.about = json.loads((self.folder / "case.json").read_text())
        self.expected = load_file(self.folder / "expected.safetensors")
        inputs = self.folder / "inputs.safetensors"
        found = load_file(inputs) if inputs.exists() else {}
        self.inputs = {key: t.float() if t.dtype == torch.float16 else t for key, t in found.items()}

    def conditions(self) -> Tensor:
        """(B, 3, 256, 256) of the case's colour masks."""
        import numpy as np
        from PIL import Image

        pictures = [np.array(Image.open(self.folder / name)) for name in self.about["condition_images"]]
        return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1


@pytest.fixture(scope="session")
def case() -> Callable[[str], Case]:
    """Golden cases by name."""
    return Case


@pytest.fixture(scope="session")
def tiny_base() -> PITIModel:
    """The tiny base model of the golden data."""
    return _tiny(TINY_BASE, "base_mask_tiny.pt")


@pytest.fixture(scope="session")
def tiny_upsampler() -> PITIModel:
    """The tiny upsampler of the golden data."""
    return _tiny(TINY_UPSAMPLER, "upsample_mask_tiny.pt")


def _tiny(config: ModelConfig, file: str) -> PITIModel:
    model = PITIModel(config, 3).eval().requires_grad_(False)
    model.load_state_dict(torch.load(GOLDEN / "weights" / file, weights_only=True))
    return model


def relative(found: Tensor, expected: Tensor) -> float:
    """Relative L2 distance."""
    return ((found - expected).norm() / expected.norm()).item()


@pytest.fixture(scope="session")
def native(tmp_path_factory: pytest.TempPathFactory, tiny_base: PITIModel, tiny_upsampler: PITIModel) -> Path:
    """A file of ours that holds both tiny models."""
    path = tmp_path_factory.mktemp("piti") / "tiny.safetensors"
    tensors = {f"base.{name}": tensor for name, tensor in tiny_base.state_dict().items()}
    tensors |= {f"upsampler.{name}": tensor for name, tensor in tiny_upsampler.state_dict().items()}
    save_native(path, PITIConfig(family="mask", base=TINY_BASE, upsampler=TINY_UPSAMPLER), tensors, {})
    return path
