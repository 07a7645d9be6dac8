"""The recorded runs of the official program, from files in its formats."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from methods.asyrp.lpips_table import first_reaching, read_table
from methods.asyrp.process import generate, invert, linear_alphas, reverse_plan, sequence, update
from methods.base import Batch


@pytest.mark.parametrize("name", ["ddpm_edit6", "iddpm_edit6"])
def test_the_timesteps_and_what_happens_at_each(case, load, name: str) -> None:
    about, method = case(name).about, load(name)
    assert sequence(6, 999) == about["seq_inv"]
    plan = reverse_plan(method.alphas, sequence(6, 999), 400, 250)
    assert [(s.timestep, s.edited, s.eta) for s in plan] == [
        (step["t"], step["edited"], step["eta"]) for step in about["edit_steps"]
    ]
    assert plan[-1].alpha_to == 1.0


@pytest.mark.parametrize("name", ["ddpm_edit6", "iddpm_edit6"])
def test_inversion_reconstruction_and_edit(case, load, name: str) -> None:
    golden, method = case(name), load(name)
    limit = golden.about["tolerance"]["relative_l2"]
    steps = sequence(6, 999)
    latent = invert(method.unet, golden.inputs["x0"], method.alphas, steps)
    golden.check(latent, "x_lat", limit)

    def fresh(timestep: int) -> torch.Tensor:
        return golden.inputs[f"noise_t{timestep:03d}"]

    plain = reverse_plan(method.alphas, steps, 1000, 0)
    golden.check(generate(method.unet, latent, plain, None, fresh), "x_rec", limit)
    plan = reverse_plan(method.alphas, steps, 400, 250)
    golden.check(generate(method.unet, latent, plan, method.shift, fresh), "x_edit", limit)
    first = generate(method.unet, latent, plan[:1], method.shift, fresh)
    # x after the first step is sqrt(a) x0' + sqrt(1 - a) eps: the recorded x0' tells it from the symmetric variant
    from methods.asyrp.process import noise_pair

    with torch.no_grad():
        plain_eps, shifted_eps = noise_pair(method.unet, latent, 999, method.shift)
    following, x0 = update(latent, plain_eps, shifted_eps, plan[0])
    golden.check(x0, "edit_x0pred_at_t999", limit)
    assert torch.equal(following, first)


@pytest.mark.parametrize("name", ["ddpm_edit6", "iddpm_edit6"])
def test_translate_is_the_clamped_edit(case, load, name: str) -> None:
    golden, method = case(name), load(name)
    draws = {stream: noise for stream, noise in golden.inputs.items() if stream.startswith("noise_")}
    x0 = golden.inputs["x0"]
    found = method.translate(Batch(x0, seeds=[0] * len(x0), draws=draws))
    wanted = golden.expected["x_edit"].clamp(-1, 1)
    assert float((found - wanted).norm() / wanted.norm()) < golden.about["tolerance"]["relative_l2"]


def test_dt_lambda_stretches_the_direction_while_t_is_high() -> None:
    """No official run was made with it: ``sqrt(a') x0' + dt_lambda sqrt(1 - a') eps`` for t >= dt_end, in float64."""
    alphas = linear_alphas(1e-4, 0.02)
    plan = reverse_plan(alphas, sequence(6, 999), 400, 0, dt_lambda=1.15, dt_end=599)
    assert [step.direction for step in plan] == [1.15, 1.15, 1.15, 1.0, 1.0, 1.0]
    assert {step.direction for step in reverse_plan(alphas, sequence(6, 999), 400, 0)} == {1.0}
    generator = torch.Generator().manual_seed(0)
    x, plain, shifted = (torch.randn(2, 3, 4, 6, generator=generator, dtype=torch.float64) for _ in range(3))
    for step in plan:
        following, _ = update(x, plain, shifted, step)
        a, b = step.alpha_from, step.alpha_to
        x0 = (x - math.sqrt(1 - a) * shifted) / math.sqrt(a)
        wanted = math.sqrt(b) * x0 + step.direction * math.sqrt(1 - b) * plain
        torch.testing.assert_close(following, wanted, rtol=1e-12, atol=1e-12)


def test_editing_from_noise_needs_no_inversion(case, load, monkeypatch: pytest.MonkeyPatch) -> None:
    method = load("iddpm_edit6", start="noise", dt_lambda=1.1, dt_end=500)
    monkeypatch.setattr("methods.asyrp.method.invert", lambda *arguments: pytest.fail("inverted"))
    pictures = case("iddpm_edit6").inputs["x0"]
    batch = Batch(pictures, seeds=[1, 2])
    found = method.translate(batch)
    plan = reverse_plan(method.alphas, sequence(6, 999), 400, 250, 1.1, 500)
    start = batch.noise(pictures.shape[1:], "start")
    wanted = generate(
        method.unet, start, plan, method.shift, lambda t: batch.noise(pictures.shape[1:], f"noise_t{t:03d}")
    )
    torch.testing.assert_close(found, wanted.clamp(-1, 1))
    # what the picture shows does not count
    assert torch.equal(method.translate(Batch(torch.zeros_like(pictures), seeds=[1, 2])), found)


def test_fresh_noise_has_ddim_s_variance() -> None:
    """Eta 1 keeps the variance of the next level: sigma^2 + direction^2 = 1 - alpha_to."""
    from methods.asyrp.process import ReverseStep

    step = ReverseStep(199, 0.9, 0.97, eta=1.0)
    x = torch.zeros(1, 1, 1, 200_000)
    eps, noise = torch.randn_like(x), torch.randn_like(x)
    following, x0 = update(x, eps, eps, step, noise)
    rest = following - math.sqrt(0.97) * x0
    assert rest.var().item() == pytest.approx(0.03, rel=0.02)
    assert step.sigma**2 == pytest.approx((1 - 0.9 / 0.97) * 0.03 / 0.1)


def test_t_edit_and_t_boost_from_the_released_tables(golden: Path) -> None:
    rows = json.loads((golden / "t_edit" / "case.json").read_text())["rows"]
    assert len(rows) == 24
    for row in rows:
        of_x0 = read_table(golden / "t_edit" / f"{row['dataset']}_LPIPS_distance_x0_t.tsv")
        of_x = read_table(golden / "t_edit" / f"{row['dataset']}_LPIPS_distance_x.tsv")
        if not row["user_t_edit"]:
            assert first_reaching(of_x0, row["lpips_edit_th"] * row["cosine"], "table") == row["t_edit"]
        if not row["user_t_boost"]:
            table = of_x if row["add_noise_from_xt"] else of_x0
            assert first_reaching(table, row["lpips_addnoise_th"], "table") == row["t_boost"]


def test_t_edit_found_while_loading(load, golden: Path) -> None:
    tables = golden / "t_edit"
    method = load(
        "ddpm_edit6",
        t_edit=None,
        t_boost=None,
        lpips_x0=str(tables / "celeba_LPIPS_distance_x0_t.tsv"),
        lpips_x=str(tables / "celeba_LPIPS_distance_x.tsv"),
        text_cosine=0.8,
    )
    assert (method.t_edit, method.t_boost) == (489, 167)
    measured = load(
        "ddpm_edit6",
        t_edit=None,
        lpips_x0=str(tables / "celeba_LPIPS_distance_x0_t.tsv"),
        source_text="face",
        target_text="smiling face",
        clip=str(golden / "train_step" / "clip"),
    )
    table = read_table(tables / "celeba_LPIPS_distance_x0_t.tsv")
    assert measured.t_edit == first_reaching(table, 0.33 * 0.04599791020154953, "table")
