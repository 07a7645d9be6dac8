"""Options that no official run was recorded with: held to their formulas, worked out here in float64."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.schedulers.scheduling_ddpm import DDPMScheduler

from methods.nn.ddim import ancestral_plan, ddim_step, ddpm_step
from methods.nn.stable_diffusion import StableDiffusion
from methods.self_guidance import notebook, properties
from methods.self_guidance.energy import Observation, Term, energy
from methods.self_guidance.params import SelfGuidanceParams
from methods.self_guidance.sampling import Noised, Prompt, Watch, guided_sampling
from methods.self_guidance.tokens import bind, columns
from methods.self_guidance.warp import warped
from methods.self_guidance.warp_spec import Warp


def random(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def bilinear(plane: np.ndarray, x: float, y: float) -> float:
    """The value at a place between positions; 0 outside."""
    left, top = math.floor(x), math.floor(y)
    total = 0.0
    for row in (top, top + 1):
        for column in (left, left + 1):
            if 0 <= row < plane.shape[0] and 0 <= column < plane.shape[1]:
                total += plane[row, column] * (1 - abs(x - column)) * (1 - abs(y - row))
    return total


WARP = Warp(0.15, -0.1, 1.4, 0.7, 30.0)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (6, 10), (11, 5)])
def test_a_warped_mask_pixel_by_pixel(height: int, width: int) -> None:
    masks = random(2, height, width, 3).double()
    centre = properties.centroid(masks)
    found = warped(masks.float(), centre.float(), WARP).double().numpy()
    angle = math.radians(WARP.rotation)
    for b, k in ((0, 0), (1, 2)):
        cx, cy = float(centre[b, k, 0]) * (width - 1), float(centre[b, k, 1]) * (height - 1)
        for row in range(height):
            for column in range(width):
                u, v = column - cx - WARP.dx * width, row - cy - WARP.dy * height
                x = (math.cos(angle) * u + math.sin(angle) * v) / WARP.sx + cx
                y = (-math.sin(angle) * u + math.cos(angle) * v) / WARP.sy + cy
                assert found[b, row, column, k] == pytest.approx(bilinear(masks[b, ..., k].numpy(), x, y), abs=2e-5)


def test_a_quarter_turn_and_a_shift_move_a_mask_where_one_expects() -> None:
    mask = torch.zeros(1, 9, 9, 1)
    mask[0, 4, 4:8, 0] = 1.0
    turned = warped(mask, torch.tensor([[[0.5, 0.5]]]), Warp(rotation=90.0))[0, ..., 0]
    # clockwise: what lay to the right of the centre lies below it
    torch.testing.assert_close(turned[4:8, 4], torch.ones(4))
    assert float(turned.sum()) == pytest.approx(4.0, abs=1e-4)
    shifted = warped(mask, torch.tensor([[[0.5, 0.5]]]), Warp(dx=1 / 9, dy=-2 / 9))[0, ..., 0]
    torch.testing.assert_close(shifted[2, 5:9], torch.ones(4))


def maps(seed: int, tokens: int = 4) -> Observation:
    planes = tuple(torch.softmax(6 * random(2, 6, 10, tokens, seed=seed + n), dim=-1) for n in (0, 1))
    return Observation(planes, random(2, 5, 6, 10, seed=seed + 9))


@pytest.mark.parametrize("formulas", ["paper", "notebook"])
@pytest.mark.parametrize("distance", ["l1", "l2"])
def test_raw_maps_are_compared_as_they_are(formulas: Any, distance: Any) -> None:
    seen, source = maps(1), maps(5)
    size = energy(Term("size", (1, 2), factor=1.2, raw=True, distance=distance), seen, source, formulas)
    each = []
    for ours, theirs in zip(seen.maps, source.maps, strict=True):
        d = ours[..., [1, 2]].double().mean((1, 2)) - 1.2 * theirs[..., [1, 2]].double().mean((1, 2))
        each.append((d.abs() if distance == "l1" else 0.5 * d**2).mean(1))
    torch.testing.assert_close(size.double(), torch.stack(each).mean(0), rtol=1e-5, atol=1e-8)
    if formulas == "paper":
        shape = energy(Term("shape", (1, 2), raw=True, distance=distance), seen, source, formulas)
        each = []
        for ours, theirs in zip(seen.maps, source.maps, strict=True):
            d = ours[..., [1, 2]].double() - theirs[..., [1, 2]].double()
            each.append((d.abs() if distance == "l1" else 0.5 * d**2).flatten(1).mean(1))
        torch.testing.assert_close(shape.double(), torch.stack(each).mean(0), rtol=1e-5, atol=1e-8)


def test_the_notebook_warps_raw_maps_about_the_observed_centre_of_the_first_token() -> None:
    seen, source = (Observation((each.maps[0][:1, :, :6],), None) for each in (maps(1), maps(5)))
    ours, theirs = (each.maps[0][..., [2, 3]].double() for each in (seen, source))
    found = energy(Term("shape", (2, 3), warp=WARP, raw=True), seen, source, "notebook")
    side = 6
    cx, cy = (float(each) * side for each in notebook.centroid(ours)[0, 0])
    angle = math.radians(WARP.rotation)
    total = 0.0
    for row in range(side):
        for column in range(side):
            u, v = column - cx, row - cy
            x = (math.cos(angle) * u + math.sin(angle) * v) / WARP.sx - WARP.dx * WARP.sx * side + cx
            y = (-math.sin(angle) * u + math.cos(angle) * v) / WARP.sy - WARP.dy * WARP.sy * side + cy
            # grid ends on outer edges: position p of side - 1 becomes (p / (side - 1)) * side - 1/2
            x, y = x / (side - 1) * side - 0.5, y / (side - 1) * side - 0.5
            for k in (0, 1):
                total += abs(float(ours[0, row, column, k]) - bilinear(theirs[0, ..., k].numpy(), x, y))
    assert found.item() == pytest.approx(total / (side * side * 2), abs=1e-6)


def test_distance_and_threshold_of_a_term() -> None:
    seen, source = maps(1), maps(5)
    plain = Term("shape", (1,))
    assert torch.equal(
        energy(plain, seen, source, distance="l2"), energy(Term("shape", (1,), distance="l2"), seen, source)
    )
    higher = energy(Term("shape", (1,), threshold=0.7), seen, source)
    wanted = []
    for ours, theirs in zip(seen.maps, source.maps, strict=True):

        def soft(planes: torch.Tensor) -> torch.Tensor:
            def norm(a: torch.Tensor) -> torch.Tensor:
                low, high = a.amin((1, 2), keepdim=True), a.amax((1, 2), keepdim=True)
                return (a - low) / (high - low)

            return norm(torch.sigmoid(10 * (norm(planes.double()) - 0.7)))

        wanted.append((soft(ours[..., [1]]) - soft(theirs[..., [1]])).abs().flatten(1).mean(1))
    torch.testing.assert_close(higher.double(), torch.stack(wanted).mean(0), rtol=1e-5, atol=1e-7)


def test_all_words_are_the_tokens_of_the_caption_without_padding(model: StableDiffusion) -> None:
    caption = "a cat on a table"
    count = len(model.text.ids(caption))
    cat = columns(model.text, caption, ["cat"])
    assert columns(model.text, caption, "all") == tuple(range(count))
    assert columns(model.text, caption, "all", ["cat"]) == tuple(n for n in range(count) if n not in cat)
    assert len(columns(model.text, "cat and dog " * 40, "all")) == 77
    change = {"edit": "move", "words": ["cat"], "by": [0.2, 0.0], "keep": "all"}
    moved, shape, looks = (
        bind(model.text, term, caption, {})
        for term in SelfGuidanceParams(edits=[change]).term_specs()  # type: ignore[list-item]
    )
    assert (moved.columns, shape.columns) == (cat, columns(model.text, caption, "all", ["cat"]))
    assert (shape.kind, looks.kind, looks.columns) == ("shape", "appearance", tuple(range(count)))
    borrow = {"edit": "layout", "words": "all", "reference": "other"}
    pictures = {"other": {"image": "x.png", "caption": "a dog"}}
    (term,) = SelfGuidanceParams(edits=[borrow], references=pictures).term_specs()  # type: ignore[list-item, arg-type]
    there = bind(model.text, term, caption, {"other": "a dog"}).source_columns
    assert there == tuple(range(len(model.text.ids("a dog"))))


def test_the_notebook_without_words_token_by_token_in_float64() -> None:
    """Each row of a map is normalised with all tokens together, so that they do not stand by themselves."""
    seen, source = maps(1, tokens=5), maps(5, tokens=5)
    every = (0, 1, 2, 3, 4)
    found = {
        "centroid": energy(Term("centroid", every, by=(0.1, -0.2)), seen, source, "notebook"),
        "size": energy(Term("size", every, by=(0.1,)), seen, source, "notebook"),
        "appearance": energy(Term("appearance", every), seen, source, "notebook"),
    }

    def norm(a: np.ndarray) -> np.ndarray:
        out = np.empty_like(a)
        for b, row in np.ndindex(a.shape[:2]):
            low, high = a[b, row].min(), a[b, row].max()
            out[b, row] = (a[b, row] - low) / (high - low + 1e-4)
        return out

    def centre(plane: np.ndarray) -> np.ndarray:
        across, down = (plane.sum(axis) / (plane.sum() + 1e-4) for axis in (0, 1))
        return np.array([(each * np.linspace(0, 1, len(each))).sum() for each in (across, down)])

    def looks(observed: Observation) -> np.ndarray:
        assert observed.features is not None
        mask = (norm(observed.maps[-1].double().numpy()) > 0.5).astype(np.float64)
        features = observed.features.double().numpy()
        out = np.zeros((2, 5, features.shape[1]))
        for b, k, c in np.ndindex(out.shape):
            out[b, k, c] = (mask[b, ..., k] * features[b, c]).sum() / (mask[b, ..., k].sum() + 1e-4)
        return out

    wanted = {name: np.zeros(2) for name in found}
    for ours, theirs in zip(seen.maps, source.maps, strict=True):
        a, b = ours.double().numpy(), theirs.double().numpy()
        soft = [norm(1 / (1 + np.exp(-10 * (norm(each) - 0.5)))) for each in (a, b)]
        for sample in range(2):
            apart = [centre(a[sample, ..., k]) - centre(b[sample, ..., k]) - [0.1, -0.2] for k in every]
            wanted["centroid"][sample] += np.abs(apart).mean() / 2
            sizes = [soft[0][sample, ..., k].mean() - soft[1][sample, ..., k].mean() - 0.1 for k in every]
            wanted["size"][sample] += np.abs(sizes).mean() / 2
    wanted["appearance"] = np.abs(looks(seen) - looks(source)).mean((1, 2))
    for name, value in found.items():
        np.testing.assert_allclose(value.numpy(), wanted[name], rtol=2e-5, atol=1e-6, err_msg=name)
    # a token more changes what the notebook says of the others
    fewer = energy(Term("size", (1, 2, 3), by=(0.1,)), seen, source, "notebook")
    alone = [energy(Term("size", (k,), by=(0.1,)), seen, source, "notebook") for k in (1, 2, 3)]
    assert not torch.allclose(fewer, torch.stack(alone).mean(0), rtol=1e-3)


def test_the_paper_without_words_is_the_mean_over_tokens() -> None:
    seen, source = maps(1, tokens=5), maps(5, tokens=5)
    for term in (Term("centroid", (0,), by=(0.1, 0.0)), Term("size", (0,), factor=1.5), Term("shape", (0,))):
        alone = [energy(replace(term, columns=(k,)), seen, source) for k in range(5)]
        together = energy(replace(term, columns=(0, 1, 2, 3, 4)), seen, source)
        torch.testing.assert_close(together, torch.stack(alone).mean(0))


def test_the_ancestral_step_is_that_of_the_library(model: StableDiffusion) -> None:
    """diffusers' DDPMScheduler with the same noise, at every step of ten."""
    config = {**model.scheduler_config, "clip_sample": False, "variance_type": "fixed_small"}
    known = (
        "num_train_timesteps",
        "beta_start",
        "beta_end",
        "beta_schedule",
        "steps_offset",
        "clip_sample",
        "variance_type",
    )
    scheduler = DDPMScheduler(**{name: config[name] for name in known if name in config}, timestep_spacing="leading")
    scheduler.set_timesteps(10)
    steps = ancestral_plan(model.scheduler_config, 10)
    assert [step.timestep for step in steps] == scheduler.timesteps.tolist()
    x = torch.randn(2, 4, 6, 5, generator=torch.Generator().manual_seed(1))
    for number, step in enumerate(steps):
        noise = torch.randn(x.shape, generator=torch.Generator().manual_seed(50 + number))
        drawn = torch.randn(x.shape, generator=torch.Generator().manual_seed(number))
        generator = torch.Generator().manual_seed(number)
        wanted = scheduler.step(noise, step.timestep, x, generator=generator).prev_sample  # type: ignore[union-attr]
        found = ddpm_step(x, noise, step.alpha_from, step.alpha_to, drawn)
        torch.testing.assert_close(found, wanted, rtol=0, atol=2e-4 * float(wanted.abs().max()))
        x = wanted
    assert torch.equal(ddpm_step(x, noise, 0.9, 1.0, drawn), ddim_step(x, noise, 0.9, 1.0))


TERMS = [[Term("centroid", (2,), 2.0, by=(0.3, 0.0)), Term("shape", (5,)), Term("appearance", (2, 5), 0.3)]]


def run(model: StableDiffusion, **options: Any) -> list[Any]:
    layers = ("mid_block.attentions.0.transformer_blocks.0.attn2",)
    watch = Watch(layers, "up_blocks.1", strength=100.0, guided=frozenset(range(4)))
    start = torch.randn(1, 4, 12, 8, generator=torch.Generator().manual_seed(2))
    embeddings = model.text.embed(["", "a cat on a table"])
    steps = ancestral_plan(model.scheduler_config, 5)
    prompt = Prompt(embeddings[1:], embeddings[:1])
    return list(guided_sampling(model, start, prompt, steps, 5.0, TERMS, watch, **options))


def test_guided_steps_of_the_ancestral_sampler_are_the_formula(model: StableDiffusion) -> None:
    drawn = torch.randn(1, 5, 4, 12, 8, generator=torch.Generator().manual_seed(7))
    start = torch.randn(1, 4, 12, 8, generator=torch.Generator().manual_seed(2))
    found = run(model, drawn=drawn)
    steps = ancestral_plan(model.scheduler_config, 5)
    embeddings = model.text.embed(["", "a cat on a table"])
    x = start
    for number, (step, state) in enumerate(zip(steps, found, strict=True)):
        u, c = (model.noise(x, step.timestep, embeddings[n : n + 1]).double() for n in (0, 1))
        eps = u + 5.0 * (c - u)
        if state.gradient is not None:
            eps = eps + 100.0 * math.sqrt(1 - step.alpha_from) * state.gradient.double()
        a, b = step.alpha_from, step.alpha_to
        x0 = (x.double() - math.sqrt(1 - a) * eps) / math.sqrt(a)
        beta = 1 - a / b
        mean = math.sqrt(b) * beta / (1 - a) * x0 + math.sqrt(1 - beta) * (1 - b) / (1 - a) * x.double()
        wanted = mean + math.sqrt((1 - b) / (1 - a) * beta) * drawn[:, number].double()
        torch.testing.assert_close(state.latents.double(), wanted, rtol=0, atol=2e-4 * float(wanted.abs().max()))
        x = state.latents
    # source and edit share the noise: where nothing guides, they are one
    unguided = list(found[0])[1]
    assert unguided.shape == start.shape
    assert not torch.allclose(found[-1].latents, found[-1].source)


def test_a_real_picture_as_source_is_noised_to_each_step(model: StableDiffusion) -> None:
    picture = torch.randn(1, 4, 12, 8, generator=torch.Generator().manual_seed(11))
    noise = torch.randn(1, 5, 4, 12, 8, generator=torch.Generator().manual_seed(12))
    found = run(model, noised=Noised(picture, noise))
    for number, step in enumerate(ancestral_plan(model.scheduler_config, 5)[:4]):
        wanted = math.sqrt(step.alpha_from) * picture + math.sqrt(1 - step.alpha_from) * noise[:, number]
        torch.testing.assert_close(found[number].source, wanted)
        assert found[number].gradient is not None


def test_edits_of_a_job(tiny: str) -> None:
    import methods
    from methods.base import Batch

    reshape = {
        "edit": "reshape",
        "words": ["cat"],
        "by": [0.2, 0.0],
        "scale": [1.5, 1.0],
        "rotation": 20,
        "keep": ["table"],
    }
    first = SelfGuidanceParams(edits=[reshape | {"distance": "l2", "threshold": 0.4}]).term_specs()[0]  # type: ignore[list-item]
    assert (first.warp, first.distance, first.threshold) == (Warp(0.2, 0.0, 1.5, 1.0, 20.0), "l2", 0.4)
    with pytest.raises(ValueError, match="real_source noising"):
        SelfGuidanceParams(edits=[reshape], sampler="ddpm")  # type: ignore[list-item]
    common = {
        "edits": [reshape],
        "image_prep": "no_resize",
        "steps": 4,
        "strength": 100.0,
        "caption": "a cat on a table",
    }
    pictures = random(2, 3, 32, 48) * 2 - 1
    for options in (
        {"real_source": "noising"},
        {"real_source": "noising", "sampler": "ddpm"},
        {"mode": "generated", "sampler": "ddpm"},
    ):
        method = methods.load("self_guidance", weights=tiny, **common, **options)
        both = method.translate(Batch(pictures.clone(), seeds=[1, 2]))
        one = method.translate(Batch(pictures[1:].clone(), seeds=[2]))
        assert torch.isfinite(both).all()
        torch.testing.assert_close(both[1:], one, rtol=0, atol=2e-3)
