"""The recorded pictures and tensors of the official code, from an official checkpoint."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import methods
from methods.base import Batch, Inputs, to_uint8
from methods.cyclegan_turbo.method import CycleGANTurbo
from methods.nn.image_prep import prepare_image


def case_of(golden: Path, name: str) -> tuple[dict, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    folder = golden / name
    case = json.loads((folder / "case.json").read_text())
    return case, load_file(folder / "inputs.safetensors"), load_file(folder / "expected.safetensors")


def build(
    official: Path, base: str, case: dict, image_prep: str, caption: str, dtype: str = "float32"
) -> CycleGANTurbo:
    method = methods.load(
        "cyclegan_turbo",
        weights=str(official),
        base=base,
        direction=case["direction"],
        caption=caption,
        image_prep=image_prep,
        lanczos="pillow",
        dtype=dtype,
    )
    assert isinstance(method, CycleGANTurbo)
    return method


@pytest.mark.parametrize("name", ["cyclegan_a2b", "cyclegan_b2a"])
def test_every_intermediate_is_the_official_one(golden: Path, official: Path, base: str, name: str) -> None:
    case, inputs, expected = case_of(golden, name)
    method = build(official, base, case, "no_resize", case["prompts"][0])
    generator = method.generator
    x = torch.stack([method.prepare(Inputs("key", image.numpy())) for image in inputs["image_uint8"]])
    with torch.inference_mode():
        encoded = generator.vae.encode(x)
        z = encoded.sample(inputs["vae_noise"]) * generator.vae.scaling_factor
        decoder_in = generator.denoise(z, method.embedding) / generator.vae.scaling_factor
        decoded = generator.vae.decode(decoder_in, encoded.activations)
        skips = [
            generator.vae.skip_conv(number)(activation)
            for number, activation in enumerate(reversed(encoded.activations), start=1)
        ]
    found = {
        "text_emb": method.embedding,
        "posterior_mean": encoded.mean,
        "posterior_logvar": encoded.logvar,
        "unet_in": z,
        "decoder_in": decoder_in,
        "decoded_unclamped": decoded,
        **{f"skip_add_{number}": skip for number, skip in enumerate(skips, start=1)},
    }
    checked = 0
    for key, tensor in found.items():
        if key not in expected or key not in case["tolerance"]:
            continue
        atol = float(case["tolerance"][key].removeprefix("atol "))
        wanted = expected[key]
        tensor = tensor[:, : wanted.shape[1]]
        torch.testing.assert_close(tensor, wanted, atol=atol, rtol=0, msg=lambda text, key=key: f"{key}: {text}")
        checked += 1
    assert checked >= 6


@pytest.mark.parametrize("name", ["cyclegan_a2b", "cyclegan_b2a"])
def test_output_with_the_recorded_draws(golden: Path, official: Path, base: str, name: str) -> None:
    case, inputs, expected = case_of(golden, name)
    method = build(official, base, case, "no_resize", case["prompts"][0])
    x = torch.stack([method.prepare(Inputs("key", image.numpy())) for image in inputs["image_uint8"]])
    output = method.translate(Batch(x, seeds=[0] * len(x), draws={"latent": inputs["vae_noise"]}))
    torch.testing.assert_close(output, expected["output"], atol=5e-4, rtol=0)
    off = np.abs(to_uint8(output).astype(int) - expected["output_uint8"].numpy().astype(int))
    assert off.max() <= 1
    assert (off > 0).mean() < 0.01


@pytest.mark.parametrize(("dtype", "limit"), [("float16", 0.01), ("bfloat16", 0.06)])
def test_half_precision_stays_close(golden: Path, official: Path, base: str, dtype: str, limit: float) -> None:
    case, inputs, expected = case_of(golden, "cyclegan_a2b")
    method = build(official, base, case, "no_resize", case["prompts"][0], dtype)
    x = torch.stack([method.prepare(Inputs("key", image.numpy())) for image in inputs["image_uint8"]])
    output = method.translate(Batch(x, seeds=[0], draws={"latent": inputs["vae_noise"]}))
    assert output.dtype == torch.float32
    assert (output - expected["output"]).norm() / expected["output"].norm() < limit


def test_the_unpaired_script_picture_in_picture_out(golden: Path, official: Path, base: str) -> None:
    case, inputs, expected = case_of(golden, "cli_unpaired_resize256")
    method = build(official, base, case, case["image_prep"], case["prompt"])
    image = inputs["image_uint8"].numpy()
    x = method.prepare(Inputs("key", image))[None]
    assert x.shape == (1, 3, 256, 256)
    output = to_uint8(method.translate(Batch(x, seeds=[0], draws={"latent": inputs["vae_noise"]})))[0]
    size = (image.shape[1], image.shape[0])
    restored = np.asarray(Image.fromarray(output).resize(size, Image.Resampling.LANCZOS))
    off = np.abs(restored.astype(int) - expected["output_uint8"].numpy().astype(int))
    assert off.max() <= 1
    assert (off > 0).mean() < 0.01


@pytest.mark.parametrize("name", ["resize_256", "resize_256x256", "resize_512", "resize_512x512", "resized_crop_512"])
def test_image_prep_gives_the_official_pixels(golden: Path, name: str) -> None:
    case, inputs, expected = case_of(golden, "image_prep")
    image = prepare_image(inputs["image_uint8"].numpy(), name)
    digest = case["digests"][name]
    assert list(image.shape) == digest["shape"]
    assert np.array_equal(image[8:40, 16:48], expected[f"{name}.patch"].numpy())
    assert hashlib.sha256(np.ascontiguousarray(image).tobytes()).hexdigest() == digest["sha256"]
    fast = prepare_image(inputs["image_uint8"].numpy(), name, "fast")
    off = np.abs(fast.astype(int) - image)
    assert off.max() <= 2
    assert (off > 0).mean() < 0.01


def test_the_fast_resize_is_the_default(official: Path, base: str, golden: Path) -> None:
    _, inputs, _ = case_of(golden, "image_prep")
    image = inputs["image_uint8"].numpy()
    prepared = {}
    for name, chosen in (("default", {}), ("fast", {"lanczos": "fast"}), ("pillow", {"lanczos": "pillow"})):
        method = methods.load(
            "cyclegan_turbo", weights=str(official), base=base, caption="night", image_prep="resize_64", **chosen
        )
        prepared[name] = method.prepare(Inputs("k", image))
    assert torch.equal(prepared["default"], prepared["fast"])
    assert not torch.equal(prepared["fast"], prepared["pillow"])
    assert (prepared["fast"] - prepared["pillow"]).abs().max() <= 2.01 / 127.5
