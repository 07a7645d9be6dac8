"""What holds for any weights: batches, shapes, determinism, no state, half precision, the whole pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

import methods
from methods.base import Batch, Inputs
from methods.nn.attention_capture import cross_attention_layers, map_size, read
from methods.nn.stable_diffusion import StableDiffusion
from methods.pix2pix_zero.method import Pix2PixZero
from methods.pix2pix_zero.regularise import autocorrelation_gradient, pyramid_levels, shifts_from_noise
from pipeline.run.driver import Order, run_job
from pipeline.run.targets import run_targets
from pipeline.targets import target_jobs
from tests.support import datasets
from tests.support.jobs import data_rows, index_rows, job


def load(tiny: str, **params: Any) -> Pix2PixZero:
    chosen = {"source": "cat", "target": "dog", "image_prep": "no_resize", "steps": 4, **params}
    method = methods.load("pix2pix_zero", weights=tiny, **chosen)
    assert isinstance(method, Pix2PixZero)
    return method


@pytest.fixture(scope="module")
def method(tiny: str) -> Pix2PixZero:
    return load(tiny)


CAPTIONS = ["a cat on a table", "two cats", "a photo of a small cat in the snow"]


def batch_of(method: Pix2PixZero, count: int, height: int = 32, width: int = 48) -> Batch:
    pictures = np.random.default_rng(5).integers(0, 256, (count, height, width, 3), np.uint8)
    captions = [CAPTIONS[number % 3] for number in range(count)]
    inputs = [method.prepare(Inputs("k", picture, words)) for picture, words in zip(pictures, captions, strict=True)]
    return Batch(torch.stack(inputs), seeds=list(range(10, 10 + count)), captions=captions)


def one(batch: Batch, number: int) -> Batch:
    part = slice(number, number + 1)
    return Batch(batch.inputs[part], batch.seeds[part], captions=batch.captions[part])


@pytest.mark.parametrize("mode", ["real", "synthetic"])
def test_a_batch_is_its_samples_whatever_the_shape(tiny: str, mode: str) -> None:
    method = load(tiny, mode=mode)
    batch = batch_of(method, 3)
    together = method.translate(batch)
    assert together.shape == (3, 3, 32, 48)
    assert together.abs().max() <= 1
    alone = torch.cat([method.translate(one(batch, number)) for number in range(3)])
    torch.testing.assert_close(together, alone, atol=2e-4, rtol=0)
    assert (together[0] - together[1]).abs().max() > 0.1


def test_the_same_twice_another_seed_differs_and_nothing_stays(method: Pix2PixZero) -> None:
    def held() -> dict[str, set[str]]:
        modules = [*method.model.unet.named_modules(), *method.model.vae.named_modules()]
        processors = {name: set(vars(each)) for name, each in method.model.unet.attn_processors.items()}
        assert all(not module._forward_hooks for _, module in modules)
        return {name: set(vars(module)) for name, module in modules} | processors

    before = held()
    batch = batch_of(method, 2)
    first, again = method.translate(batch), method.translate(batch)
    assert torch.equal(first, again)
    assert held() == before
    assert all(parameter.grad is None for parameter in method.model.unet.parameters())
    other = method.translate(Batch(batch.inputs, [10, 99], captions=batch.captions))
    assert torch.equal(first[0], other[0]) or (first[0] - other[0]).abs().max() < 2e-4
    assert (first[1] - other[1]).abs().max() > 1e-2


def test_strength_zero_and_no_guidance_is_the_reconstruction(tiny: str) -> None:
    still = load(tiny, strength=0, guidance_amount=0)
    edited = load(tiny)
    batch = one(batch_of(still, 1), 0)
    latents = still.model.encode(batch.inputs, batch.noise((4, 8, 12), "latent"))
    # the caption's reconstruction is near the picture's own latent, the edit is not
    near = (still.translate(batch) - still.model.decode(latents)).square().mean()
    far = (edited.translate(batch) - still.model.decode(latents)).square().mean()
    assert near < far


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_runs_and_keeps_latents_in_float32(tiny: str, method: Pix2PixZero, dtype: str) -> None:
    half = methods.load(
        "pix2pix_zero", weights=tiny, dtype=dtype, source="cat", target="dog", image_prep="no_resize", steps=4
    )
    assert isinstance(half, Pix2PixZero)
    assert half.model.unet.dtype == getattr(torch, dtype)
    assert half.model.vae.dtype == torch.float32
    batch = batch_of(method, 1)
    found, wanted = half.translate(batch), method.translate(batch)
    assert found.dtype == torch.float32
    assert (found - wanted).norm() / wanted.norm() < 0.2


def test_every_cross_attention_layer_is_read_and_the_output_is_the_same(model: StableDiffusion) -> None:
    layers = cross_attention_layers(model.unet)
    assert [layer.split(".")[0] for layer in layers] == ["down_blocks"] * 2 + ["mid_block"] + ["up_blocks"] * 4
    x, embeddings = torch.randn(2, 4, 10, 14), torch.randn(2, 77, 32)
    with torch.no_grad():
        reading = read(model.unet, x, 301, embeddings, layers, features=["up_blocks.1"])
        early = read(model.unet, x, 301, embeddings, layers, stop_early=True)
    assert reading.output is not None
    assert early.output is None
    torch.testing.assert_close(reading.output, model.noise(x, 301, embeddings), atol=1e-5, rtol=0)
    sizes = [map_size(reading.maps[layer].shape[2], 10, 14) for layer in layers]
    assert sizes == [(10, 14), (5, 7), (3, 4), (5, 7), (5, 7), (10, 14), (10, 14)]
    for layer in layers:
        assert torch.equal(early.maps[layer], reading.maps[layer])
        torch.testing.assert_close(reading.maps[layer].sum(-1), torch.ones(2, 4, reading.maps[layer].shape[2]))
    # block 1 upsamples behind its attention layers
    assert reading.features["up_blocks.1"].shape[2:] == (10, 14)
    with pytest.raises(KeyError, match="nowhere"):
        read(model.unet, x, 301, embeddings, ["nowhere"])


@settings(max_examples=25, deadline=None)
@given(st.integers(8, 40), st.integers(4, 40), st.integers(0, 2**31))
def test_the_closed_form_is_the_gradient(rows: int, columns: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    levels = pyramid_levels(rows)
    if columns >> (levels - 1) == 0:
        columns = rows
    field = torch.randn(1, 2, rows, columns, generator=generator, dtype=torch.float64).requires_grad_()
    shifts = shifts_from_noise(torch.randn(1, 2, levels, generator=generator), rows)
    loss = torch.zeros((), dtype=torch.float64)
    for channel in range(2):
        level = field[:, channel : channel + 1]
        for number in range(levels):
            shift = int(shifts[0, channel, number])
            assert 1 <= shift < max(2, level.shape[2] // 2)
            for axis in (2, 3):
                loss = loss + (level * torch.roll(level, shift, axis)).mean() ** 2
            level = F.avg_pool2d(level, 2) if number + 1 < levels else level
    (wanted,) = torch.autograd.grad(loss, field)
    torch.testing.assert_close(autocorrelation_gradient(field.detach(), shifts), wanted)


def test_shifts_are_uniform() -> None:
    found = shifts_from_noise(torch.randn(40_000, 2, generator=torch.Generator().manual_seed(0)), 16)
    assert torch.bincount(found[:, 0]).tolist()[1:] == pytest.approx([40_000 / 7] * 7, rel=0.05)
    assert torch.bincount(found[:, 1]).tolist()[1:] == pytest.approx([40_000 / 3] * 3, rel=0.05)


def test_in_the_pipeline_from_a_caption_column(tiny: str, tmp_path: Path) -> None:
    samples = {name: {"jpg": datasets.encoded(datasets.picture(3)), "txt": b"a cat"} for name in "abc"}
    samples["long"] = {"jpg": datasets.encoded(datasets.picture(4)), "txt": b"cat and dog " * 40}
    samples["bare"] = {"jpg": datasets.encoded(datasets.picture(5))}
    datasets.write_tar(tmp_path / "in" / "part.tar", samples)
    spec = job(
        tmp_path / "in",
        tmp_path / "out",
        method__name="pix2pix_zero",
        method__weights=tiny,
        method__params={"source": "cat", "target": "dog", "steps": 3, "image_prep": "multiple_of_8"},
        output__pairs=True,
        compute__batch_size=2,
    )
    outcome = run_job(spec, local=True)
    rows = {row["key"]: row for row in index_rows(tmp_path / "out")}
    [warning] = [each for each in outcome.warnings if "caption_cut" in each]
    assert warning.startswith("'cat and dog cat")
    assert warning.endswith("is 162 tokens long with start and end: cut to 77 (caption_cut: 1)")
    assert {key: row["status"] for key, row in rows.items()} == {
        **dict.fromkeys(["a", "b", "c", "long"], "ok"),
        "bare": "rejected",
    }
    assert rows["bare"]["error"] == "no_caption"
    assert len(data_rows(tmp_path / "out")) == 4


@pytest.mark.parametrize(("size", "parameters"), [((64, 64), 859_520_964)])
def test_full_size_unet_has_sixteen_layers(size: tuple[int, int], parameters: int) -> None:
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

    with torch.device("meta"):
        unet = UNet2DConditionModel(sample_size=size[0], cross_attention_dim=768, attention_head_dim=8)
    assert sum(parameter.numel() for parameter in unet.parameters()) == parameters
    layers = cross_attention_layers(unet)
    assert len(layers) == 16
    positions = [4096] * 2 + [1024] * 2 + [256] * 2 + [64] + [256] * 3 + [1024] * 3 + [4096] * 3
    # the fact behind the memory that the edit states: 26,944 positions x 77 tokens x 16 rows x 4 bytes
    assert sum(positions) == 26_944
    assert [map_size(count, 64, 64)[0] ** 2 for count in positions] == positions


class Passes:
    """Pictures that a UNet saw, of all its calls."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel

        self.count = 0
        forward = UNet2DConditionModel.forward

        def counted(unet: Any, sample: torch.Tensor, *rest: Any, **more: Any) -> Any:
            self.count += len(sample)
            return forward(unet, sample, *rest, **more)

        monkeypatch.setattr(UNet2DConditionModel, "forward", counted)

    def taken(self) -> int:
        """How many since the last time."""
        count, self.count = self.count, 0
        return count


def set_params(**params: Any) -> dict[str, Any]:
    return {"method": {"params": params}}


@pytest.mark.parametrize(
    ("targets", "apart", "together"),
    [
        # 3 pictures, 3 steps; apart 1 inversion and 3 x (1 first pass, 2 + 2 of the edit) for each, together 1 + 3 x 1
        pytest.param(
            {"dog": {}, "weak": set_params(strength=0.5, guidance_amount=0.2), "steep": set_params(guidance_scale=3)},
            3 * 3 * 16,
            3 * (4 + 3 * 12),
            id="one first pass",
        ),
        # a negative prompt makes the first pass another one, of two halves and at its guidance scale
        pytest.param(
            {
                "dog": {},
                "hint": set_params(negative_prompt="a dog"),
                "hint2": set_params(negative_prompt="a dog", strength=2),
                "hint3": set_params(negative_prompt="a dog", guidance_scale=3),
            },
            3 * (16 + 3 * 19),
            3 * (1 + 3 + 12 + 2 * 6 + 3 * 12),
            id="of negative prompts",
        ),
        # nothing is inverted where the start is noise
        pytest.param(
            {"dog": set_params(mode="synthetic"), "weak": set_params(mode="synthetic", strength=0.5)},
            2 * 3 * 18,
            3 * (6 + 2 * 12),
            id="synthetic",
        ),
        pytest.param({"dog": {}, "named": set_params(caption="a cat")}, 2 * 3 * 16, 2 * 3 * 16, id="other captions"),
    ],
)
def test_edits_of_one_job_share_inversion_and_first_pass(
    tiny: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    targets: dict[str, Any],
    apart: int,
    together: int,
) -> None:
    samples = {name: {"jpg": datasets.encoded(datasets.picture(3)), "txt": b"cats"} for name in "abc"}
    datasets.write_tar(tmp_path / "in" / "part.tar", samples)
    params = {"source": "cat", "target": "dog", "steps": 3, "image_prep": "multiple_of_8"}
    spec = job(
        tmp_path / "in",
        tmp_path / "out",
        method__name="pix2pix_zero",
        method__weights=tiny,
        method__params=params,
        targets=targets,
        compute__batch_size=2,
    )
    passes = Passes(monkeypatch)
    for name, each in target_jobs(spec).items():
        alone = each.model_copy(
            update={"output": each.output.model_copy(update={"uri": str(tmp_path / "alone" / name)})}
        )
        run_job(alone, local=True)
    assert passes.taken() == apart
    run_targets(spec, Order(local=True))
    assert passes.taken() == together
    parts = [f"{name}/{part}" for name in targets for part in ("data", "index")]
    trees = [datasets.read_tree(tmp_path / place, *parts) for place in ("out", "alone")]
    assert trees[0] == trees[1]
    assert trees[0]
    assert all(row["status"] == "ok" for name in targets for row in index_rows(tmp_path / "out" / name))


def test_a_sample_that_one_edit_lacks_is_made_for_the_others(
    tiny: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches that differ, since one target rejects a sample, share nothing and lose nothing."""
    samples = {name: {"jpg": datasets.encoded(datasets.picture(3)), "txt": b"a cat"} for name in "abcd"}
    samples["b"] = {"jpg": datasets.encoded(datasets.picture(4))}
    datasets.write_tar(tmp_path / "in" / "part.tar", samples)
    spec = job(
        tmp_path / "in",
        tmp_path / "out",
        method__name="pix2pix_zero",
        method__weights=tiny,
        method__params={"source": "cat", "target": "dog", "steps": 3, "image_prep": "multiple_of_8"},
        targets={"own": {}, "own2": set_params(strength=2), "named": set_params(caption="a cat")},
        compute__batch_size=2,
    )
    passes = Passes(monkeypatch)
    run_targets(spec, Order(local=True))
    # own and own2: a, c and d; named by itself: all four
    assert passes.taken() == 3 * (4 + 2 * 12) + 4 * 16
    for name, count in (("own", 3), ("own2", 3), ("named", 4)):
        assert [row["status"] for row in index_rows(tmp_path / "out" / name)].count("ok") == count
