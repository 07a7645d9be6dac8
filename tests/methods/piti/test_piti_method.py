"""PITI as a method: golden run through `translate`, batches, and what it refuses to load."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

import methods
from methods.base import Batch, Inputs
from methods.errors import BadSample, InputError
from methods.piti.config import CHANNELS, OFFICIAL_BASE, PITIConfig
from methods.piti.loading import check_kind, load_stage, save_native
from methods.piti.method import PITI
from methods.piti.networks import PITIModel

from .conftest import GOLDEN, TINY_BASE, TINY_UPSAMPLER, Case, relative

WEIGHTS = GOLDEN / "weights"
# at timestep 999 the cosine schedule makes 2e-2 of a rounding error of 1e-6; strided steps stay clear of it
FEW: dict[str, Any] = {"steps": "ddim4", "upsampler_steps": "ddim2"}


def load(path: Path, **params: Any) -> PITI:
    method = methods.load("piti", weights=str(path), **params)
    assert isinstance(method, PITI)
    return method


def label_map(seed: int) -> np.ndarray:
    ids = np.full((90, 120), 156, np.uint8)
    for box, number in enumerate(np.random.default_rng(seed).integers(0, 182, 4)):
        ids[10 * box : 10 * box + 40, 20 * box : 20 * box + 50] = number
    return ids


def test_a_recorded_run_through_the_method(case: Callable[[str], Case], native: Path) -> None:
    base, upsampled = case("base_sample_8"), case("upsample_8")
    draws = {"base.start": base.inputs["init_noise"], "upsampler.start": upsampled.inputs["init_noise"]}
    for number in range(7):
        draws[f"base.step.{number}"] = base.inputs["step_noise"][number, :1]
        draws[f"upsampler.step.{number}"] = upsampled.inputs["step_noise"][number]
    method = load(native, steps="8", upsampler_steps="8")
    found = method.translate(Batch(base.conditions(), seeds=[0], draws=draws))
    # a rounding error of the base model may move a value by one 8-bit level before the upsampler (4e-4 in the result);
    # without quantisation the result would be 3e-3 off
    assert relative(found, upsampled.expected["sample"]) < 1e-3


def test_a_batch_equals_its_samples_alone(native: Path) -> None:
    method = load(native, **FEW)
    conditions = torch.stack([method.prepare(sample(label_map(seed))) for seed in range(3)])
    seeds = [11, 12, 13]
    together = method.translate(Batch(conditions, seeds))
    assert together.shape == (3, 3, 64, 64)
    assert together.abs().max() <= 1
    alone = torch.cat([method.translate(Batch(conditions[n : n + 1], seeds[n : n + 1])) for n in range(3)])
    # between the models a rounding error may move a pixel by one of 255 levels
    torch.testing.assert_close(together, alone, rtol=0, atol=1.5 / 127.5)
    assert (together - alone).abs().mean() < 1e-4
    assert (method.translate(Batch(conditions[:1], [99])) - together[:1]).abs().max() > 0.1


def sample(stored: np.ndarray, image: np.ndarray | None = None) -> Inputs:
    picture = image if image is not None else np.repeat(stored[..., None], 3, 2)
    return Inputs("street/0001", picture, stored=stored)


def test_bfloat16_stays_near(native: Path) -> None:
    exact, half = (methods.load("piti", weights=str(native), dtype=dtype, **FEW) for dtype in ("float32", "bfloat16"))
    conditions = exact.prepare(sample(label_map(0)))[None]
    difference = half.translate(Batch(conditions, [5])) - exact.translate(Batch(conditions, [5]))
    assert 0 < difference.abs().mean() < 0.05


def test_official_files_load_strictly(tiny_base: PITIModel) -> None:
    model = load_stage(WEIGHTS / "base_mask_tiny.pt", TINY_BASE, "mask")
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, tiny_base.state_dict()[name], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("file", "params", "message"),
    [
        ("upsample_mask_tiny.pt", {}, "found the upsampler, expected a PITI base model for mask"),
        ("base_mask_tiny.pt", {"condition": "sketch"}, "found a model for mask .*conditions .*expected .* for sketch"),
        ("base_mask_tiny.pt", {}, r"resblocks\.2\.attn\.c_qkv\.weight' \(1536, 512\) missing"),
    ],
)
def test_the_wrong_checkpoint_is_named(file: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load(WEIGHTS / file, **params)
    assert file in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"cnn.conv1.weight": torch.zeros(1)}, "found a condition encoder alone"),
        ({"input_blocks.0.0.weight": torch.zeros(1)}, "found a UNet without condition encoder"),
        ({"conv_in.weight": torch.zeros(1)}, "found tensors such as 'conv_in.weight'"),
    ],
)
def test_other_kinds_of_files(tmp_path: Path, tensors: dict[str, torch.Tensor], message: str) -> None:
    path = tmp_path / "other.pt"
    torch.save(tensors, path)
    with pytest.raises(InputError, match=message):
        load(path)


def test_a_base_model_where_the_upsampler_belongs(native: Path) -> None:
    with pytest.raises(InputError, match=r"base_mask_tiny\.pt: found the base, expected a PITI upsampler"):
        load(native, upsampler=str(WEIGHTS / "base_mask_tiny.pt"))


def test_the_upsampler_of_an_official_base_must_be_named() -> None:
    tensors = {
        "encoder.cnn.conv1.weight": torch.zeros(32, 3, 7, 7),
        "decoder.input_blocks.0.0.weight": torch.zeros(1, 3, 3, 3),
    }
    check_kind(tensors, Path("base.pt"), OFFICIAL_BASE.stage, "mask")
    with pytest.raises(InputError, match=r"piti needs weights: set method\.weights"):
        methods.load("piti")


def test_files_of_ours_say_what_they_are(tmp_path: Path, native: Path) -> None:
    with pytest.raises(InputError, match="found a model for mask conditions, expected sketch"):
        load(native, condition="canny")
    foreign = tmp_path / "foreign.safetensors"
    save_file({"a": torch.zeros(1)}, foreign)
    with pytest.raises(InputError, match=r"foreign\.safetensors: found no format entry"):
        load(foreign)
    alone = tmp_path / "base.safetensors"
    tensors = {name: tensor for name, tensor in load_file(native).items() if name.startswith("base.")}
    save_native(alone, PITIConfig(family="mask", base=TINY_BASE), tensors, {"commit": "none"})
    assert load(alone, steps="2").translate(Batch(torch.ones(1, 3, 256, 256), [0])).shape == (1, 3, 16, 16)
    broken = tmp_path / "broken.safetensors"
    del tensors["base.decoder.out.2.bias"]
    save_native(broken, PITIConfig(family="mask", base=TINY_BASE, upsampler=TINY_UPSAMPLER), tensors, {})
    with pytest.raises(InputError, match=r"\(base\): 'decoder\.out\.2\.bias' \(6,\) missing \(1 of 202 tensors\)"):
        load(broken)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"steps": "1001"}, "1001 steps do not fit"),
        ({"upsampler_steps": "fast"}, "expected N, N,N"),
        ({"condition": "photo"}, "method.params.condition"),
        ({"condition": "panoptic"}, "needs the parameter panoptic_json"),
        ({"guidance_scal": 2}, "did you mean 'guidance_scale'"),
        ({"labels": {0: 300}}, "less than or equal to 255"),
    ],
)
def test_wrong_parameters(native: Path, params: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        load(native, **params)
    assert "\n" not in str(caught.value)


def test_conditions_by_kind(native: Path) -> None:
    ids = label_map(1)
    by_coco = load(native).prepare(sample(ids))
    by_table = load(native, condition="bdd100k", labels={int(n): int(n) for n in np.unique(ids)}).prepare(sample(ids))
    torch.testing.assert_close(by_coco, by_table, rtol=0, atol=0)
    assert by_coco.shape == (3, 256, 256)
    rendered = load(native).render(sample(ids))
    torch.testing.assert_close(load(native, condition="colour").prepare(sample(ids, rendered)), by_coco, rtol=0, atol=0)
    with pytest.raises(BadSample, match="not in the table of bdd100k"):
        load(native, condition="bdd100k").prepare(sample(ids))


def test_other_families(tmp_path: Path) -> None:
    depth = np.linspace(500, 9000, 90 * 120).reshape(90, 120).astype(np.uint16)
    photo = np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)
    for kind in ("sketch", "depth", "normals", "depth_normals"):
        path = tmp_path / f"{kind}.safetensors"
        torch.manual_seed(0)
        tensors = {f"base.{k}": v for k, v in PITIModel(TINY_BASE, CHANNELS[kind]).state_dict().items()}
        save_native(path, PITIConfig(family=kind, base=TINY_BASE), tensors, {})
    inputs = replace(sample(depth, photo), columns={"normal.png": photo})
    assert load(tmp_path / "sketch.safetensors", condition="canny").prepare(inputs).shape == (1, 256, 256)
    assert load(tmp_path / "depth.safetensors", condition="depth").prepare(inputs).shape == (3, 256, 256)
    normals = load(tmp_path / "normals.safetensors", condition="normals").prepare(inputs)
    both = load(tmp_path / "depth_normals.safetensors", condition="depth_normals")
    # the first three channels are the normals
    torch.testing.assert_close(both.prepare(inputs)[:3], normals, rtol=0, atol=0)
    with pytest.raises(BadSample, match=r"found nothing as 'normal\.png'"):
        both.prepare(sample(depth, photo))
    assert load(tmp_path / "depth_normals.safetensors", condition="depth_normals", steps="2").translate(
        Batch(both.prepare(inputs)[None], [0])
    ).shape == (1, 3, 16, 16)
