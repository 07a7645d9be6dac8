"""What holds for every Asyrp model: batches, strengths, attributes, other file formats, whole jobs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.unets.unet_2d import UNet2DModel
from safetensors.torch import load_file
from torch import Tensor

from methods.asyrp.delta_block import DDPMDeltaBlock, GuidedDeltaBlock, read_delta_block, save_delta_block
from methods.asyrp.measure import measure_tables
from methods.asyrp.process import invert, linear_alphas, sequence
from methods.base import Batch, Inputs
from methods.nn.ddpm_unet import DDPMConfig, DDPMUNet
from methods.nn.unconditional import load_denoiser
from methods.sharing import Together, sharing
from pipeline.run.driver import run_job
from tests.support.datasets import picture, write_tars
from tests.support.jobs import index_rows, job


def translate(method: Any, images: Tensor, seeds: list[int]) -> Tensor:
    return method.translate(Batch(images, seeds=seeds))


def distance(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / other.norm())


@pytest.fixture(scope="module")
def images() -> Tensor:
    rng = torch.Generator().manual_seed(5)
    coarse = torch.rand(3, 3, 8, 8, generator=rng) * 1.4 - 0.7
    return torch.nn.functional.interpolate(coarse, (64, 64), mode="bilinear")


def test_a_batch_is_its_samples(load, images: Tensor) -> None:
    method = load("ddpm_edit6")
    together = translate(method, images[:2], [1, 2])
    alone = torch.cat([translate(method, images[i : i + 1], [i + 1]) for i in range(2)])
    assert distance(together, alone) < 1e-4
    assert torch.equal(translate(method, images[:1], [1]), alone[:1])
    assert not torch.equal(translate(method, images[:1], [9]), alone[:1])


def test_strength_is_a_factor_on_the_shift(load, images: Tensor) -> None:
    still = load("ddpm_edit6", strength=0.0, t_boost=0)
    latent = torch.zeros(1, 32, 32, 32), torch.zeros(1, 64)
    assert torch.equal(still.shift(*latent), latent[0])
    plain = translate(still, images[:1], [1])
    changes = []
    for strength in (0.1, 0.2, 1.0):
        edited = translate(load("ddpm_edit6", strength=strength, t_boost=0), images[:1], [1])
        changes.append(distance(edited, plain))
    assert 0 < changes[0] < changes[1] < changes[2]
    outside = translate(load("ddpm_edit6", t_edit=999, steps=6, t_boost=0), images[:1], [1])
    assert distance(outside, plain) > 0.001


def test_strengths_that_are_built_beside_each_other_share_the_inversion(
    load, images: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    inverted: list[int] = []

    def counted(unet: Any, pictures: Tensor, *rest: Any) -> Tensor:
        inverted.append(len(pictures))
        return invert(unet, pictures, *rest)

    monkeypatch.setattr("methods.asyrp.method.invert", counted)
    strengths = (-1.0, 0.5, 1.0)
    apart = [translate(load("ddpm_edit6", strength=strength), images[:1], [1]) for strength in strengths]
    assert len(inverted) == 3
    with sharing():
        grid = [load("ddpm_edit6", strength=strength) for strength in strengths]
        other = load("ddpm_edit6", steps_inversion=5)
    assert all(method.unet is grid[0].unet for method in [*grid, other])
    batches = [Batch(images[:1], [1]) for _ in [*grid, other]]
    Together.join([*zip([*grid, other], batches, strict=True)])
    *together, fewer = [method.translate(each) for method, each in zip([*grid, other], batches, strict=True)]
    assert len(inverted) == 5
    assert all(torch.equal(one, alone) for one, alone in zip(together, apart, strict=True))
    assert not torch.equal(fewer, together[2])


def test_fewer_steps_make_each_shift_stronger_and_attributes_share(load, golden: Path) -> None:
    block = str(golden / "ddpm_edit6" / "delta.pth")
    assert load("ddpm_edit6", steps_train=12).shift.coefficients == (2.0,)
    two = load("ddpm_edit6", attributes=[{"block": block, "strength": 2.0}, {"block": block, "strength": -1.0}])
    assert two.shift.coefficients == pytest.approx((2 / 2**0.5, -1 / 2**0.5))
    features, embedding = torch.randn(1, 32, 4, 4), torch.randn(1, 64)
    one = load("ddpm_edit6", strength=1 / 2**0.5)
    assert torch.allclose(two.shift(features, embedding), one.shift(features, embedding), atol=1e-5)
    origin = load("ddpm_edit6", origin=0.9, strength=0.0)
    assert torch.allclose(origin.shift(features, embedding), 0.9 * features)


def test_the_boost_changes_the_picture_and_only_its_own_noise_matters(load, images: Tensor) -> None:
    boosted, plain = load("ddpm_edit6"), load("ddpm_edit6", t_boost=0)
    assert distance(translate(boosted, images[:1], [1]), translate(plain, images[:1], [1])) > 0.005
    assert torch.equal(translate(plain, images[:1], [1]), translate(plain, images[:1], [7]))


def test_half_precision_stays_close(load, images: Tensor) -> None:
    wanted = translate(load("ddpm_edit6"), images[:1], [1])
    assert distance(translate(load("ddpm_edit6", dtype="bfloat16"), images[:1], [1]), wanted) < 0.1


def test_released_sizes() -> None:
    """113.67 M values in 450 tensors, and DeltaBlocks of 789 k and 790 k values."""
    with torch.device("meta"):
        unet = DDPMUNet(DDPMConfig())
        blocks = DDPMDeltaBlock(512, 512), GuidedDeltaBlock(512, 512)
    assert len(unet.state_dict()) == 450
    assert sum(value.numel() for value in unet.state_dict().values()) == 113_673_219
    noisy, embedding = torch.empty(1, 3, 256, 256, device="meta"), torch.empty(1, 512, device="meta")
    assert unet.encode(noisy, embedding).bottleneck.shape == (1, 512, 8, 8)
    assert [sum(value.numel() for value in block.state_dict().values()) for block in blocks] == [788_992, 790_016]


def released_like(path: Path, kind: type) -> dict[str, Tensor]:
    """A file as the release writes it, with the block's keys as its fact sheet lists them."""
    torch.manual_seed(0)
    names = {
        DDPMDeltaBlock: ("conv1", "temb_proj", "norm2", "conv2"),
        GuidedDeltaBlock: ("in_layers.0", "in_layers.2", "emb_layers.1", "out_layers.0", "out_layers.3"),
    }[kind]
    norms = ("norm2", "in_layers.0", "out_layers.0")
    state: dict[str, Tensor] = {}
    for name in names:
        shape = (512,) if name in norms else (512, 512) if name in ("temb_proj", "emb_layers.1") else (512, 512, 1, 1)
        state |= {f"{name}.weight": torch.randn(shape) / 20, f"{name}.bias": torch.randn(512) / 20}
    group = {"lr": 0.5, "momentum": 0, "params": list(range(len(state)))}
    content = {"0": state, "optimizer": {"state": {}, "param_groups": [group]}, "scheduler": {"gamma": 0.9}}
    torch.save(content, path)
    return state


@pytest.mark.parametrize("kind", [DDPMDeltaBlock, GuidedDeltaBlock])
def test_released_blocks_load_and_are_written_alike(tmp_path: Path, kind: type) -> None:
    state = released_like(tmp_path / "smiling.pth", kind)
    block = read_delta_block(tmp_path / "smiling.pth", 512)
    assert isinstance(block, kind)
    assert all(torch.equal(block.state_dict()[name], value) for name, value in state.items())
    again = save_delta_block(tmp_path / "again.pth", block, {"state": {}}, {"gamma": 0.9})
    written = torch.load(again, weights_only=True)
    assert list(written) == ["0", "optimizer", "scheduler"]
    assert set(written["0"]) == set(state)
    features, embedding = torch.randn(2, 512, 4, 4), torch.randn(2, 512)
    timeless = read_delta_block(again, 512, ignore_timesteps=True)
    assert torch.equal(timeless(features, embedding), timeless(features, -embedding))
    assert not torch.allclose(block(features, embedding), timeless(features, embedding))


def diffusers_twin(state: dict[str, Tensor]) -> UNet2DModel:
    """A UNet2DModel with the weights of the golden DDPM, named as diffusers names them."""
    model = UNet2DModel(
        sample_size=64,
        block_out_channels=(16, 32),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        downsample_padding=0,
        flip_sin_to_cos=False,
        freq_shift=1,
        norm_eps=1e-6,
        norm_num_groups=8,
        attention_head_dim=None,
    )
    own = model.state_dict()
    middle = {"block_1": "resnets.0", "attn_1": "attentions.0", "block_2": "resnets.1"}
    projections = {"q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0", "norm": "group_norm"}
    for name, tensor in state.items():
        new = re.sub(r"^temb\.dense\.(\d)", lambda m: f"time_embedding.linear_{int(m[1]) + 1}", name)
        new = re.sub(r"^down\.(\d)", r"down_blocks.\1", new)
        new = re.sub(r"^up\.(\d)", lambda m: f"up_blocks.{1 - int(m[1])}", new)
        new = re.sub(r"^mid\.(\w+)", lambda m: f"mid_block.{middle[m[1]]}", new)
        new = re.sub(r"\.(down|up)sample\.", r".\1samplers.0.", new)
        new = re.sub(r"(blocks\.\d)\.block\.", r"\1.resnets.", new)
        new = re.sub(r"(blocks\.\d)\.attn\.", r"\1.attentions.", new)
        if "attentions" in new:
            new = re.sub(r"\.(q|k|v|proj_out|norm)\.(weight|bias)$", lambda m: f".{projections[m[1]]}.{m[2]}", new)
        new = new.replace("temb_proj", "time_emb_proj").replace("nin_shortcut", "conv_shortcut")
        new = re.sub(r"^norm_out", "conv_norm_out", new)
        own[new] = tensor.view(own[new].shape)
    model.load_state_dict(own)
    return model


def test_diffusers_folders_are_the_same_network(tmp_path: Path, golden: Path, load, images: Tensor) -> None:
    state = load_file(golden / "ddpm_edit6" / "unet_official_layout.safetensors")
    twin = diffusers_twin(state).eval()
    twin.save_pretrained(tmp_path / "model" / "unet")
    ours = load_denoiser(tmp_path / "model")
    times = torch.tensor([0.0, 399.0, 999.0])
    with torch.no_grad():
        assert distance(ours(images, times), twin(images, times).sample) < 1e-5
    edited = translate(load("ddpm_edit6", unet=tmp_path / "model"), images, [1, 2, 3])
    assert distance(edited, translate(load("ddpm_edit6"), images, [1, 2, 3])) < 1e-5


def test_measured_tables_rise_with_the_noise(golden: Path, images: Tensor) -> None:
    unet = load_denoiser(golden / "ddpm_edit6" / "unet_official_layout.safetensors", 8)
    timesteps = sequence(6, 999)

    def rms(one: Tensor, other: Tensor) -> Tensor:
        return (one - other).square().mean((1, 2, 3)).sqrt()

    whole = measure_tables(unet, [images], linear_alphas(1e-4, 0.004), timesteps, rms)
    parts = measure_tables(unet, [images[:2], images[2:]], linear_alphas(1e-4, 0.004), timesteps, rms)
    assert [list(table) for table in whole] == [timesteps[1:]] * 2
    for one, other in zip(whole, parts, strict=True):
        assert list(one.values()) == pytest.approx(list(other.values()), rel=1e-4)
        assert all(value > 0 for value in one.values())
    assert whole[1][999] > whole[1][199]


def test_a_job_from_a_spec(tmp_path: Path, golden: Path) -> None:
    write_tars(tmp_path / "in", 1, 3)
    folder = golden / "iddpm_edit6"
    params = {
        "attributes": [{"block": str(folder / "delta.pth"), "strength": 0.5}],
        "t_edit": 400,
        "t_boost": 250,
        "steps": 4,
        "steps_inversion": 4,
        "norm_num_groups": 8,
        "num_head_channels": 16,
        "image_size": 32,
        "beta_end": 0.004,
    }
    weights = str(folder / "unet_official_layout.safetensors")
    outputs = []
    for size in (1, 3):
        out = tmp_path / f"out{size}"
        spec = job(
            tmp_path / "in",
            out,
            method={"name": "asyrp", "weights": weights, "params": params},
            compute={"batch_size": size, "torch_threads": 1},
        )
        assert run_job(spec, local=True).state == "done"
        outputs.append(index_rows(out))
    assert [row["status"] for row in outputs[0]] == ["ok"] * 3
    assert [(row["width"], row["height"]) for row in outputs[0]] == [
        (row["width"], row["height"]) for row in outputs[1]
    ]


def test_prepare_resizes_to_the_square(load) -> None:
    prepared = load("ddpm_edit6").prepare(Inputs("k", picture(1, (80, 50))))
    assert prepared.shape == (3, 64, 64)
    assert float(prepared.min()) >= -1
    assert float(prepared.max()) <= 1
    white = load("ddpm_edit6").prepare(Inputs("k", np.full((9, 9, 3), 255, np.uint8)))
    assert torch.equal(white, torch.ones(3, 64, 64))
