"""Half precision and the order of memory: every denoiser's training takes them, weights and files stay as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from methods.train import registry
from methods.train.loop import FitConfig, fit
from methods.train.losses.diffusion import min_snr_weights
from methods.train.objective import Objective, Streams
from methods.train.precision import computing_in
from methods.train.recipe import Recipe
from methods.train.text_to_image.latent_cache import LatentCache
from methods.train.updates import Updates

CPU = torch.device("cpu")
ENCODER = {"channels": [8, 8, 8, 8, 16], "width": 16, "layers": 1, "heads": 2}
UNET = {
    "model_channels": 32,
    "channel_mult": [1, 1],
    "num_res_blocks": 1,
    "attention_downsample": [2],
    "num_head_channels": 16,
}
PITI: dict[str, Any] = {"encoder": ENCODER, "schedule": "linear", "dropout": 0.0, **UNET}
PARAMS: dict[str, dict[str, Any]] = {
    "ddpm": {"image_size": 16, **UNET},
    "piti_base": {"model": {"stage": "base", "side": 16, **PITI}},
    "piti_upsampler": {
        "model": {"stage": "upsampler", "side": 16, **PITI},
        "small_side": 8,
        "perceptual_weight": 0,
        "adversarial_weight": 0,
    },
    "text_to_image": {
        "size": 32,
        "vae_steps": 2,
        "vae_widths": [8, 8],
        "unet_widths": [8, 16],
        "text_width": 16,
        "text_layers": 1,
    },
}


def build(name: str, precision: torch.dtype) -> Objective:
    torch.manual_seed(0)
    return registry.build(name, PARAMS[name], CPU, precision, 10)


def batches(name: str) -> Streams:
    draw = torch.Generator().manual_seed(0)
    side = PARAMS[name].get("size", 16)
    image = torch.rand(2, 3, side, side, generator=draw) * 2 - 1
    if name == "ddpm":
        return {"images": {"image": image}}
    if name == "text_to_image":
        return {"captioned": {"image": image, "ids": torch.randint(0, 200, (2, 77), generator=draw)}}
    condition = torch.rand(2, 3, 256, 256, generator=draw) * 2 - 1
    return {"pairs": {"image": image, "condition": condition, "small": image[..., ::2, ::2].contiguous()}}


def losses(objective: Objective, name: str, steps: int = 4) -> list[float]:
    return [
        value
        for step in range(steps)
        for value in objective.step(batches(name), step, torch.Generator().manual_seed(step), Updates()).values()
    ]


@pytest.mark.parametrize("name", sorted(PARAMS))
def test_bfloat16_changes_the_arithmetic_and_nothing_else(name: str) -> None:
    exact, half = build(name, torch.float32), build(name, torch.bfloat16)
    full, coarse = losses(exact, name), losses(half, name)
    assert full != coarse
    assert coarse == pytest.approx(full, rel=0.05, abs=0.02)
    weights = [value for network in half.networks().values() for value in network.parameters()]
    assert {value.dtype for value in weights} == {torch.float32}


def test_attention_stays_in_float32() -> None:
    query = torch.randn(1, 2, 8, 4)
    with computing_in(torch.bfloat16, CPU):
        assert nn.Linear(4, 4)(query).dtype == torch.bfloat16
        coarse = F.scaled_dot_product_attention(query.bfloat16(), query.bfloat16(), value=query.bfloat16())
        exact = F.scaled_dot_product_attention(query, query, query)
    assert coarse.dtype == torch.bfloat16
    assert torch.equal(exact, F.scaled_dot_product_attention(query, query, query))
    with computing_in(torch.float32, CPU):
        assert nn.Linear(4, 4)(query).dtype == torch.float32


@pytest.mark.parametrize("name", ["ddpm", "text_to_image"])
def test_the_order_of_memory_is_not_in_the_file(tmp_path: Path, name: str) -> None:
    files = []
    for channels_last in (False, True):
        objective = build(name, torch.float32)
        recipe = Recipe(ema=0.9, memory_format="channels_last" if channels_last else "contiguous")
        config = FitConfig(tmp_path / str(channels_last), steps=4, recipe=recipe)
        orders: list[bool] = []

        def watched(step: int, objective: Objective = objective, orders: list[bool] = orders) -> Streams:
            weights = [v for net in objective.networks().values() for v in net.parameters() if v.dim() == 4]
            orders += [v.is_contiguous(memory_format=torch.channels_last) for v in weights]
            return batches(name)

        fitted = fit(objective, watched, config)
        assert all(orders) == channels_last
        assert fitted.weights is not None
        files.append(load_file(fitted.weights))
    one, two = files
    assert one.keys() == two.keys()
    for key, value in one.items():
        torch.testing.assert_close(value, two[key], rtol=1e-2, atol=5e-3)


def test_min_snr_weights() -> None:
    snr = torch.tensor([100.0, 10.0, 5.0, 0.1])
    alphas = snr / (1 + snr)
    torch.testing.assert_close(min_snr_weights(alphas, 5.0), torch.tensor([0.05, 0.5, 1.0, 1.0]), rtol=1e-4, atol=0)
    assert min_snr_weights(alphas, None).tolist() == [1.0] * 4


def test_latents_are_encoded_once_and_alike_in_every_batch() -> None:
    seen: list[int] = []

    def encode(images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(len(images))
        return images[:, :1] / 3, images[:, 1:2] / 3

    images = torch.rand(4, 3, 2, 2)
    cache = LatentCache(3)
    mean, std = cache.of(images, encode)
    torch.testing.assert_close(mean, images[:, :1] / 3, rtol=1e-3, atol=0)
    torch.testing.assert_close(std, images[:, 1:2] / 3, rtol=1e-3, atol=0)
    assert seen == [1, 1, 1, 1]
    again, _ = cache.of(images.flip(0), encode)
    # the fourth found no room
    assert seen == [1] * 5
    assert torch.equal(again.flip(0), mean)
    cache.clear()
    cache.of(images[:1], encode)
    assert seen == [1] * 6
    assert LatentCache(0).of(images, encode)[0].dtype == torch.float32
    assert seen[-1] == 4
