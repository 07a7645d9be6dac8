"""A recorded run of a reference implementation: what it was given and what it made of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file


class GoldenCase:
    """One folder below tests/golden: ``case.json``, ``inputs.safetensors`` and ``expected.safetensors``."""

    def __init__(self, folder: Path) -> None:
        self.about: dict[str, Any] = json.loads((folder / "case.json").read_text())
        inputs = folder / "inputs.safetensors"
        self.inputs = load_file(inputs) if inputs.exists() else {}
        self.expected = load_file(folder / "expected.safetensors")

    def check(self, found: torch.Tensor, name: str, limit: float = 5e-5) -> None:
        """Fail unless ``found`` is the recorded tensor to a relative L2 distance of ``limit``."""
        wanted = self.expected[name]
        assert found.shape == wanted.shape, f"{name}: {tuple(found.shape)}, expected {tuple(wanted.shape)}"
        distance = float((found - wanted).norm() / wanted.norm())
        assert distance <= limit, f"{name}: relative L2 {distance:.2e}, allowed {limit:.0e}"
