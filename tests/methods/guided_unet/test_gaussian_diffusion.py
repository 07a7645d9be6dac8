"""Schedules and respacing against the official tables, steps against their definitions."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file

from methods.nn.gaussian_diffusion import GaussianDiffusion, respace
from methods.nn.guided_unet.model import timestep_embedding
from methods.nn.noise_schedule import cosine_betas, linear_betas

GOLDEN = Path(__file__).resolve().parents[2] / "golden"
PITI = load_file(GOLDEN / "piti" / "schedules" / "expected.safetensors")
ADM = load_file(GOLDEN / "guided_unet" / "schedule" / "expected.safetensors")
TABLES = ("betas", "alphas_cumprod", "posterior_mean_coef1", "posterior_mean_coef2", "posterior_log_variance_clipped")


@pytest.mark.parametrize("key", [key for key in PITI if key.startswith("timestep_map.")])
def test_piti_timesteps(key: str) -> None:
    assert respace(key.removeprefix("timestep_map.")) == tuple(PITI[key])


@pytest.mark.parametrize("schedule", ["linear", "squaredcos_cap_v2"])
@pytest.mark.parametrize("respacing", ["8", "27", "fast27", "ddim25"])
def test_piti_tables(schedule: str, respacing: str) -> None:
    diffusion = GaussianDiffusion.make(schedule, respacing)
    for table in TABLES:
        np.testing.assert_allclose(
            getattr(diffusion, table), PITI[f"{schedule}.{respacing}.{table}"], rtol=1e-12, atol=1e-18
        )


@pytest.mark.parametrize("respacing", ["12", "60", "100", "150", "200", "ddim25"])
def test_adm_tables(respacing: str) -> None:
    diffusion = GaussianDiffusion.make("linear", respacing)
    assert diffusion.timesteps == tuple(ADM[f"{respacing}.timestep_map"])
    for table in (*TABLES, "posterior_variance"):
        np.testing.assert_allclose(getattr(diffusion, table), ADM[f"{respacing}.{table}"], rtol=1e-12, atol=1e-18)


def test_unspaced_betas_and_time_embedding() -> None:
    np.testing.assert_allclose(linear_betas()[::37], PITI["linear.betas_1000_every_37"], rtol=1e-12)
    np.testing.assert_allclose(cosine_betas()[::37], PITI["squaredcos_cap_v2.betas_1000_every_37"], rtol=1e-12)
    embedding = timestep_embedding(torch.tensor([0, 1, 37, 571, 999]), 192)
    # one float32 rounding of an angle near 999 is 6e-5, and exp() rounds differently from processor to processor
    np.testing.assert_allclose(embedding.numpy(), PITI["timestep_embedding_192"], rtol=0, atol=6e-5)


@pytest.mark.parametrize("respacing", ["", "0", "1001", "fast", "10,", "10,,3", "ddim7,3", "ddim", "-4", "2.5", "1e2"])
def test_wrong_respacing_is_one_line(respacing: str) -> None:
    with pytest.raises(ValueError, match=f"respacing '{respacing}'") as caught:
        respace(respacing)
    assert "\n" not in str(caught.value)


@given(st.lists(st.integers(1, 100), min_size=1, max_size=10))
def test_respacing_keeps_the_counts(counts: list[int]) -> None:
    kept = respace(",".join(map(str, counts)))
    assert len(kept) == sum(counts)
    assert list(kept) == sorted(set(kept))
    assert kept[0] == 0
    assert kept[-1] <= 999


def test_steps_with_a_number_and_with_a_tensor_agree() -> None:
    diffusion = GaussianDiffusion.make("squaredcos_cap_v2", "20")
    clean, noise = torch.rand(2, 3, 4, 4) * 2 - 1, torch.randn(2, 3, 4, 4)
    index = torch.tensor([7, 7])
    noisy = diffusion.q_sample(clean, noise, 7)
    torch.testing.assert_close(noisy, diffusion.q_sample(clean, noise, index), rtol=0, atol=0)
    torch.testing.assert_close(diffusion.predict_clean(noisy, noise, 7), clean, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        diffusion.posterior_mean(clean, noisy, 7), diffusion.posterior_mean(clean, noisy, index), rtol=0, atol=0
    )
    assert diffusion.original(7, 2, torch.device("cpu")).tolist() == [diffusion.timesteps[7]] * 2
    assert diffusion.original(index, 2, torch.device("cpu")).tolist() == [diffusion.timesteps[7]] * 2


def test_the_variance_stays_between_its_bounds() -> None:
    diffusion = GaussianDiffusion.make("linear", "12")
    low = diffusion.learned_log_variance(torch.full((1, 3, 2, 2), -1.0), 5)
    high = diffusion.learned_log_variance(torch.full((1, 3, 2, 2), 1.0), 5)
    assert low.unique().item() == pytest.approx(diffusion.posterior_log_variance_clipped[5], rel=1e-6)
    assert high.unique().item() == pytest.approx(np.log(diffusion.betas[5]), rel=1e-6)
