"""Wrong files and wrong parameters: one line that names what was found and what was expected."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from hypothesis import given
from hypothesis import strategies as st

import methods
from methods import BadSample, InputError, Inputs
from methods.asyrp.lpips_table import first_reaching, read_table, write_table
from methods.nn.tensor_file import read_tensors


def refusal(call: Any, *arguments: Any, **named: Any) -> str:
    with pytest.raises(InputError) as caught:
        call(*arguments, **named)
    message = str(caught.value)
    assert "\n" not in message
    return message


def block_file(tmp_path: Path, content: Any) -> list[dict[str, str]]:
    torch.save(content, tmp_path / "block.pth")
    return [{"block": str(tmp_path / "block.pth")}]


def test_a_block_of_another_width(load, golden: Path, tmp_path: Path) -> None:
    state = {
        f"{name}.{kind}": torch.zeros(1) for name in ("temb_proj", "norm2", "conv2") for kind in ("weight", "bias")
    }
    state["conv1.weight"] = torch.zeros(512, 512, 1, 1)
    message = refusal(load, "ddpm_edit6", attributes=block_file(tmp_path, {"0": state}))
    assert "block.pth" in message
    assert "512 channels wide, expected 32" in message


def test_a_block_for_the_other_kind_of_unet(load, golden: Path) -> None:
    other = [{"block": str(golden / "iddpm_edit6" / "delta.pth")}]
    assert "found a DeltaBlock for a guided-diffusion UNet" in refusal(load, "ddpm_edit6", attributes=other)
    other = [{"block": str(golden / "ddpm_edit6" / "delta.pth")}]
    assert "expected one for a guided-diffusion UNet" in refusal(load, "iddpm_edit6", attributes=other)


def test_a_block_number_that_is_not_there(load, golden: Path) -> None:
    block = str(golden / "ddpm_edit6" / "delta.pth")
    message = refusal(load, "ddpm_edit6", attributes=[{"block": block, "index": 1}])
    assert "holds the blocks 0, expected one called 1" in message


def test_files_that_hold_no_block(load, tmp_path: Path) -> None:
    assert "found model, expected a DeltaBlock" in refusal(
        load, "ddpm_edit6", attributes=block_file(tmp_path, {"model": {}})
    )
    assert "found Tensor" in refusal(load, "ddpm_edit6", attributes=block_file(tmp_path, torch.zeros(3)))
    assert "no state dict" in refusal(load, "ddpm_edit6", attributes=block_file(tmp_path, {"0": 3}))
    assert "found a, expected conv1.weight" in refusal(
        load, "ddpm_edit6", attributes=block_file(tmp_path, {"0": {"a": torch.zeros(1)}})
    )
    (tmp_path / "junk.pth").write_bytes(b"nothing")
    assert "no readable pickle" in refusal(load, "ddpm_edit6", attributes=[{"block": str(tmp_path / "junk.pth")}])
    assert "found a folder" in refusal(load, "ddpm_edit6", attributes=[{"block": str(tmp_path)}])


def test_a_block_with_a_tensor_missing_or_too_many(load, golden: Path, tmp_path: Path) -> None:
    state = torch.load(golden / "ddpm_edit6" / "delta.pth", weights_only=True)["0"]
    short = {name: value for name, value in state.items() if name != "conv2.bias"}
    assert "'conv2.bias' (32,) missing" in refusal(load, "ddpm_edit6", attributes=block_file(tmp_path, {"0": short}))
    long = {**state, "extra": torch.zeros(1)}
    assert "found 'extra'" in refusal(load, "ddpm_edit6", attributes=block_file(tmp_path, {"0": long}))
    wrong = {**state, "conv2.bias": torch.zeros(31)}
    assert "'conv2.bias' is (31,), expected (32,)" in refusal(
        load, "ddpm_edit6", attributes=block_file(tmp_path, {"0": wrong})
    )


def test_code_in_a_block_is_refused_unrun(load, tmp_path: Path) -> None:
    witness = tmp_path / "witness"

    class Payload:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.system, (f"touch {witness}",)

    message = refusal(load, "ddpm_edit6", attributes=block_file(tmp_path, {"0": Payload()}))
    assert "refused, it holds code" in message
    assert not witness.exists()


@pytest.mark.parametrize(("t_edit", "said"), [(1000, "less than or equal to 999"), (-1, "greater than or equal to 0")])
def test_t_edit_outside_the_range(load, t_edit: int, said: str) -> None:
    message = refusal(load, "ddpm_edit6", t_edit=t_edit)
    assert "t_edit" in message
    assert said in message


def test_t_edit_above_the_noisiest_timestep(load) -> None:
    assert "t_edit is 800, expected at most t_0 = 500" in refusal(load, "ddpm_edit6", t_edit=800, t_0=500)


def test_t_values_not_given(load, golden: Path) -> None:
    assert "t_edit is not set" in refusal(load, "ddpm_edit6", t_edit=None)
    assert "t_boost is not set" in refusal(load, "ddpm_edit6", t_boost=None)
    table = str(golden / "t_edit" / "celeba_LPIPS_distance_x0_t.tsv")
    assert "text_cosine, texts or both texts" in refusal(load, "ddpm_edit6", t_edit=None, lpips_x0=table)
    one_text = refusal(load, "ddpm_edit6", t_edit=None, lpips_x0=table, source_text="face")
    assert "target_text is missing: set both texts or none" in one_text
    message = refusal(load, "ddpm_edit6", t_edit=None, lpips_x0=table, text_cosine=1.0, edit_threshold=9.0)
    assert "at most, expected 9.000 somewhere" in message


def test_nothing_to_change(load) -> None:
    assert "attributes is empty" in refusal(load, "ddpm_edit6", attributes=[])


def test_no_unet_named() -> None:
    params = {"attributes": [{"block": "x.pth"}], "t_edit": 500, "t_boost": 0}
    assert "celeba_hq" in refusal(methods.load, "asyrp", **params)


def test_a_picture_size_the_unet_cannot_halve(load) -> None:
    assert "image_size is 63, expected a multiple of 2" in refusal(load, "ddpm_edit6", image_size=63)


def test_files_that_hold_no_unet(load, golden: Path, tmp_path: Path) -> None:
    torch.save({"state_dict": {}, "epoch": 3}, tmp_path / "wrapped.pt")
    message = refusal(load, "ddpm_edit6", unet=tmp_path / "wrapped.pt")
    assert "a dictionary of 'state_dict', 'epoch', expected a state dict" in message
    torch.save({"a": torch.zeros(1)}, tmp_path / "other.pt")
    assert "expected a DDPM UNet" in refusal(load, "ddpm_edit6", unet=tmp_path / "other.pt")
    state = read_tensors(golden / "ddpm_edit6" / "unet_official_layout.safetensors")
    torch.save({name: value for name, value in state.items() if name != "mid.attn_1.q.bias"}, tmp_path / "short.pt")
    assert "'mid.attn_1.q.bias' (32,) missing" in refusal(load, "ddpm_edit6", unet=tmp_path / "short.pt")
    (tmp_path / "torn.safetensors").write_bytes(b"\x08")
    assert "no readable safetensors" in refusal(load, "ddpm_edit6", unet=tmp_path / "torn.safetensors")
    assert "no config.json" in refusal(load, "ddpm_edit6", unet=tmp_path)


def test_a_diffusers_model_of_another_kind(load, tmp_path: Path) -> None:
    model = UNet2DModel(block_out_channels=(32,), down_block_types=("DownBlock2D",), up_block_types=("UpBlock2D",))
    model.save_pretrained(tmp_path / "u")
    assert "flip_sin_to_cos is True, expected False" in refusal(load, "ddpm_edit6", unet=tmp_path / "u")
    config = json.loads((tmp_path / "u" / "config.json").read_text())
    (tmp_path / "u" / "config.json").write_text(json.dumps({**config, "_class_name": "UNet2DConditionModel"}))
    assert "_class_name is 'UNet2DConditionModel'" in refusal(load, "ddpm_edit6", unet=tmp_path / "u")


def test_a_sample_without_a_picture(load) -> None:
    with pytest.raises(BadSample, match="needs an image"):
        load("ddpm_edit6").prepare(Inputs("k", None))


@pytest.mark.parametrize("text", ["", "1 2\n", "1\tx\n", "1\t0.1\n1\t0.2\n", "1\tnan\n", "1000\t0.1\n", "a\tb\n"])
def test_tables_that_are_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "table.tsv").write_text(text)
    assert "table.tsv" in refusal(read_table, tmp_path / "table.tsv")


@given(st.dictionaries(st.integers(0, 999), st.floats(0, 10), min_size=1), st.floats(0, 10))
def test_a_table_is_read_as_written(tmp_path_factory, table: dict[int, float], threshold: float) -> None:
    path = write_table(tmp_path_factory.mktemp("t") / "table.tsv", table)
    assert read_table(path) == table
    if max(table.values()) >= threshold:
        found = first_reaching(table, threshold, "table")
        assert table[found] >= threshold
        assert all(value < threshold for timestep, value in table.items() if timestep < found)
    else:
        assert "at most" in refusal(first_reaching, table, threshold, "table")
