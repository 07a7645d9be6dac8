"""What holds for every DiffuseIT model: batches, cuts, restarts, other file formats, whole jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.transforms.functional as tv
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import ViTConfig, ViTModel

from methods import BadSample, InputError
from methods.base import Batch, Inputs
from methods.diffuseit.colour import match_colours
from methods.diffuseit.cuts import DRAWS, apply_cuts, draw_cuts
from methods.diffuseit.method import labels_from_noise
from methods.diffuseit.sampler import Sampler
from methods.nn.dino import load_dino
from methods.nn.gaussian_diffusion import GaussianDiffusion
from methods.nn.tensor_file import read_tensors
from methods.nn.unconditional import load_denoiser
from pipeline.run.driver import run_job
from tests.support.datasets import picture, write_tars
from tests.support.jobs import index_rows, job


def relative(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


def prepared(method: Any, count: int) -> Tensor:
    return torch.stack([method.prepare(Inputs("k", picture(seed, (60, 50)))) for seed in range(count)])


@pytest.mark.parametrize(("name", "ddim"), [("image_run", False), ("image_run", True), ("text_run", False)])
def test_a_batch_is_its_samples(load, name: str, ddim: bool) -> None:
    # the tiny ResNet's ReLUs amplify rounding: the transformer alone decides here
    changes: dict[str, Any] = {"ddim": ddim, "use_colormatch": False}
    if name == "text_run":
        changes["clip_models"] = [load(name).params.clip_models[0]]
    method = load(name, **changes)
    images = prepared(method, 2)
    together = method.translate(Batch(images, seeds=[1, 2]))
    for number in range(2):
        alone = method.translate(Batch(images[number : number + 1], seeds=[number + 1]))
        assert relative(together[number], alone[0]) < 1e-3
    other = method.translate(Batch(images[:1], seeds=[9]))
    assert relative(other[0], together[0]) > 0.01


def test_samples_start_again_by_themselves(load) -> None:
    """Seeds whose prediction leaves the range restart; their neighbours are not touched, and cannot tell."""
    changes = {"use_range_restart": True, "use_colormatch": False, "range_lambda": 200.0, "max_restarts": 50}
    plain = load("image_run", **{**changes, "use_range_restart": False})
    images, seeds = prepared(plain, 3), [1, 2, 3]
    worst: dict[int, float] = {}
    sampler = plain.sampler()

    def watch(samples: Tensor, index: Tensor, x: Tensor, clean: Tensor) -> None:
        for sample, place, one in zip(samples.tolist(), index.tolist(), clean, strict=True):
            if 0 < place < sampler.start:
                outside = float((one - one.clamp(-1, 1)).square().mean()) * 200
                worst[sample] = max(worst.get(sample, 0.0), outside)

    from methods.diffuseit.guidance import Guidance

    batch = Batch(images, seeds=seeds)
    sampler.watch = watch
    guidance = Guidance(plain.networks, plain.params, images, plain.signal, lambda samples, calls: lambda model: None)
    sampler(images, guidance, lambda stream: batch.noise(images.shape[1:], stream))
    low, *_, high = sorted(worst.values())
    threshold = (low + high) / 2
    method = load("image_run", **changes, restart_threshold=threshold)
    together = method.translate(batch)
    before = plain.translate(batch)
    again = [sample for sample in range(3) if worst[sample] > threshold]
    assert 0 < len(again) < 3
    for sample in range(3):
        alone = method.translate(Batch(images[sample : sample + 1], seeds=[seeds[sample]]))
        assert relative(together[sample], alone[0]) < 1e-3
        assert (relative(together[sample], before[sample]) > 0.01) == (sample in again)


def test_a_sample_that_never_stays_in_range_is_refused(load) -> None:
    method = load("image_run", use_range_restart=True, restart_threshold=1e-9, max_restarts=2)
    with pytest.raises(BadSample, match="in each of 3 attempts") as caught:
        method.translate(Batch(prepared(method, 1), seeds=[0]))
    assert caught.value.reason == "restarts"


def test_one_network_evaluation_a_step(load) -> None:
    method, calls = load("image_run"), []
    sampler = method.sampler()
    network = sampler.network
    sampler.network = lambda x, timesteps: (calls.append(timesteps.tolist()), network(x, timesteps))[1]
    images = prepared(method, 1)

    class Still:
        def __call__(self, x: Tensor, *rest: Tensor) -> tuple[Tensor, Tensor]:
            return torch.zeros_like(x), torch.zeros(len(x), dtype=torch.bool)

    batch = Batch(images, seeds=[0])
    sampler(images, Still(), lambda stream: batch.noise(images.shape[1:], stream))
    assert len(calls) == method.start + method.params.resampling


def test_where_the_official_index_is_another_it_is_evaluated_there() -> None:
    """With 70 steps one index is off by one: the losses see the other noise level."""
    seen = []

    class Guide:
        def __call__(
            self, x: Tensor, clean: Tensor, index: Tensor, samples: Tensor, calls: Tensor
        ) -> tuple[Tensor, Tensor]:
            seen.extend(index.tolist())
            return torch.zeros_like(x), torch.zeros(len(x), dtype=torch.bool)

    diffusion = GaussianDiffusion.make("linear", "70")
    sampler = Sampler(lambda x, t: torch.cat([x, x], dim=1), diffusion, 68, resampling=1)
    sampler(torch.zeros(1, 3, 4, 4), Guide(), lambda stream: torch.zeros(1, 3, 4, 4))
    assert len(seen) == 68
    assert sum(found != wanted for found, wanted in zip(seen, range(68, 0, -1), strict=True)) == 1


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), side=st.sampled_from([17, 40, 48]), resolution=st.sampled_from([16, 42]))
def test_cuts_are_torchvision_s(seed: int, side: int, resolution: int) -> None:
    rng = torch.Generator().manual_seed(seed)
    images = torch.rand(2, 3, side, side, generator=rng)
    cuts = draw_cuts(torch.randn(2, 2, DRAWS, generator=rng), side)
    found = apply_cuts(images, cuts, resolution).unflatten(0, (2, 2))
    for sample in range(2):
        for cut in range(2):
            angle = float(cuts.angle[sample, cut])
            assert abs(angle) <= 10
            top, left, height, width = cuts.box[sample, cut].tolist()
            assert 0 <= top <= side - height
            assert 0 <= left <= side - width
            assert height * width > 0.7 * side * side
            wanted = tv.rotate(images[sample : sample + 1], angle, tv.InterpolationMode.NEAREST, fill=[0.0, 0.0, 0.0])
            size = [resolution, resolution]
            wanted = tv.resized_crop(wanted, top, left, height, width, size, antialias=False)
            wanted = tv.hflip(wanted) if cuts.flip[sample, cut] else wanted
            assert torch.allclose(found[sample, cut], wanted[0], atol=1e-6)


def test_cuts_are_spread_as_torchvision_s() -> None:
    cuts = draw_cuts(torch.randn(1, 20_000, DRAWS, generator=torch.Generator().manual_seed(0)), 256)
    area = cuts.box[0, :, 2].double() * cuts.box[0, :, 3] / 256**2
    assert float(cuts.angle.std()) == pytest.approx(20 / 12**0.5, rel=0.02)
    assert float(cuts.flip.float().mean()) == pytest.approx(0.5, abs=0.02)
    # near the whole picture few tries fit: the mean lies below 0.9
    assert 0.85 < float(area.mean()) < 0.9
    assert float(area.min()) > 0.78


def test_dino_from_transformers_is_the_same_network(golden: Path, tmp_path: Path) -> None:
    official = read_tensors(golden / "weights" / "dino.pth")
    config = ViTConfig(
        hidden_size=32,
        num_hidden_layers=12,
        num_attention_heads=4,
        intermediate_size=64,
        image_size=42,
        patch_size=6,
        layer_norm_eps=1e-6,
        hidden_act="gelu",
    )
    twin: Any = ViTModel(config, add_pooling_layer=False)
    renames = {"norm1": "layernorm_before", "norm2": "layernorm_after", "attn.proj": "attention.o_proj"}
    state = {}
    for name, tensor in official.items():
        new = name.replace("blocks.", "layers.")
        for theirs, ours in renames.items():
            new = new.replace(theirs, ours)
        if "qkv" in name:
            for part, rows in zip("qkv", tensor.chunk(3), strict=True):
                state[new.replace("attn.qkv", f"attention.{part}_proj")] = rows
            continue
        new = {"cls_token": "embeddings.cls_token", "pos_embed": "embeddings.position_embeddings"}.get(new, new)
        new = new.replace("patch_embed.proj", "embeddings.patch_embeddings.projection")
        state[new.replace("norm.", "layernorm.") if new.startswith("norm.") else new] = tensor
    twin.load_state_dict(state)
    twin.save_pretrained(tmp_path / "dino")
    images = torch.rand(2, 3, 42, 42) * 2 - 1
    ours = load_dino(golden / "weights" / "dino.pth", heads=4)(images)
    theirs = load_dino(tmp_path / "dino", heads=4)(images)
    assert torch.equal(ours.keys, theirs.keys)
    assert torch.equal(ours.cls, theirs.cls)


def test_colours_of_a_picture_without_any() -> None:
    flat = np.full((8, 8, 3), 90, np.uint8)
    lively = picture(3)
    assert match_colours(flat, lively).shape == flat.shape
    assert match_colours(lively, flat).shape == lively.shape
    grey = np.repeat(lively[:, :, :1], 3, axis=2)
    assert np.isfinite(match_colours(grey, lively).astype(float)).all()
    same = match_colours(lively, lively)
    assert np.abs(same.astype(int) - (255 * ((lively - lively.min()) / np.ptp(lively))).astype(int)).max() <= 1


def test_a_job_from_a_spec(tmp_path: Path, golden: Path, load) -> None:
    write_tars(tmp_path / "in", 1, 2)
    params = load("image_run").params.model_dump(exclude_none=True)
    method = {"name": "diffuseit", "weights": str(golden / "weights" / "unet.pt"), "params": params}
    sums = []
    for size in (1, 2):
        out = tmp_path / f"out{size}"
        compute = {"batch_size": size, "torch_threads": 1}
        assert run_job(job(tmp_path / "in", out, method=method, compute=compute), local=True).state == "done"
        rows = index_rows(out)
        assert [row["status"] for row in rows] == ["ok", "ok"]
        sums.append([row["seed"] for row in rows])
    assert sums[0] == sums[1]


def test_half_precision_stays_close(load) -> None:
    exact, half = load("image_run", use_colormatch=False), load("image_run", use_colormatch=False, dtype="bfloat16")
    images = prepared(exact, 1)
    found = half.translate(Batch(images, seeds=[1]))
    assert found.dtype == torch.float32
    assert relative(found, exact.translate(Batch(images, seeds=[1]))) < 0.2


def class_conditional(golden: Path, place: Path, classes: int = 7) -> str:
    """The tiny UNet's file with a class embedding added."""
    state = read_tensors(golden / "weights" / "unet.pt")
    width = state["time_embed.2.weight"].shape[0]
    torch.manual_seed(5)
    torch.save({**state, "label_emb.weight": torch.randn(classes, width)}, place / "classes.pt")
    return str(place / "classes.pt")


def test_a_class_conditional_unet_is_loaded_with_its_classes(golden: Path, tmp_path: Path) -> None:
    unet = load_denoiser(Path(class_conditional(golden, tmp_path)), num_head_channels=16, class_conditional=True)
    plain = load_denoiser(golden / "weights" / "unet.pt", num_head_channels=16)
    x, t = torch.randn(2, 3, 32, 32), torch.tensor([5.0, 500.0])
    embedding = unet.get_parameter("label_emb.weight")
    wanted = plain.decode(plain.encode(x, plain.embed(t) + embedding[[3, 6]]), plain.embed(t) + embedding[[3, 6]])
    torch.testing.assert_close(unet(x, t, labels=torch.tensor([3, 6])), wanted)
    with pytest.raises(ValueError, match="the network has 7 classes"):
        unet(x, t)
    with pytest.raises(ValueError, match="the network has no classes"):
        plain(x, t, labels=torch.tensor([3, 6]))
    with pytest.raises(InputError, match=r"class-conditional UNet \(7 classes\), expected an unconditional one"):
        load_denoiser(tmp_path / "classes.pt", num_head_channels=16)


def test_classes_are_drawn_per_step_or_set(load, golden: Path, tmp_path: Path) -> None:
    changes: dict[str, Any] = {"unet": class_conditional(golden, tmp_path), "use_colormatch": False}
    method = load("image_run", **changes)
    images = prepared(method, 2)
    seen: list[Tensor] = []
    forward = method.unet.forward

    def watched(*arguments: Any, labels: Tensor | None = None) -> Tensor:
        assert labels is not None
        seen.append(labels.clone())
        return forward(*arguments, labels=labels)

    method.unet.forward = watched
    together = method.translate(Batch(images, seeds=[1, 2]))
    assert len({tuple(labels.tolist()) for labels in seen}) > 3
    assert {int(label) for labels in seen for label in labels} <= set(range(7))
    alone = method.translate(Batch(images[1:], seeds=[2]))
    assert relative(together[1], alone[0]) < 1e-3
    seen.clear()
    fixed = load("image_run", **changes, class_label=4)
    fixed.unet.forward, forward = watched, fixed.unet.forward
    fixed.translate(Batch(images, seeds=[1, 2]))
    assert {int(label) for labels in seen for label in labels} == {4}


def test_drawn_classes_are_uniform() -> None:
    counts = torch.bincount(labels_from_noise(torch.randn(50_000, generator=torch.Generator().manual_seed(0)), 5))
    assert counts.tolist() == pytest.approx([10_000] * 5, rel=0.05)
    assert labels_from_noise(torch.tensor([-99.0, 99.0]), 5).tolist() == [0, 4]


def test_the_restart_threshold_is_the_release_s_for_faces_and_for_all_else() -> None:
    from methods.diffuseit.guidance import restart_threshold
    from methods.diffuseit.params import DiffuseITParams

    picture = {"target_image": "t.png"}
    assert restart_threshold(DiffuseITParams.model_validate(picture)) == 0.01
    assert restart_threshold(DiffuseITParams.model_validate(picture | {"face_weights": "f.pth"})) == 0.1
    set_by_hand = picture | {"face_weights": "f.pth", "restart_threshold": 0.5}
    assert restart_threshold(DiffuseITParams.model_validate(set_by_hand)) == 0.5
