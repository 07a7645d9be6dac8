"""What holds for any weights: batches, sizes, determinism, no state, round trips."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import methods
from methods import Batch, Inputs
from methods.cyclegan_turbo.loading import load_generator
from methods.cyclegan_turbo.method import CycleGANTurbo
from methods.cyclegan_turbo.params import CycleGANTurboParams
from methods.turbo.native import NativeConfig, read_native, save_native

NIGHT, DAY = "driving in the night", "driving in the day"


def load(weights: Path, base: str, **params: Any) -> CycleGANTurbo:
    method = methods.load(
        "cyclegan_turbo", weights=str(weights), base=base, **{"caption": NIGHT, "image_prep": "no_resize", **params}
    )
    assert isinstance(method, CycleGANTurbo)
    return method


@pytest.fixture(scope="module")
def method(golden: Path) -> CycleGANTurbo:
    weights = golden / "_weights"
    return load(weights / "cyclegan_turbo.pkl", str(weights))


def pictures(count: int, height: int = 64, width: int = 64) -> list[np.ndarray]:
    return list(np.random.default_rng(7).integers(0, 256, (count, height, width, 3), np.uint8))


def stack(method: CycleGANTurbo, images: list[np.ndarray]) -> torch.Tensor:
    return torch.stack([method.prepare(Inputs(str(i), image)) for i, image in enumerate(images)])


def test_a_batch_is_its_samples(method: CycleGANTurbo) -> None:
    x, seeds = stack(method, pictures(5)), [11, 12, 13, 14, 15]
    together = method.translate(Batch(x, seeds))
    alone = torch.cat([method.translate(Batch(x[i : i + 1], seeds[i : i + 1])) for i in range(5)])
    torch.testing.assert_close(together, alone, atol=2e-4, rtol=0)


def test_the_same_twice_and_another_seed_differs(method: CycleGANTurbo) -> None:
    x = stack(method, pictures(2))
    first, again = method.translate(Batch(x, [1, 2])), method.translate(Batch(x, [1, 2]))
    assert torch.equal(first, again)
    other = method.translate(Batch(x, [1, 3]))
    assert torch.equal(first[0], other[0])
    assert not torch.equal(first[1], other[1])


@pytest.mark.parametrize(("height", "width"), [(8, 8), (24, 40), (64, 104), (72, 64)])
def test_every_multiple_of_8(method: CycleGANTurbo, height: int, width: int) -> None:
    output = method.translate(Batch(stack(method, pictures(2, height, width)), [1, 2]))
    assert output.shape == (2, 3, height, width)
    assert output.dtype == torch.float32
    assert output.abs().max() <= 1


def test_modules_keep_nothing_of_a_call(method: CycleGANTurbo) -> None:
    def held() -> dict[str, set[str]]:
        return {name: set(vars(module)) for name, module in method.generator.named_modules()}

    before, state = held(), {name: value.clone() for name, value in method.generator.state_dict().items()}
    method.translate(Batch(stack(method, pictures(1)), [1]))
    assert held() == before
    assert all(torch.equal(value, state[name]) for name, value in method.generator.state_dict().items())
    for _, module in method.generator.named_modules():
        extra = [k for k, v in vars(module).items() if isinstance(v, torch.Tensor)]
        assert not extra


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_latents_stay_in_float32(golden: Path, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    weights = golden / "_weights"
    method = methods.load(
        "cyclegan_turbo",
        weights=str(weights / "cyclegan_turbo.pkl"),
        base=str(weights),
        caption=NIGHT,
        image_prep="no_resize",
        dtype=dtype,
    )
    assert isinstance(method, CycleGANTurbo)
    seen: dict[str, torch.dtype] = {}
    generator, vae = method.generator, method.generator.vae
    denoise, decode = generator.denoise, vae.decode

    def spy_denoise(z: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        x0 = denoise(z, embedding)
        seen.update(z=z.dtype, x0=x0.dtype)
        return x0

    def spy_decode(latents: torch.Tensor, activations: Any) -> torch.Tensor:
        seen.update(decoder_in=latents.dtype, skip=activations[0].dtype)
        return decode(latents, activations)

    monkeypatch.setattr(generator, "denoise", spy_denoise)
    monkeypatch.setattr(vae, "decode", spy_decode)
    assert torch.isfinite(method.translate(Batch(stack(method, pictures(1)), [1]))).all()
    half = getattr(torch, dtype)
    assert seen == {"z": torch.float32, "x0": torch.float32, "decoder_in": torch.float32, "skip": half}
    assert generator.unet.conv_in.weight.dtype == half


def test_only_the_needed_vae_is_kept_and_lora_is_gone(method: CycleGANTurbo) -> None:
    names = set(method.generator.state_dict())
    assert not [name for name in names if "lora" in name or "base_layer" in name]
    assert {name.split(".")[0] for name in names} == {"unet", "vae"}


def test_directions_differ(golden: Path, method: CycleGANTurbo) -> None:
    weights = golden / "_weights"
    back = load(weights / "cyclegan_turbo.pkl", str(weights), direction="b2a")
    batch = Batch(stack(method, pictures(1)), [1])
    assert (back.translate(batch) - method.translate(batch)).abs().max() > 0.1


@pytest.mark.parametrize(("stored", "limit"), [(torch.float32, 1e-5), (torch.float16, 2e-2)])
def test_our_own_format_says_the_same(golden: Path, tmp_path: Path, stored: torch.dtype, limit: float) -> None:
    weights = golden / "_weights"
    official, base = str(weights / "cyclegan_turbo.pkl"), str(weights)
    tensors: dict[str, torch.Tensor] = {}
    for number, (direction, caption) in enumerate((("a2b", NIGHT), ("b2a", DAY))):
        params = CycleGANTurboParams.model_validate({"direction": direction, "caption": caption, "base": base})
        generator, embedding = load_generator(params, official)
        tensors |= {f"unet.{name}": value.to(stored) for name, value in generator.unet.state_dict().items()}
        tensors |= {f"vae_{direction}.{n}": v.to(stored) for n, v in generator.vae.state_dict().items()}
        tensors[f"captions.{number}"] = embedding[0].to(stored)
    config = NativeConfig(
        method="cyclegan_turbo",
        unet=dict(generator.unet.config),
        vae=generator.vae.config,
        scheduler={"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012},
        vaes={"a2b": "vae_a2b", "b2a": "vae_b2a"},
        captions=(NIGHT, DAY),
        default_captions={"a2b": NIGHT, "b2a": DAY},
        about={"seed": 1},
    )
    path = tmp_path / "own.safetensors"
    save_native(path, config, tensors)
    assert read_native(path, "cyclegan_turbo")[0].about == {"seed": 1}
    assert not [name for name in read_native(path, "cyclegan_turbo", only_vae="b2a")[1] if name.startswith("vae_a2b")]
    for direction, caption in (("a2b", NIGHT), ("b2a", DAY)):
        theirs = load(Path(official), base, direction=direction, caption=caption)
        ours = load(path, "nowhere/needed", direction=direction, caption=None)
        batch = Batch(stack(theirs, pictures(2)), [1, 2])
        wanted = theirs.translate(batch)
        assert (ours.translate(batch) - wanted).norm() / wanted.norm() < limit
    with pytest.raises(methods.InputError, match="holds no embedding of the caption 'a photo'"):
        load(path, base, caption="a photo")
    with pytest.raises(methods.InputError, match="holds a model for 'cyclegan_turbo', expected 'pix2pix_turbo'"):
        read_native(path, "pix2pix_turbo")


def test_captions_of_one_encoder_share_the_encoding(monkeypatch: pytest.MonkeyPatch) -> None:
    from methods.sharing import Together
    from methods.turbo.vae import SkipVAE

    def built(preset: str, **params: Any) -> Any:
        return methods.load("cyclegan_turbo", preset=preset, **params)

    choices = [("street_day_to_night", {}), ("street_day_to_night", {"caption": "driving in the day"})]
    choices.append(("street_night_to_day", {}))
    batch = Batch(torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(1)) * 2 - 1, [1, 2], ["a", "b"])
    alone = [built(preset, **params).translate(batch) for preset, params in choices]
    calls: list[int] = []
    encode = SkipVAE.encode
    monkeypatch.setattr(SkipVAE, "encode", lambda self, x: calls.append(len(x)) or encode(self, x))
    beside = [(built(preset, **params), replace(batch)) for preset, params in choices]
    Together.join(beside)
    for (method, each), expected in zip(beside, alone, strict=True):
        assert torch.equal(method.translate(each), expected)
    # one for both captions, one for the other direction
    assert calls == [2, 2]
    assert not torch.equal(alone[0], alone[1])
