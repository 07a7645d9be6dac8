"""The recorded tensors of the official code."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

import methods
from methods.base import Batch, Inputs, to_uint8
from methods.nn.attention_capture import cross_attention_layers
from methods.nn.ddim import sampling_plan
from methods.nn.noise_schedule import configured_alphas
from methods.nn.stable_diffusion import StableDiffusion
from methods.pix2pix_zero.directions import load_concept, mean_embedding
from methods.pix2pix_zero.edit import Edit, EditStep, edit
from methods.pix2pix_zero.info import INFO
from methods.pix2pix_zero.inversion import inversion_plan, invert
from methods.pix2pix_zero.regularise import Regularisation, autocorrelation_gradient, divergence_gradient, regularise
from tests.support.golden_case import GoldenCase


def check_picture(found: np.ndarray, wanted: np.ndarray) -> None:
    """Rounded as the release rounds: only a value that lies half-way between two levels may fall on the other one."""
    off = found.astype(int) - wanted.astype(int)
    assert abs(off).max() <= 1
    assert (off != 0).mean() < 0.002


@pytest.mark.parametrize("count", [6, 7, 8, 10, 12, 25, 50, 100])
def test_schedules_of_both_stages(cases: Path, model: StableDiffusion, count: int) -> None:
    case = GoldenCase(cases / "schedule")
    alphas = configured_alphas(model.scheduler_config)
    for prefix, time, steps in (
        ("inverse", "inverse_unet_t", inversion_plan(alphas, count)),
        ("forward", "forward_t", sampling_plan(model.scheduler_config, count)),
    ):
        assert [step.timestep for step in steps] == case.expected[f"{time}_{count}"].tolist()
        case.check(torch.tensor([step.alpha_from for step in steps]), f"{prefix}_alpha_from_{count}", 1e-6)
        case.check(torch.tensor([step.alpha_to for step in steps]), f"{prefix}_alpha_to_{count}", 1e-6)


def test_a_direction_from_two_banks(cases: Path, model: StableDiffusion) -> None:
    case = GoldenCase(cases / "direction")
    means = {}
    for side in ("source", "target"):
        sentences = case.about[f"sentences_{side}"]
        assert torch.equal(model.text.padded(sentences), case.inputs[f"ids_{side}"])
        means[side] = mean_embedding(model.text, sentences)
        case.check(means[side], f"mean_{side}")
    case.check(means["target"] - means["source"], "direction")


def test_the_regulariser_alone(cases: Path) -> None:
    case = GoldenCase(cases / "regulariser")
    field, shifts = case.inputs["eps"], case.inputs["rolls"][None].long()
    case.check(autocorrelation_gradient(field, shifts[:, 0, 0])[..., :32, :32], "grad_ac_first_top_left_32")
    case.check(divergence_gradient(field)[..., :8, :8], "kl_grad_of_input")
    case.check(regularise(field, Regularisation(), shifts), "eps_out", 1e-6)


@pytest.mark.parametrize("name", ["inversion", "e2e"])
def test_inversion(cases: Path, model: StableDiffusion, name: str) -> None:
    case = GoldenCase(cases / name)
    image = case.inputs["image_u8"].permute(2, 0, 1)[None].double().div(255).float()
    latents = model.encode((image - 0.5) * 2, case.inputs["vae_noise"])
    case.check(latents, "latents_0")
    caption = model.text.embed([case.about["prompt"]])
    steps = inversion_plan(model.alphas, case.about["num_ddim_steps"])
    assert [step.timestep for step in steps] == case.expected["unet_timesteps"].tolist()
    found = list(invert(model, latents, caption, steps, Regularisation(), case.inputs["rolls"][None].long()))
    case.check(found[-1], "x_inv")
    if name == "inversion":
        case.check(torch.cat(found), "latents")
        case.check(caption, "prompt_embeds")


def test_guidance_in_the_inversion_is_the_formula(model: StableDiffusion) -> None:
    """No official run was made with it: the expectation is the formula of the release's loop, in float64.

    ``e = u + s (c - u)``, then ``z = sqrt(b) (z - sqrt(1 - a) e) / sqrt(a) + sqrt(1 - b) e`` with A[t - 1] and
    A[t + k - 1]; tall latents, two samples.
    """
    steps = inversion_plan(model.alphas, 6)
    z = torch.randn(2, model.latent_channels, 12, 8, generator=torch.Generator().manual_seed(3))
    caption, negative = model.text.embed(["a cat", "a dog on grass"]), model.text.embed(["blurry"]).expand(2, -1, -1)
    off = Regularisation(rounds=0)
    found = list(invert(model, z, caption, steps, off, torch.empty(0), negative, 3.0))
    unet = copy.deepcopy(model.unet).double()
    wanted = z.double()
    offset, stride = int(model.scheduler_config["steps_offset"]), len(model.alphas) // 6
    for step, state in zip(steps, found, strict=True):
        t = step.timestep
        a, b = (model.alphas.double()[place] for place in (t - offset, t - offset + stride))
        with torch.no_grad():
            u, c = (unet(wanted, t, text.double(), return_dict=False)[0] for text in (negative, caption))
        e = u + 3.0 * (c - u)
        wanted = b.sqrt() * (wanted - (1 - a).sqrt() * e) / a.sqrt() + (1 - b).sqrt() * e
        torch.testing.assert_close(state.double(), wanted, rtol=0, atol=2e-5 * float(wanted.abs().max()))
    # the guided noise is what is regularised: with scale 1 the caption's noise, whatever the negative prompt
    shifts = torch.ones(2, len(steps), 5, 5, z.shape[1], 2, dtype=torch.int64)
    plain = list(invert(model, z, caption, steps, Regularisation(), shifts))[-1]
    one = list(invert(model, z, caption, steps, Regularisation(), shifts, negative, 1.0))[-1]
    three = list(invert(model, z, caption, steps, Regularisation(), shifts, negative, 3.0))[-1]
    torch.testing.assert_close(one, plain, rtol=0, atol=1e-4)
    assert (three - plain).abs().max() > 1e-2


def test_guidance_in_the_inversion_is_a_parameter(tiny: str) -> None:
    picture = torch.rand(1, 3, 64, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1
    common = {"source": "cat", "target": "dog", "steps": 3, "caption": "a cat", "regularisation_rounds": 0}
    outputs = {}
    for name, extra in {
        "none": {},
        "negative without guidance": {"inversion_negative_prompt": "blurry"},
        "guided": {"inversion_guidance_scale": 4.0},
        "other negative": {"inversion_guidance_scale": 4.0, "inversion_negative_prompt": "blurry"},
    }.items():
        method = methods.load("pix2pix_zero", weights=tiny, **common, **extra)
        outputs[name] = method.translate(Batch(picture.clone(), seeds=[1]))
    assert torch.equal(outputs["none"], outputs["negative without guidance"])
    assert not torch.allclose(outputs["none"], outputs["guided"], atol=1e-3)
    assert not torch.allclose(outputs["guided"], outputs["other negative"], atol=1e-3)


def both_passes(model: StableDiffusion, case: GoldenCase) -> list[EditStep]:
    about = case.about
    negative = None if about["negative_prompt"] == about["prompt"] else model.text.embed([about["negative_prompt"]])
    chosen = Edit(case.inputs["edit_dir"], about["guidance_amount"], about["guidance_scale"])
    both = edit(
        model,
        case.inputs["x_in"],
        model.text.embed([about["prompt"]]),
        negative,
        [chosen],
        sampling_plan(model.scheduler_config, about["num_ddim_steps"]),
        cross_attention_layers(model.unet),
    )
    return [step for (step,) in both]


@pytest.mark.parametrize("name", ["edit", "synthetic", "e2e"])
def test_both_passes_of_the_edit(cases: Path, model: StableDiffusion, name: str) -> None:
    case = GoldenCase(cases / name)
    steps = both_passes(model, case)
    case.check(torch.cat([step.reference for step in steps]), "pass1_latents")
    case.check(torch.cat([step.latents for step in steps]), "pass2_latents")
    case.check(torch.cat([step.loss for step in steps]), "losses")
    case.check(steps[0].reference_noise, "pass1_eps_first")
    case.check(steps[0].noise, "pass2_eps_first")


def test_gradients_guided_latents_maps_and_pictures(cases: Path, model: StableDiffusion) -> None:
    case = GoldenCase(cases / "edit")
    steps = both_passes(model, case)
    for number in (0, 1):
        case.check(steps[number].gradient[:, 0], f"grad_step{number}")
        case.check(steps[number].guided[:, 0], f"x_guided_step{number}")
    case.check(steps[-1].noise, "pass2_eps_last")
    maps = steps[0].maps
    middle = "mid_block.attentions.0.transformer_blocks.0.attn2"
    # a real image's two halves are one: (1, B, heads, positions, tokens) -> both halves' heads
    case.check(maps[middle].expand(2, -1, -1, -1, -1).flatten(0, 2), f"ref_attn_step0.{middle}")
    for layer, found in maps.items():
        whole = found.expand(2, -1, -1, -1, -1).flatten(0, 2).mean(1)
        case.check(whole, f"ref_attn_step0_mean_over_positions.{layer}")
    assert len(maps) == 7
    for latents, name in ((steps[-1].latents, "image_edit_u8"), (steps[-1].reference, "image_reconstruction_u8")):
        check_picture(to_uint8(model.decode(latents), INFO.rounded)[0], case.expected[name].numpy())
    case.check(model.decode(steps[-1].latents)[0].permute(1, 2, 0) / 2 + 0.5, "image_edit")


def test_from_picture_to_picture_with_the_official_files(cases: Path, tiny: str) -> None:
    case = GoldenCase(cases / "e2e")
    files = cases / "e2e" / "official_files"
    method = methods.load(
        "pix2pix_zero",
        weights=tiny,
        source=str(files / "embeddings" / "cat.pt"),
        target=str(files / "embeddings" / "dog.pt"),
        image_prep="no_resize",
        steps=case.about["num_ddim_steps"],
        guidance_amount=case.about["guidance_amount"],
    )
    caption = (files / "prompt" / "img.txt").read_text().strip()
    x = method.prepare(Inputs("img", case.inputs["image_u8"].numpy(), caption))[None]
    draws = {"latent": case.inputs["vae_noise"], "shifts": case.inputs["rolls"][None]}
    with torch.inference_mode():
        # as the pipeline calls it
        output = method.translate(Batch(x.clone(), seeds=[0], captions=[caption], draws=draws))
    case.check(output[0].permute(1, 2, 0) / 2 + 0.5, "image_edit")
    check_picture(to_uint8(output, INFO.rounded)[0], case.expected["image_edit_u8"].numpy())


def test_official_embeddings_give_the_recorded_direction(cases: Path, model: StableDiffusion) -> None:
    files = cases / "e2e" / "official_files" / "embeddings"
    found = load_concept(str(files / "dog.pt"), model.text) - load_concept(str(files / "cat.pt"), model.text)
    wanted = GoldenCase(cases / "direction").expected["direction"]
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)
