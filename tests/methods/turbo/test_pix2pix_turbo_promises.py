"""What holds for any pix2pix-Turbo weights: batches, gamma by sample, no state between calls, refusals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import methods
from methods import BadSample, Batch, InputError, Inputs
from methods.base import MethodInfo
from methods.pix2pix_turbo.method import Pix2PixTurbo
from methods.turbo.condition import condition
from methods.turbo.generator import build_unet
from methods.turbo.lora import merge_lora
from methods.turbo.official import collect_adapters
from methods.turbo.vae import SkipVAE

CAPTION = "a blue bird"


def load(base: str, file: str, **params: Any) -> Pix2PixTurbo:
    method = methods.load("pix2pix_turbo", weights=str(Path(base) / file), base=base, **{"caption": CAPTION, **params})
    assert isinstance(method, Pix2PixTurbo)
    return method


def pictures(method: Pix2PixTurbo, count: int, **columns: Any) -> torch.Tensor:
    images = np.random.default_rng(5).integers(0, 256, (count, 64, 64, 3), np.uint8)
    return torch.stack([method.prepare(Inputs(str(i), im, columns=columns)) for i, im in enumerate(images)])


@pytest.fixture(scope="module")
def sketch(golden: Path) -> Pix2PixTurbo:
    return load(str(golden / "_weights"), "sketch_stochastic.pkl", gamma=0.4)


def test_a_batch_of_several_gammas_and_captions_is_its_samples(base: str) -> None:
    method = load(base, "sketch_stochastic.pkl", gamma=0.4, caption=None)
    x, seeds = pictures_with(method, 4), [1, 2, 3, 4]
    columns: list[dict[str, Any]] = [{"gamma": 0.1}, {}, {"gamma": 1}, {"gamma": 0.1}]
    captions = ["a bird", "a cat", "a bird", "a house"]
    together = method.translate(Batch(x, seeds, captions=captions, columns=columns))
    alone = [
        method.translate(Batch(x[i : i + 1], [seeds[i]], captions=[captions[i]], columns=[columns[i]]))
        for i in range(4)
    ]
    torch.testing.assert_close(together, torch.cat(alone), atol=2e-4, rtol=0)
    other = method.translate(Batch(x, seeds, captions=captions, columns=[{}] * 4))
    assert torch.allclose(other[1], together[1], atol=2e-4)
    assert (other[0] - together[0]).abs().max() > 0.05


def pictures_with(method: Pix2PixTurbo, count: int) -> torch.Tensor:
    images = np.random.default_rng(5).integers(0, 256, (count, 64, 64, 3), np.uint8)
    return torch.stack([method.prepare(Inputs(str(i), im, "a bird")) for i, im in enumerate(images)])


def test_no_call_depends_on_the_one_before(base: str, sketch: Pix2PixTurbo) -> None:
    x = pictures(sketch, 1)

    def at(gamma: float) -> torch.Tensor:
        return sketch.translate(Batch(x, [7], columns=[{"gamma": gamma}]))

    first = {gamma: at(gamma) for gamma in (1.0, 0.4, 0.0)}
    again = {gamma: at(gamma) for gamma in (0.0, 1.0, 0.4)}
    assert all(torch.equal(first[gamma], again[gamma]) for gamma in first)
    deterministic = load(base, "sketch_stochastic.pkl")
    at_one = deterministic.translate(Batch(x, [7]))
    assert torch.equal(at_one, first[1.0])
    # with no gamma asked for, a column of that name means nothing
    assert torch.equal(deterministic.translate(Batch(x, [7], columns=[{"gamma": 0.2}])), at_one)


def test_gamma_one_is_the_plain_merge_and_gamma_zero_ignores_the_picture(base: str, sketch: Pix2PixTurbo) -> None:
    x = pictures(sketch, 2)
    zero = [{"gamma": 0.0}] * 2
    draws = {"noise_map": torch.randn(1, 4, 8, 8), "latent": torch.randn(1, 4, 8, 8).expand(2, -1, -1, -1)}
    out = sketch.translate(Batch(x, [1, 2], columns=zero, draws=draws))
    torch.testing.assert_close(out[0], out[1], atol=1e-5, rtol=0)
    # gamma 0 is SD-Turbo: no LoRA, no skips, the first layer as it was
    from methods.turbo.base_model import BaseModel

    model, vae = BaseModel(Path(base)), sketch.generator.vae
    plain = model.unet()
    timestep = torch.tensor([999])
    with torch.inference_mode():
        n0 = draws["noise_map"]
        epsilon = plain(n0, timestep, sketch.captions([CAPTION]), return_dict=False)[0]
        x0 = (n0 - (1 - model.alpha_bar) ** 0.5 * epsilon) / model.alpha_bar**0.5
        zeros = [torch.zeros_like(a) for a in vae.encode(x[:1]).activations]
        wanted = vae.decode(x0 / vae.scaling_factor, zeros).clamp(-1, 1)
    torch.testing.assert_close(out[:1], wanted, atol=2e-4, rtol=0)
    assert not torch.equal(sketch.translate(Batch(x, [1, 2])), out)


def test_the_unet_alpha_is_eight_at_any_rank(base: str, sketch: Pix2PixTurbo) -> None:
    state = torch.load(Path(base) / "sketch_stochastic.pkl", weights_only=True)
    assert state["rank_unet"] == 12
    from methods.turbo.base_model import BaseModel

    weights = dict(BaseModel(Path(base)).unet().state_dict())
    merge_lora(weights, collect_adapters(state["state_dict_unet"], 12, "here"), 8 / 12)
    sketch.translate(Batch(pictures(sketch, 1), [1], columns=[{"gamma": 1.0}]))
    name = "mid_block.resnets.0.conv1.weight"
    torch.testing.assert_close(sketch.generator.unet.state_dict()[name], weights[name])


def test_variants_differ_and_repeat(sketch: Pix2PixTurbo) -> None:
    from methods.base import sample_seed

    x = pictures(sketch, 1)
    outputs = [sketch.translate(Batch(x, [sample_seed(0, "k", variant)])) for variant in (0, 1, 0)]
    assert torch.equal(outputs[0], outputs[2])
    assert (outputs[0] - outputs[1]).abs().mean() > 0.05


def test_two_noises_are_drawn_by_name(sketch: Pix2PixTurbo) -> None:
    x = pictures(sketch, 1)
    batch = Batch(x, [3])
    draws = {"latent": batch.noise((4, 8, 8), "latent"), "noise_map": batch.noise((4, 8, 8), "noise_map")}
    assert not torch.equal(draws["latent"], draws["noise_map"])
    assert torch.equal(sketch.translate(batch), sketch.translate(Batch(x, [3], draws=draws)))


def test_sketches_are_cut_at_half() -> None:
    grey = np.array([[[0, 127, 128]], [[255, 126, 129]]], np.uint8)
    assert condition(grey, "sketch").permute(1, 2, 0).tolist() == [[[1, 1, 0]], [[0, 1, 0]]]
    white_paper = np.full((8, 8, 3), 255, np.uint8)
    assert condition(white_paper, "sketch").sum() == 0
    assert condition(white_paper, "image").max() == 1
    assert condition(white_paper, "canny").max() == 0


def refused(base: Path | str, path: Path | str, **params: Any) -> str:
    with pytest.raises(InputError) as caught:
        methods.load("pix2pix_turbo", weights=str(path), base=str(base), **params)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def edited(base: str, tmp_path: Path, edit: Callable[[dict[str, Any]], Any], file: str = "pix2pix_turbo.pkl") -> Path:
    state = torch.load(Path(base) / file, weights_only=True)
    edit(state)
    torch.save(state, tmp_path / "edited.pkl")
    return tmp_path / "edited.pkl"


def test_wrong_files(base: str, official: Path, tmp_path: Path) -> None:
    assert "found a cyclegan_turbo checkpoint, expected one for pix2pix_turbo" in refused(base, official)
    for key in ("state_dict_unet", "state_dict_vae", "rank_vae"):
        assert f"{key} missing" in refused(base, edited(base, tmp_path, lambda s, key=key: s.pop(key)))
    for name, said in (
        ("conv_in.bias", "'conv_in.bias' missing, expected the trained first layer"),
        ("mid_block.resnets.0.conv1.lora_B.default.weight", "LoRA weights missing for mid_block.resnets.0.conv1"),
    ):
        message = refused(base, edited(base, tmp_path, lambda s, name=name: s["state_dict_unet"].pop(name)))
        assert said in message
        assert "edited.pkl (state_dict_unet)" in message

    def no_module(state: dict[str, Any]) -> None:
        state["state_dict_vae"] = {k: v for k, v in state["state_dict_vae"].items() if "mid_block" not in k}

    assert "LoRA weights missing for encoder.mid_block" in refused(base, edited(base, tmp_path, no_module))

    def no_skip(state: dict[str, Any]) -> None:
        del state["state_dict_vae"]["decoder.skip_conv_2.base_layer.weight"]

    assert "'decoder.skip_conv_2.base_layer.weight' missing" in refused(base, edited(base, tmp_path, no_skip))
    message = refused(base, edited(base, tmp_path, lambda s: s.update(rank_unet=5)))
    assert "LoRA rank 8, expected 5 as the file states" in message

    def half_twin(state: dict[str, Any]) -> None:
        del state["state_dict_unet"]["conv_in.conv_in_curr.weight"]

    message = refused(base, edited(base, tmp_path, half_twin, "sketch_stochastic.pkl"))
    assert "'conv_in.conv_in_curr.weight' missing" in message

    def other_conv_in(state: dict[str, Any]) -> None:
        state["state_dict_unet"]["conv_in.weight"] = torch.zeros(4, 4, 3, 3)

    assert "'conv_in.weight' is (4, 4, 3, 3), the base model's is" in refused(
        base, edited(base, tmp_path, other_conv_in)
    )
    assert "no such file" in refused(base, tmp_path / "nowhere.pkl")
    assert "found a folder" in refused(base, base)
    with pytest.raises(InputError, match=r"needs weights: .*edge_to_image"):
        methods.load("pix2pix_turbo")


def test_a_base_model_of_another_shape(base: str, tmp_path: Path) -> None:
    import json
    import shutil

    from safetensors.torch import save_file

    other = tmp_path / "base"
    shutil.copytree(base, other, ignore=shutil.ignore_patterns("*.pkl"))
    config = json.loads((other / "unet" / "config.json").read_text())
    config["block_out_channels"] = [16, 32]
    (other / "unet" / "config.json").write_text(json.dumps(config))
    weights = {k: v.contiguous() for k, v in build_unet(config).state_dict().items()}
    save_file(weights, other / "unet" / "diffusion_pytorch_model.safetensors")
    message = refused(other, Path(base) / "pix2pix_turbo.pkl")
    assert "pix2pix_turbo.pkl (state_dict_unet)" in message
    assert "the base model's is (16, 4, 3, 3)" in message


def test_half_precision_files_load(base: str, tmp_path: Path) -> None:
    def halve(state: dict[str, Any]) -> None:
        for key in ("state_dict_unet", "state_dict_vae"):
            state[key] = {name: value.half() for name, value in state[key].items()}

    whole = load(base, "pix2pix_turbo.pkl")
    half = methods.load("pix2pix_turbo", weights=str(edited(base, tmp_path, halve)), base=base, caption=CAPTION)
    batch = Batch(pictures(whole, 1), [1])
    wanted = whole.translate(batch)
    assert (half.translate(batch) - wanted).norm() / wanted.norm() < 0.02


def test_gamma_and_captions_are_checked(base: str) -> None:
    message = refused(base, f"{base}/pix2pix_turbo.pkl", gamma=0.4)
    assert "trained for deterministic translation" in message
    assert "method.params.gamma" in refused(base, f"{base}/sketch_stochastic.pkl", gamma=1.2)
    method = load(base, "sketch_stochastic.pkl", gamma=0.4, caption=None)
    image = np.zeros((64, 64, 3), np.uint8)
    for value in (-0.1, 1.5, "much", float("nan")):
        with pytest.raises(BadSample, match="expected a number in"):
            method.prepare(Inputs("k", image, "a cat", {"gamma": value}))
    with pytest.raises(BadSample, match="no caption"):
        method.prepare(Inputs("k", image))
    with pytest.raises(BadSample, match="needs an image"):
        method.prepare(Inputs("k", None, "a cat"))


def test_the_full_size_layout_has_the_published_sizes() -> None:
    from methods.pix2pix_turbo.info import INFO

    assert isinstance(INFO, MethodInfo)
    vae_config = {
        "block_out_channels": [128, 256, 512, 512],
        "down_block_types": ["DownEncoderBlock2D"] * 4,
        "up_block_types": ["UpDecoderBlock2D"] * 4,
        "layers_per_block": 2,
        "latent_channels": 4,
        "norm_num_groups": 32,
        "scaling_factor": 0.18215,
    }
    with torch.device("meta"):
        vae = SkipVAE(vae_config)
    assert round(sum(p.numel() for p in vae.parameters()) / 1e6, 1) == 84.1
    assert [tuple(vae.skip_conv(n).weight.shape[:2]) for n in (1, 2, 3, 4)] == [
        (512, 512),
        (512, 256),
        (512, 128),
        (256, 128),
    ]


def test_code_in_a_pickle_is_refused_unrun_by_inference_and_training(base: str, tmp_path: Path) -> None:
    import os

    from methods.train import registry

    witness = tmp_path / "witness"

    class Payload:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.system, (f"touch {witness}",)

    torch.save({"rank_unet": Payload()}, tmp_path / "code.pkl")
    assert "refused, it holds code" in refused(base, tmp_path / "code.pkl")
    start = {"base": base, "start": str(tmp_path / "code.pkl"), "caption": CAPTION, "lambda_clipsim": 0}
    with pytest.raises(InputError, match="refused, it holds code"):
        registry.build("pix2pix_turbo", start, torch.device("cpu"), torch.float32, 1)
    assert not witness.exists()
