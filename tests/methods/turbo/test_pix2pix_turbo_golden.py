"""pix2pix-Turbo against the recorded tensors and pictures of the official code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import methods
from methods.base import Batch, Inputs, to_uint8
from methods.nn.image_prep import prepare_image
from methods.pix2pix_turbo.method import Pix2PixTurbo
from methods.turbo.condition import canny_edges

FILES = {"pix2pix_det": "pix2pix_turbo.pkl", "pix2pix_stochastic_g040": "sketch_stochastic.pkl"}


def case_of(golden: Path, name: str) -> tuple[dict[str, Any], dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    folder = golden / name
    case = json.loads((folder / "case.json").read_text())
    return case, load_file(folder / "inputs.safetensors"), load_file(folder / "expected.safetensors")


def load(base: str, file: str, **params: Any) -> Pix2PixTurbo:
    method = methods.load("pix2pix_turbo", weights=f"{base}/{file}", base=base, **params)
    assert isinstance(method, Pix2PixTurbo)
    return method


def build(base: str, name: str, case: dict[str, Any]) -> Pix2PixTurbo:
    kind = "sketch" if case["kind"] == "sketch" else "image"
    return load(base, FILES[name], caption=case["prompts"][0], gamma=case["gamma"], input=kind, image_prep="no_resize")


def draws_of(inputs: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    found = {"latent": inputs["vae_noise"]}
    return found | ({"noise_map": inputs["noise_map"]} if "noise_map" in inputs else {})


@pytest.mark.parametrize("name", FILES)
def test_the_recorded_output(golden: Path, base: str, name: str) -> None:
    case, inputs, expected = case_of(golden, name)
    method = build(base, name, case)
    x = torch.stack([method.prepare(Inputs("key", image.numpy())) for image in inputs["image_uint8"]])
    output = method.translate(Batch(x, [0] * len(x), draws=draws_of(inputs)))
    torch.testing.assert_close(output, expected["output"], atol=5e-4, rtol=0)
    difference = np.abs(to_uint8(output).astype(int) - expected["output_uint8"].numpy().astype(int))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


@pytest.mark.parametrize("name", FILES)
def test_every_intermediate(golden: Path, base: str, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    case, inputs, expected = case_of(golden, name)
    method = build(base, name, case)
    generator, vae = method.generator, method.generator.vae
    found: dict[str, torch.Tensor] = {"text_emb": method.captions([case["prompts"][0]])}
    encode, denoise, decode = vae.encode, generator.denoise, vae.decode

    def spy_encode(x: torch.Tensor) -> Any:
        encoded = encode(x)
        found.update(posterior_mean=encoded.mean, posterior_logvar=encoded.logvar)
        for number, activation in enumerate(reversed(encoded.activations), start=1):
            found[f"skip_add_{number}"] = vae.skip_conv(number)(activation)
        return encoded

    def spy_denoise(z: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
        found["unet_in"] = z
        return denoise(z, embedding)

    def spy_decode(latents: torch.Tensor, activations: Any) -> torch.Tensor:
        found["decoder_in"] = latents
        return decode(latents, activations)

    monkeypatch.setattr(vae, "encode", spy_encode)
    monkeypatch.setattr(generator, "denoise", spy_denoise)
    monkeypatch.setattr(vae, "decode", spy_decode)
    x = torch.stack([method.prepare(Inputs("key", image.numpy())) for image in inputs["image_uint8"]])
    method.translate(Batch(x, [0] * len(x), draws=draws_of(inputs)))
    assert len(found.keys() & expected.keys()) >= 8
    for key, tensor in found.items():
        if key not in expected:
            continue
        atol = float(case["tolerance"].get(key, "atol 1e-3").removeprefix("atol "))
        wanted = expected[key]
        torch.testing.assert_close(
            tensor[:, : wanted.shape[1]], wanted, atol=atol, rtol=0, msg=lambda text, key=key: f"{key}: {text}"
        )


def test_the_script_end_to_end(golden: Path, base: str) -> None:
    case, inputs, expected = case_of(golden, "cli_paired_edge")
    method = load(base, "pix2pix_turbo.pkl", caption=case["prompt"], input="canny")
    image = inputs["image_uint8"].numpy()
    resized = prepare_image(image, "multiple_of_8")
    np.testing.assert_array_equal(resized, expected["resized_uint8"].numpy())
    edges = canny_edges(resized, case["low_threshold"], case["high_threshold"])
    np.testing.assert_array_equal(255 - edges[:, :, None].repeat(3, 2), expected["canny_inverted_uint8"].numpy())
    x = method.prepare(Inputs("key", image))[None]
    output = to_uint8(method.translate(Batch(x, [0], draws={"latent": inputs["vae_noise"]})))[0]
    difference = np.abs(output.astype(int) - expected["output_uint8"].numpy().astype(int))
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


@pytest.mark.parametrize(("low", "high"), [(100, 200), (50, 120)])
def test_canny_is_opencv_s(golden: Path, low: int, high: int) -> None:
    _, inputs, expected = case_of(golden, "image_prep")
    edges = canny_edges(inputs["image_uint8"].numpy(), low, high)
    np.testing.assert_array_equal(edges, expected[f"canny_{low}_{high}"].numpy())
