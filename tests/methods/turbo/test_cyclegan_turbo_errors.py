"""Wrong weights and wrong pictures: one line that names the file, what was found and what was expected."""

from __future__ import annotations

import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import methods
from methods import BadSample, InputError, Inputs
from methods.base import Method

CAPTION = "driving in the night"


def load(weights: Path | str, base: Path | str, **params: Any) -> Method:
    return methods.load("cyclegan_turbo", weights=str(weights), base=str(base), **{"caption": CAPTION, **params})


def refusal(weights: Path | str, base: Path | str, **params: Any) -> str:
    with pytest.raises(InputError) as caught:
        load(weights, base, **params)
    message = str(caught.value)
    assert "\n" not in message
    return message


def edited(official: Path, tmp_path: Path, edit: Callable[[dict[str, Any]], None]) -> Path:
    state = torch.load(official, weights_only=True)
    edit(state)
    path = tmp_path / "edited.pkl"
    torch.save(state, path)
    return path


def test_a_pix2pix_file_is_named_as_such(base: str) -> None:
    path = Path(base) / "pix2pix_turbo.pkl"
    message = refusal(path, base)
    assert str(path) in message
    assert "found a pix2pix_turbo checkpoint" in message
    assert "expected one for cyclegan_turbo" in message


@pytest.mark.parametrize("key", ["sd_encoder", "sd_vae_dec", "rank_unet"])
def test_a_missing_key_is_named(official: Path, base: str, tmp_path: Path, key: str) -> None:
    message = refusal(edited(official, tmp_path, lambda state: state.pop(key)), base)
    assert "edited.pkl" in message
    assert f"{key} missing" in message


def test_half_an_adapter(official: Path, base: str, tmp_path: Path) -> None:
    path = edited(official, tmp_path, lambda state: state["sd_encoder"].pop("conv_in.lora_B.weight"))
    assert "LoRA weights missing for conv_in" in refusal(path, base)


def test_a_listed_module_without_adapter(official: Path, base: str, tmp_path: Path) -> None:
    def edit(state: dict[str, Any]) -> None:
        state["sd_other"] = {name: value for name, value in state["sd_other"].items() if "proj_in" not in name}

    assert "LoRA weights missing for mid_block.attentions.0.proj_in" in refusal(edited(official, tmp_path, edit), base)


def test_a_missing_vae_tensor(official: Path, base: str, tmp_path: Path) -> None:
    def edit(state: dict[str, Any]) -> None:
        for key in ("sd_vae_enc", "sd_vae_dec"):
            state[key] = {n: v for n, v in state[key].items() if n != "vae.encoder.conv_out.base_layer.bias"}

    assert "'encoder.conv_out.bias' (8,) missing" in refusal(edited(official, tmp_path, edit), base)


@pytest.mark.parametrize("key", ["rank_unet", "rank_vae"])
def test_another_rank_than_stated(official: Path, base: str, tmp_path: Path, key: str) -> None:
    path = edited(official, tmp_path, lambda state: state.update({key: 7}))
    message = refusal(path, base)
    assert "LoRA rank 4" in message
    assert "expected 7" in message


def test_half_precision_files_load(official: Path, base: str, tmp_path: Path) -> None:
    def edit(state: dict[str, Any]) -> None:
        for key, value in state.items():
            if isinstance(value, dict):
                state[key] = {name: tensor.half() for name, tensor in value.items()}

    path = edited(official, tmp_path, edit)
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    outputs = []
    for weights in (official, path):
        method = load(weights, base, image_prep="no_resize")
        outputs.append(method.translate(methods.Batch(method.prepare(Inputs("k", image))[None], seeds=[1])))
    assert (outputs[0] - outputs[1]).norm() / outputs[0].norm() < 0.02


def test_code_in_a_pickle_is_refused_unrun(base: str, tmp_path: Path) -> None:
    witness = tmp_path / "witness"

    class Payload:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.system, (f"touch {witness}",)

    zipped, bare = tmp_path / "zipped.pkl", tmp_path / "bare.pkl"
    torch.save({"rank_unet": Payload()}, zipped)
    bare.write_bytes(pickle.dumps({"rank_unet": Payload()}, protocol=2))
    for path in (zipped, bare):
        message = refusal(path, base)
        assert "refused, it holds code" in message
        assert "system" in message
    assert not witness.exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint at all", b"PK\x03\x04 torn", b"\x80\x02}q\x00"])
def test_what_is_no_checkpoint(base: str, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "junk.pkl"
    path.write_bytes(content)
    assert "expected an official cyclegan_turbo checkpoint" in refusal(path, base)


def test_a_base_model_of_another_shape(official: Path, base: str, tmp_path: Path) -> None:
    other = tmp_path / "base"
    shutil.copytree(base, other)
    config = json.loads((other / "unet" / "config.json").read_text())
    config["block_out_channels"] = [16, 32]
    (other / "unet" / "config.json").write_text(json.dumps(config))
    from methods.turbo.generator import build_unet

    save_file(build_unet(config).state_dict(), other / "unet" / "diffusion_pytorch_model.safetensors")
    message = refusal(official, other)
    assert "does not fit the base model" in message
    assert "the base model has" in message


@pytest.mark.parametrize("part", ["unet", "vae", "scheduler", "text_encoder"])
def test_an_incomplete_base_model(official: Path, base: str, tmp_path: Path, part: str) -> None:
    other = tmp_path / "base"
    shutil.copytree(base, other)
    shutil.rmtree(other / part)
    message = refusal(official, other)
    assert str(other) in message
    assert part in message


def test_another_noise_schedule(official: Path, base: str, tmp_path: Path) -> None:
    other = tmp_path / "base"
    shutil.copytree(base, other)
    path = other / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "prediction_type": "v_prediction"}))
    assert "expected 'epsilon'" in refusal(official, other)


def test_an_official_file_needs_a_caption(official: Path, base: str) -> None:
    assert "set method.params.caption" in refusal(official, base, caption=None)


def test_no_weights_named() -> None:
    with pytest.raises(InputError, match="street_day_to_night"):
        methods.load("cyclegan_turbo")


def test_safetensors_of_somebody_else(base: str) -> None:
    path = Path(base) / "unet" / "diffusion_pytorch_model.safetensors"
    assert "not a turbo file of ours" in refusal(path, base)
    assert load_file(path)


@pytest.mark.parametrize("name", ["resize_500", "resize_512x100", "shrink", "resized_crop_0", "resize_99999"])
def test_unknown_image_prep(official: Path, base: str, name: str) -> None:
    with pytest.raises(InputError, match="resized_crop_N"):
        load(official, base, image_prep=name)


def test_pictures_that_do_not_fit(official: Path, base: str) -> None:
    exact = load(official, base, image_prep="no_resize")
    with pytest.raises(BadSample) as caught:
        exact.prepare(Inputs("k", np.zeros((60, 85, 3), np.uint8)))
    assert caught.value.reason == "size_not_multiple_of_8"
    assert "85x60" in str(caught.value)
    floor = load(official, base, image_prep="multiple_of_8")
    assert floor.prepare(Inputs("k", np.zeros((60, 85, 3), np.uint8))).shape == (3, 56, 80)
    with pytest.raises(BadSample) as caught:
        floor.prepare(Inputs("k", np.zeros((7, 85, 3), np.uint8)))
    assert caught.value.reason == "too_small"
    with pytest.raises(BadSample, match="needs an image"):
        floor.prepare(Inputs("k", None))
