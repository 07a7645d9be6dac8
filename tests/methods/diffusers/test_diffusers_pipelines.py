"""The method `diffusers` gives, picture by picture, what the pipeline gives when it is called by hand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import methods
from methods.base import Batch, Inputs
from methods.diffusers.method import DiffusersPipeline
from methods.sharing import sharing
from tests.methods.diffusers.conftest import library, picture

diffusers = library()

Models = Callable[[str], Path]
MASK = picture(9)[:, :, 0] > 120
TOLERANCE = 1e-4
"""On [-1, 1]. A batch and single calls differ by rounding: 2e-5 was the most seen."""


def inputs(number: int) -> Inputs:
    columns = {"time": "night", "area": MASK.astype(np.uint8), "lines": picture(7)}
    return Inputs(f"k{number}", picture(number), caption=f"a street {number}", columns=columns)


def batch_of(method: DiffusersPipeline, numbers: list[int]) -> Batch:
    samples = [inputs(number) for number in numbers]
    return Batch(
        torch.stack([method.prepare(each) for each in samples]),
        [100 + number for number in numbers],
        [each.key for each in samples],
        [each.caption for each in samples],
        [{"time": "night"} for _ in samples],
    )


def load(folder: Path, **params: Any) -> DiffusersPipeline:
    found = methods.load("diffusers", weights=str(folder), **params)
    assert isinstance(found, DiffusersPipeline)
    return found


def by_hand(method: DiffusersPipeline, kind: str, folder: Path, number: int, **given: Any) -> torch.Tensor:
    """The same picture from diffusers alone."""
    parts = given.pop("parts", {})
    pipe = getattr(diffusers, kind).from_pretrained(str(folder), **parts)
    pipe.set_progress_bar_config(disable=True)
    (generator,) = batch_of(method, [number]).generators("pipeline")
    images = pipe(generator=generator, output_type="pt", **given).images
    return images * 2 - 1


CASES: dict[str, tuple[str, str, dict[str, Any], dict[str, Any]]] = {
    # name: model, class by hand, parameters here, arguments by hand
    "sd": (
        "sd",
        "StableDiffusionImg2ImgPipeline",
        {
            "steps": 4,
            "strength": 0.5,
            "guidance_scale": 5.0,
            "prompt": "{caption}, at {time}",
            "negative_prompt": "day",
        },
        {"num_inference_steps": 4, "strength": 0.5, "guidance_scale": 5.0, "negative_prompt": "day"},
    ),
    "sdxl": (
        "sdxl",
        "StableDiffusionXLImg2ImgPipeline",
        {"steps": 4, "strength": 0.5, "prompt": "{caption}, at {time}", "options": {"guidance_rescale": 0.5}},
        {"num_inference_steps": 4, "strength": 0.5},
    ),
    "instruct": (
        "instruct",
        "StableDiffusionInstructPix2PixPipeline",
        {"task": "instruct", "steps": 3, "prompt": "{caption}, at {time}", "image_guidance_scale": 1.2},
        {"num_inference_steps": 3, "image_guidance_scale": 1.2},
    ),
    "inpaint": (
        "sd",
        "StableDiffusionInpaintPipeline",
        {"task": "inpaint", "mask": "area", "steps": 3, "strength": 1.0, "prompt": "{caption}, at {time}"},
        {"num_inference_steps": 3, "strength": 1.0, "height": 32, "width": 48},
    ),
    "controlnet": (
        "sd",
        "StableDiffusionControlNetPipeline",
        {"task": "controlnet", "control": "lines", "steps": 3, "prompt": "{caption}, at {time}"},
        {"num_inference_steps": 3, "height": 32, "width": 48},
    ),
    "controlnet_from_the_picture": (
        "sd",
        "StableDiffusionControlNetImg2ImgPipeline",
        {"task": "controlnet", "control": "lines", "steps": 4, "strength": 0.5, "prompt": "{caption}, at {time}"},
        {"num_inference_steps": 4, "strength": 0.5, "height": 32, "width": 48},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_pipeline_by_hand_and_any_batch_give_the_same(case: str, models: Models) -> None:
    model, kind, params, arguments = CASES[case]
    by = dict(arguments)
    picture_argument = Image.fromarray(picture(3))
    if case.startswith("controlnet"):
        params = params | {"controlnet": str(models("controlnet"))}
        by["parts"] = {"controlnet": diffusers.ControlNetModel.from_pretrained(str(models("controlnet")))}
        lines = Image.fromarray(picture(7))
        by |= {"image": lines} if case == "controlnet" else {"image": picture_argument, "control_image": lines}
    else:
        by["image"] = picture_argument
    if case == "inpaint":
        by["mask_image"] = Image.fromarray(MASK.astype(np.uint8) * 255)
    if case == "sdxl":
        by["guidance_rescale"] = 0.5
    method = load(models(model), **params)
    assert method.choice.pipeline == kind
    wanted = by_hand(method, kind, models(model), 3, prompt="a street 3, at night", **by)
    three = method.translate(batch_of(method, [2, 3, 4]))
    assert three.shape == (3, 3, 32, 48)
    torch.testing.assert_close(method.translate(batch_of(method, [3])), wanted, rtol=0, atol=TOLERANCE)
    torch.testing.assert_close(three[1:2], wanted, rtol=0, atol=TOLERANCE)
    # another sample is another picture, and the tiny networks do change what they are given
    assert (three[0] - three[1]).abs().mean() > 0.01
    source = torch.from_numpy(picture(3)).permute(2, 0, 1) / 127.5 - 1
    assert (wanted[0] - source).abs().mean() > 0.05


def test_pipelines_that_read_a_list_as_references_are_called_one_by_one(models: Models) -> None:
    method = load(models("sd"), steps=2, strength=0.5)
    together = method.translate(batch_of(method, [1, 2, 3]))
    method.batched = False
    torch.testing.assert_close(method.translate(batch_of(method, [1, 2, 3])), together, rtol=0, atol=TOLERANCE)


def test_prompts_and_steps_beside_each_other_share_the_pipeline_and_not_what_they_draw(models: Models) -> None:
    settings = [
        {"prompt": "night", "steps": 3, "strength": 0.7},
        {"prompt": "fog", "negative_prompt": "sun", "steps": 2, "strength": 0.5, "guidance_scale": 3.0},
    ]
    scheduler = {"scheduler": "EulerAncestralDiscreteScheduler"}
    with sharing():
        beside = [load(models("sd"), **scheduler, **each) for each in settings]
        other = load(models("sd"), steps=2, strength=0.5)
    assert beside[0].pipeline is beside[1].pipeline
    assert other.pipeline is not beside[0].pipeline
    found = [[method.translate(batch_of(method, [number])) for method in beside] for number in (1, 2)]
    for place, each in enumerate(settings):
        alone = load(models("sd"), **scheduler, **each)
        for row, number in enumerate((1, 2)):
            assert torch.equal(found[row][place], alone.translate(batch_of(alone, [number])))


def test_a_lora_is_merged_with_its_scale(models: Models) -> None:
    lora = models("lora")
    plain = load(models("sd"), steps=2, strength=0.5)
    none = load(models("sd"), steps=2, strength=0.5, loras=[{"file": str(lora), "scale": 0.0}])
    half = load(models("sd"), steps=2, strength=0.5, loras=[{"file": str(lora.parent), "scale": 0.5}])
    found = {name: each.translate(batch_of(each, [1])) for name, each in (("p", plain), ("0", none), ("h", half))}
    torch.testing.assert_close(found["0"], found["p"], rtol=0, atol=1e-6)
    pipe = diffusers.StableDiffusionImg2ImgPipeline.from_pretrained(str(models("sd")))
    pipe.load_lora_weights(str(lora.parent), adapter_name="own")
    pipe.set_adapters(["own"], [0.5])
    pipe.set_progress_bar_config(disable=True)
    (generator,) = batch_of(half, [1]).generators("pipeline")
    wanted = pipe(
        prompt="a street 1",
        image=Image.fromarray(picture(1)),
        strength=0.5,
        num_inference_steps=2,
        generator=generator,
        output_type="pt",
    ).images
    torch.testing.assert_close(found["h"], wanted * 2 - 1, rtol=0, atol=TOLERANCE)
    assert (found["h"] - found["p"]).abs().max() > 10 * TOLERANCE


def test_a_scheduler_by_name_with_its_settings(models: Models) -> None:
    method = load(
        models("sd"),
        steps=4,
        strength=0.5,
        scheduler="DPMSolverMultistepScheduler",
        scheduler_options={"use_karras_sigmas": True},
    )
    scheduler = method.pipeline.scheduler
    assert type(scheduler).__name__ == "DPMSolverMultistepScheduler"
    # the model's own schedule stays
    assert (scheduler.config.use_karras_sigmas, scheduler.config.beta_schedule) == (True, "scaled_linear")
    assert torch.isfinite(method.translate(batch_of(method, [1]))).all()


def test_a_model_without_an_index_is_stable_diffusion(base: str) -> None:
    method = load(Path(base), steps=2, strength=0.5)
    assert method.choice.pipeline == "StableDiffusionImg2ImgPipeline"
    assert method.translate(batch_of(method, [1])).shape == (1, 3, 32, 48)


def test_a_model_packed_into_one_file_is_the_folder_it_was(models: Models, tmp_path: Path) -> None:
    from methods.nn.model_pack import pack

    packed = pack(models("sd"), tmp_path / "model.safetensors", {})
    ours, theirs = (load(place, steps=2, strength=0.5) for place in (packed, models("sd")))
    assert torch.equal(ours.translate(batch_of(ours, [1])), theirs.translate(batch_of(theirs, [1])))


def test_edges_of_the_picture_steer_a_controlnet(models: Models) -> None:
    net = str(models("controlnet"))
    method = load(models("sd"), task="controlnet", controlnet=net, control="canny", canny=(50, 100), steps=2)
    prepared = method.prepare(inputs(1))
    assert prepared.shape == (6, 32, 48)
    assert set(prepared[3:].unique().tolist()) <= {0.0, 1.0}
    strong, none = (
        load(models("sd"), task="controlnet", controlnet=net, steps=2, control_scale=scale) for scale in (1.0, 0.0)
    )
    difference = strong.translate(batch_of(strong, [1])) - none.translate(batch_of(none, [1]))
    assert difference.abs().max() > 0.01


def test_bfloat16_comes_near(models: Models) -> None:
    full = load(models("sd"), steps=2, strength=0.5)
    half = methods.load("diffusers", weights=str(models("sd")), dtype="bfloat16", steps=2, strength=0.5)
    assert isinstance(half, DiffusersPipeline)
    assert half.pipeline.unet.dtype == torch.bfloat16
    found = half.translate(batch_of(half, [1]))
    assert found.dtype == torch.float32
    assert (found - full.translate(batch_of(full, [1]))).abs().mean() < 0.05
