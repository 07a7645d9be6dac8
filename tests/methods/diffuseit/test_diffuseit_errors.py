"""Wrong parameters and wrong files: one line that names what was found and what was expected."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import methods
from methods import BadSample, InputError, Inputs
from methods.nn.ddpm_unet import DDPMConfig, DDPMUNet
from methods.nn.tensor_file import read_tensors


def refusal(call: Any, *arguments: Any, **named: Any) -> str:
    with pytest.raises(InputError) as caught:
        call(*arguments, **named)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_neither_text_nor_picture(load) -> None:
    assert "neither prompt nor target_image is set" in refusal(load, "image_run", target_image=None)


def test_both_text_and_picture(load) -> None:
    assert "both prompt and target_image are set" in refusal(load, "image_run", prompt="night", source="day")


@pytest.mark.parametrize("changes", [{"source": None}, {"source": " "}, {"prompt": ""}, {"prompt": " "}])
def test_text_without_its_other_half(load, changes: dict[str, Any]) -> None:
    assert "needs prompt and source" in refusal(load, "text_run", **changes)


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("image_run", {"source": "day"}, "source belongs to prompt"),
        ("text_run", {"clip_models": []}, "clip_models is empty"),
        ("text_run", {"use_colormatch": True}, "use_colormatch needs a target_image"),
        ("image_run", {"regularize_content": True}, "they need a prompt"),
        ("image_run", {"face_weights": "x.pth"}, "face_weights needs image_size 256"),
        ("image_run", {"timestep_respacing": "often"}, "timestep_respacing: respacing 'often'"),
        ("image_run", {"skip_timesteps": 11}, "skip_timesteps is 11, expected at most 10 of 12 steps"),
        ("image_run", {"lambda_trg": -1}, "lambda_trg"),
        ("image_run", {"lamda_trg": 1}, "did you mean 'lambda_trg'"),
        ("image_run", {"image_size": 49}, "expected a multiple of 2"),
    ],
)
def test_parameters_that_do_not_go(load, name: str, changes: dict[str, Any], said: str) -> None:
    assert said in refusal(load, name, **changes)


@pytest.mark.parametrize("content", [b"", b"no picture", b"\x89PNG\r\n\x1a\n torn"])
def test_a_target_that_cannot_be_read(load, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "target.png"
    path.write_bytes(content)
    message = refusal(load, "image_run", target_image=str(path))
    assert str(path) in message
    assert "no picture that can be read" in message


def test_a_target_that_is_not_there(load, tmp_path: Path) -> None:
    assert "no such file" in refusal(load, "image_run", target_image=str(tmp_path / "none.png"))


def test_a_prompt_that_is_too_long(load) -> None:
    assert "expected at most 77" in refusal(load, "text_run", prompt="zebra " * 80)


def test_no_unet_named() -> None:
    assert "set method.weights" in refusal(methods.load, "diffuseit", prompt="night", source="day")


def test_a_unet_without_a_learned_variance(load, tmp_path: Path) -> None:
    unet = DDPMUNet(DDPMConfig(channels=32, channel_mult=(1, 1), num_res_blocks=1, attention_levels=()))
    torch.save(unet.state_dict(), tmp_path / "ddpm.pt")
    assert "3 channels out, expected 6" in refusal(load, "image_run", unet=tmp_path / "ddpm.pt")


def test_a_unet_with_a_tensor_missing(load, golden: Path, tmp_path: Path) -> None:
    state = read_tensors(golden / "weights" / "unet.pt")
    state.pop("middle_block.1.qkv.bias")
    torch.save(state, tmp_path / "short.pt")
    assert "'middle_block.1.qkv.bias' (96,) missing" in refusal(load, "image_run", unet=tmp_path / "short.pt")


def test_judges_of_another_kind(load, golden: Path, tmp_path: Path) -> None:
    unet = str(golden / "weights" / "unet.pt")
    assert "expected a DINO ViT" in refusal(load, "image_run", dino=unet)
    assert "expected a CLIP by OpenAI" in refusal(load, "text_run", clip_models=[unet])
    assert "expected 3 in and a multiple of 64 wide" in refusal(load, "image_run", dino_heads=None)
    assert "found no model.safetensors" in refusal(load, "image_run", dino=str(tmp_path))


def test_a_sample_without_a_picture(load) -> None:
    with pytest.raises(BadSample, match="needs an image"):
        load("image_run").prepare(Inputs("k", None))


def test_prepare_resizes_without_keeping_the_aspect_ratio(load) -> None:
    white = load("image_run").prepare(Inputs("k", np.full((9, 31, 3), 255, np.uint8)))
    assert torch.equal(white, torch.ones(3, 48, 48))


def test_a_class_that_the_unet_does_not_have(load) -> None:
    message = refusal(load, "image_run", class_label=3)
    assert "method.params.class_label is 3, but the UNet of" in message
    assert "has no classes" in message
