"""The recorded tensors of the official code."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import methods
from methods.base import Batch, Inputs, to_uint8
from methods.nn.attention_capture import cross_attention_layers
from methods.nn.ddim import sampling_plan
from methods.nn.noise_schedule import configured_alphas
from methods.nn.stable_diffusion import StableDiffusion
from methods.pix2pix_zero.directions import load_concept, mean_embedding
from methods.pix2pix_zero.edit import EditStep, edit
from methods.pix2pix_zero.inversion import inversion_plan, invert
from methods.pix2pix_zero.regularise import Regularisation, autocorrelation_gradient, divergence_gradient, regularise
from tests.support.golden_case import GoldenCase


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


def both_passes(model: StableDiffusion, case: GoldenCase) -> list[EditStep]:
    about = case.about
    negative = None if about["negative_prompt"] == about["prompt"] else model.text.embed([about["negative_prompt"]])
    return list(
        edit(
            model,
            case.inputs["x_in"],
            model.text.embed([about["prompt"]]),
            negative,
            case.inputs["edit_dir"],
            sampling_plan(model.scheduler_config, about["num_ddim_steps"]),
            cross_attention_layers(model.unet),
            about["guidance_amount"],
            about["guidance_scale"],
        )
    )


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
        off = to_uint8(model.decode(latents)).astype(int)[0] - case.expected[name].numpy().astype(int)
        # the release rounds and the pipeline's pictures are truncated: half of all values are one level lower
        assert abs(off).max() <= 1
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
    off = to_uint8(output).astype(int)[0] - case.expected["image_edit_u8"].numpy().astype(int)
    assert abs(off).max() <= 1


def test_official_embeddings_give_the_recorded_direction(cases: Path, model: StableDiffusion) -> None:
    files = cases / "e2e" / "official_files" / "embeddings"
    found = load_concept(str(files / "dog.pt"), model.text) - load_concept(str(files / "cat.pt"), model.text)
    wanted = GoldenCase(cases / "direction").expected["direction"]
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)
