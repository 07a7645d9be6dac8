"""Bundling: half precision, what the file says of itself kept, DeltaBlocks and tensors alike, nothing too large."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from methods.asyrp.delta_block import GuidedDeltaBlock, read_delta_block, save_delta_block
from methods.errors import InputError
from methods.train import bundle as bundling
from methods.train.bundle import bundle
from methods.weights import BUNDLED


def test_tensors_are_halved_and_keep_their_origin(tmp_path: Path) -> None:
    save_file({"w": torch.rand(3, 3), "n": torch.arange(3)}, tmp_path / "a.safetensors", {"steps": "7"})
    path = bundle(tmp_path / "a.safetensors", tmp_path / "name" / "model.safetensors", {"commit": "abc"})
    with safe_open(path, framework="pt") as file:
        assert file.get_tensor("w").dtype == torch.float16
        assert file.get_tensor("n").dtype == torch.int64
        assert file.metadata()["steps"] == "7"
        assert json.loads(file.metadata()["origin"]) == {"commit": "abc"}


def test_a_delta_block_becomes_safetensors_that_asyrp_reads(tmp_path: Path) -> None:
    torch.manual_seed(0)
    block = GuidedDeltaBlock(32, 64, 32, False)
    torch.nn.init.normal_(next(iter(block.parameters())))
    written = save_delta_block(tmp_path / "model.pth", block, {}, {})
    path = bundle(written, tmp_path / "name" / "model.safetensors", {})
    found = read_delta_block(path, 32)
    for name, value in block.state_dict().items():
        torch.testing.assert_close(found.state_dict()[name], value, rtol=1e-3, atol=1e-4)


def test_what_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save({"state": 1}, tmp_path / "a.pth")
    (tmp_path / "b.safetensors").write_bytes(b"\x08\0\0\0\0\0\0\0{broken}")
    for name, said in (("a.pth", "under '0'"), ("b.safetensors", "cannot be read"), ("c.pth", "no such file")):
        with pytest.raises(InputError, match=said):
            bundle(tmp_path / name, tmp_path / "out" / "model.safetensors", {})
    save_file({"w": torch.rand(3, 3)}, tmp_path / "d.safetensors")
    monkeypatch.setattr(bundling, "LARGEST", 10)
    with pytest.raises(InputError, match="in half precision, expected at most"):
        bundle(tmp_path / "d.safetensors", tmp_path / "out" / "model.safetensors", {})
    assert not (tmp_path / "out" / "model.safetensors").exists()


def test_all_bundled_weights_stay_small_and_have_a_card() -> None:
    files = sorted(BUNDLED.glob("*/model.safetensors"))
    assert files
    assert all(path.stat().st_size <= bundling.LARGEST for path in files)
    assert sum(path.stat().st_size for path in files) <= 45_000_000
    assert all((path.parent / "README.md").is_file() for path in files)
