"""Wrong input of the method `diffusers`: one line from `plan` and `run`, before anything is translated."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file

from methods.errors import InputError
from pipeline.job import prepare
from pipeline.run.driver import run_job
from tests.methods.diffusers.conftest import edited, picture
from tests.support.datasets import encoded
from tests.support.jobs import data_rows, index_rows, job

Models = Callable[[str], Path]


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Two pictures with captions, a column ``time`` and a mask ``seg``; the third has no caption."""
    mask = encoded(picture(5)[:, :, 0] // 100 * 100, "PNG")
    rows = [
        {"key": f"k{n}", "image": encoded(picture(n), "PNG"), "caption": caption, "time": "night", "seg": mask}
        for n, caption in enumerate(["a street", "a square", None])
    ]
    (tmp_path / "in").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "in" / "part.parquet")
    return tmp_path / "in"


def spec_of(source: Path, weights: Path, **params: Any) -> Any:
    values = {"steps": 2, "strength": 0.5, **params}
    params = {name: value for name, value in values.items() if value is not None}
    out = source.parent / "out"
    return job(source, out, method__name="diffusers", method__weights=str(weights), method__params=params)


def message(source: Path, weights: Path, **params: Any) -> str:
    """What ``prepare``, which `plan` and `run` begin with, says; one line."""
    with pytest.raises(InputError) as caught:
        prepare(spec_of(source, weights, **params))
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_job_on_captions_columns_and_a_mask(source: Path, models: Models) -> None:
    spec = spec_of(source, models("sd"), task="inpaint", mask="seg", prompt="{caption}, at {time}", strength=1.0)
    run_job(spec, local=True)
    rows = {row["key"]: row for row in index_rows(source.parent / "out")}
    assert [rows[f"k{n}"]["status"] for n in range(3)] == ["ok", "ok", "rejected"]
    assert rows["k2"]["error"] == "no_caption"
    found = data_rows(source.parent / "out")
    assert {row["width"] for row in rows.values() if row["status"] == "ok"} == {48}
    assert found["k0/0"]["image"] != found["k1/0"]["image"]


@pytest.mark.parametrize("command", ["plan", "run"])
def test_the_commands_say_it_before_the_work(source: Path, models: Models, tmp_path: Path, command: str) -> None:
    spec = spec_of(source, models("sd"), prompt="{captoin}, at night")
    path = tmp_path / "job.yaml"
    path.write_text(json.dumps(spec.as_tree()))
    words = [sys.executable, "-m", "jobs", command, str(path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "method.params.prompt: names {captoin}, which the source has no column of: did you mean 'caption'?" in line
    assert not (tmp_path / "out" / "data").exists()


def test_places_of_the_prompt(source: Path, models: Models) -> None:
    said = message(source, models("sd"), negative_prompt="{tim}")
    assert "method.params.negative_prompt: names {tim}" in said
    assert "did you mean 'time'?" in said
    assert "single '{'" in message(source, models("sd"), prompt="{caption")
    assert "names no column" in message(source, models("sd"), prompt="{} at night")


def test_a_source_without_captions(source: Path, models: Models) -> None:
    spec = spec_of(source, models("sd"))
    tree = spec.as_tree()
    tree["source"]["caption"] = None
    with pytest.raises(InputError, match=r"names \{caption\}, but the source has no captions"):
        prepare(type(spec).parse(tree))


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({"options": {"etaa": 0.5}}, "StableDiffusionImg2ImgPipeline has no 'etaa': did you mean 'eta'?"),
        ({"strenght": 0.5}, "method 'diffusers' has no parameter 'strenght': did you mean 'strength'?"),
        ({"options": {"prompt": "x"}}, "options.prompt: set for every sample by the method itself"),
        ({"options": {"strength": 0.4}}, "options.strength: already set by method.params.strength"),
        ({"image_guidance_scale": 1.5}, "StableDiffusionImg2ImgPipeline has no 'image_guidance_scale'"),
        ({"pipeline": "StableDiffusionPipeline", "strength": None}, "StableDiffusionPipeline takes no image"),
        ({"pipeline": "StableDifusionImg2ImgPipeline"}, "did you mean 'StableDiffusionImg2ImgPipeline'?"),
        ({"pipeline": "StableDiffusionXLImg2ImgPipeline"}, "text_encoder_2 missing"),
        ({"task": "instruct", "strength": None}, "takes no image: use task image_to_image"),
        ({"steps": 3, "strength": 0.3}, "strength 0.3 of 3 steps is less than one step"),
        ({"task": "inpaint"}, "task inpaint needs mask"),
        ({"task": "inpaint", "mask": "sag"}, "no mask 'sag' (source.masks): did you mean 'seg'?"),
        ({"task": "controlnet"}, "task controlnet needs one"),
        ({"controlnet": "x"}, "controlnet is for task controlnet, not for image_to_image"),
        ({"control": "canny"}, "control is for task controlnet, not for image_to_image"),
        ({"canny": (50, 100)}, "canny is for task controlnet, not for image_to_image"),
        ({"task": "controlnet", "canny": (50, 100)}, "canny holds the thresholds of control: canny, and control is im"),
        ({"scheduler": "EulerDiscrete"}, "did you mean 'EulerDiscreteScheduler'?"),
        ({"scheduler": "FlowMatchEulerDiscreteScheduler"}, "cannot stand in for the model's DDIMScheduler"),
        ({"scheduler": "DPMSolverSDEScheduler"}, "no sample's seed decides"),
        ({"scheduler_options": {"beta_strat": 1}}, "DDIMScheduler has no 'beta_strat': did you mean 'beta_start'?"),
    ],
)
def test_parameters_are_checked_against_the_pipeline(
    source: Path, models: Models, params: dict[str, Any], said: str
) -> None:
    assert said in message(source, models("sd"), **params)


def test_a_folder_of_pickles(source: Path, models: Models, tmp_path: Path) -> None:
    folder = edited(models("sd"), tmp_path / "pickled")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    torch.save({}, folder / "unet" / "diffusion_pytorch_model.bin")
    assert "unet: the weights are a pickle (diffusion_pytorch_model.bin)" in message(source, folder)
    (folder / "unet" / "diffusion_pytorch_model.bin").unlink()
    assert "unet: no full-precision safetensors weights" in message(source, folder)


def test_a_model_in_part(source: Path, models: Models, tmp_path: Path) -> None:
    whole = edited(models("sdxl"), tmp_path / "part")
    shutil.rmtree(whole / "text_encoder_2")
    assert "text_encoder_2 missing, which its model_index.json names" in message(source, whole)
    null = edited(models("sdxl"), tmp_path / "null", text_encoder_2=[None, None])
    assert "text_encoder_2 missing, which StableDiffusionXLImg2ImgPipeline needs" in message(source, null)
    other = edited(models("sdxl"), tmp_path / "other")
    shutil.rmtree(other / "unet")
    shutil.copytree(models("sd") / "unet", other / "unet")
    said = message(source, other)
    assert "the unet reads text of width 32, the model's encoders give: text_encoder 32, text_encoder_2 32" in said


def test_a_folder_that_is_no_model(source: Path, models: Models, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "no model_index.json" in message(source, tmp_path / "empty")
    foreign = edited(models("sd"), tmp_path / "foreign", _class_name=["own", "OwnPipeline"])
    assert "no foreign code is run" in message(source, foreign)
    unknown = edited(models("sd"), tmp_path / "unknown", _class_name="StableDiffusionPipelin")
    assert "the installed diffusers has no 'StableDiffusionPipelin'" in message(source, unknown)


def test_loras_that_are_none_or_for_another_base(source: Path, models: Models, tmp_path: Path) -> None:
    lora = str(models("lora"))
    said = message(source, models("sdxl"), loras=[{"file": lora}])
    assert "made for another base: its text side is 32 wide, the model's 64" in said
    save_file({"conv.weight": torch.zeros(2, 2)}, tmp_path / "plain.safetensors")
    assert "no LoRA in it (first tensor: conv.weight)" in message(
        source, models("sd"), loras=[{"file": str(tmp_path / "plain.safetensors")}]
    )
    name = "transformer.blocks.0.attn.to_q.lora_A.weight"
    save_file({name: torch.zeros(2, 2)}, tmp_path / "flux.safetensors")
    assert "made for a model with a transformer, this one has a unet" in message(
        source, models("sd"), loras=[{"file": str(tmp_path / "flux.safetensors")}]
    )
    torch.save({}, tmp_path / "lora.pt")
    assert "found .pt, expected safetensors" in message(
        source, models("sd"), loras=[{"file": str(tmp_path / "lora.pt")}]
    )
    assert "cannot be" not in message(source, models("sd"), loras=[{"file": str(tmp_path / "nowhere.safetensors")}])


def test_a_lora_whose_widths_fit_but_whose_layers_do_not(models: Models, tmp_path: Path) -> None:
    import methods

    key = "unet.down_blocks.7.attentions.0.transformer_blocks.0.attn1.to_q"
    save_file(
        {f"{key}.lora_A.weight": torch.zeros(2, 8), f"{key}.lora_B.weight": torch.zeros(8, 2)},
        tmp_path / "l.safetensors",
    )
    with pytest.raises(InputError, match=r"LoRA '.*l\.safetensors': "):
        methods.load("diffusers", weights=str(models("sd")), loras=[{"file": str(tmp_path / "l.safetensors")}])


def test_offload_needs_a_gpu(models: Models) -> None:
    import methods

    with pytest.raises(InputError, match="offload: model needs a GPU"):
        methods.load("diffusers", weights=str(models("sd")), offload="model")
