"""PITI's networks and samplers against the golden tensors of the official code."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from methods.nn.gaussian_diffusion import GaussianDiffusion
from methods.piti.config import OFFICIAL_BASE, OFFICIAL_UPSAMPLER, ModelConfig
from methods.piti.networks import PITIModel
from methods.piti.sampling import StepResult, guide, quantise, sample_base, sample_upsampler

from .conftest import GOLDEN, Case, relative

CaseOf = Callable[[str], Case]


@pytest.mark.parametrize(("name", "config"), [("base_mask", OFFICIAL_BASE), ("upsample_mask", OFFICIAL_UPSAMPLER)])
@pytest.mark.parametrize("channels", [3, 1, 6])
def test_full_size_key_lists(name: str, config: ModelConfig, channels: int) -> None:
    listed = gzip.decompress((GOLDEN / "weights" / "official_full_size_keys.json.gz").read_bytes())
    expected = json.loads(listed)[name]
    # a sketch model and a geometry model differ from a mask model in this tensor only
    expected["encoder.cnn.conv1.weight"][1] = channels
    with torch.device("meta"):
        model = PITIModel(config, channels)
    assert {key: list(tensor.shape) for key, tensor in model.state_dict().items()} == expected


def test_base_forward(case: CaseOf, tiny_base: PITIModel) -> None:
    golden = case("base_forward")
    conditions = golden.conditions()
    pooled, tokens = tiny_base.encoder(conditions)
    assert relative(pooled, golden.expected["xf_proj"]) < 2e-5
    assert relative(tokens[0], golden.expected["xf_out_0"]) < 2e-5
    noisy, timesteps = golden.inputs["x_t"], golden.inputs["timesteps"]
    answer = torch.cat(tiny_base(noisy, timesteps, conditions), dim=1)
    assert relative(answer, golden.expected["out"]) < 2e-5
    blank = tiny_base.encode(torch.ones(1, 3, 256, 256))
    unconditional = torch.cat(tiny_base.denoise(noisy[:1], timesteps[:1], blank), dim=1)
    assert relative(unconditional, golden.expected["out_uncond"]) < 2e-5


@pytest.mark.parametrize(
    ("scale", "guidance", "suffix"), [(1.3, "plain", "plain_1.3"), (2.0, "normalised", "norm_2.0")]
)
def test_base_sample(case: CaseOf, tiny_base: PITIModel, scale: float, guidance, suffix: str) -> None:
    golden = case("base_sample_8")
    steps: list[StepResult] = []
    found = sample_base(
        tiny_base,
        GaussianDiffusion.make("squaredcos_cap_v2", "8"),
        tiny_base.encode(golden.conditions()),
        tiny_base.encode(torch.ones(1, 3, 256, 256)),
        recorded(golden.inputs["init_noise"], golden.inputs["step_noise"][:, :1]),
        scale,
        guidance,
        watch=steps.append,
    )
    assert relative(found, golden.expected[f"sample_{suffix}"]) < 5e-5
    if guidance == "plain":
        made = torch.stack([step.sample for step in steps]), torch.stack([step.clean for step in steps])
        assert relative(made[0], golden.expected["x_per_step_plain_1.3"]) < 5e-5
        assert relative(made[1], golden.expected["pred_xstart_per_step_plain_1.3"]) < 5e-5


def test_upsampler_sample(case: CaseOf, tiny_upsampler: PITIModel) -> None:
    golden = case("upsample_8")
    small = quantise(golden.inputs["base_sample"])
    torch.testing.assert_close(small, golden.expected["low_res"], rtol=0, atol=1e-6)
    steps: list[StepResult] = []
    found = sample_upsampler(
        tiny_upsampler,
        GaussianDiffusion.make("linear", "8"),
        tiny_upsampler.encode(golden.conditions()),
        small,
        recorded(golden.inputs["init_noise"], golden.inputs["step_noise"]),
        watch=steps.append,
    )
    assert relative(found, golden.expected["sample"]) < 5e-5
    assert relative(steps[0].sample[..., :16, :16], golden.expected["x_after_step_0_crop"]) < 5e-5


def test_no_guidance_needs_no_unconditional_half(case: CaseOf, tiny_base: PITIModel) -> None:
    golden = case("base_sample_8")
    condition = tiny_base.encode(golden.conditions())
    blank = tiny_base.encode(torch.ones(1, 3, 256, 256))
    noise = recorded(golden.inputs["init_noise"], golden.inputs["step_noise"][:, :1])
    diffusion = GaussianDiffusion.make("squaredcos_cap_v2", "3")
    with_it = sample_base(tiny_base, diffusion, condition, blank, noise, 1.0)
    torch.testing.assert_close(with_it, sample_base(tiny_base, diffusion, condition, None, noise, 5.0), rtol=0, atol=0)


def test_normalised_guidance_keeps_mean_and_spread_of_each_image() -> None:
    conditional, unconditional = torch.randn(2, 3, 8, 8) * 2 + 1, torch.randn(2, 3, 8, 8)
    found = guide(conditional, unconditional, 4.0, "normalised")
    for mine, given in zip(found, conditional, strict=True):
        assert mine.mean().item() == pytest.approx(given.mean().item(), abs=1e-5)
        assert mine.std().item() == pytest.approx(given.std().item(), rel=1e-5)
    torch.testing.assert_close(guide(conditional, unconditional, 1.0, "normalised"), conditional)


def test_quantise_truncates_and_clips() -> None:
    levels = quantise(torch.tensor([-3.0, -1.0, -0.9999, 0.0, 0.9999, 1.0, 2.0]))
    assert ((levels + 1) * 127.5).round().tolist() == [0, 0, 0, 127, 254, 255, 255]


def recorded(start: Tensor, steps: Tensor) -> Callable[[str], Tensor]:
    """The draws of an official run by stream name."""
    return lambda stream: start if stream == "start" else steps[int(stream.removeprefix("step."))]
