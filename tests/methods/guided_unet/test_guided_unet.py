"""The guided-diffusion UNet: official shapes, resampling variants, half precision, encoder and decoder alone."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest
import torch

from methods.nn.guided_unet import Encoded, GuidedUNet, UNetConfig

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "guided_unet"
TINY = {
    "model_channels": 32,
    "channel_mult": (1, 2),
    "num_res_blocks": 1,
    "attention_downsample": (2,),
    "num_head_channels": 16,
}
OFFICIAL = {
    "unet_imagenet256_uncond": UNetConfig(),
    "unet_ffhq256": UNetConfig(model_channels=128, num_res_blocks=1, attention_downsample=(16,)),
}


def tiny(**changes: object) -> GuidedUNet:
    """A small network whose zeroed layers are filled, so that nothing is skipped."""
    torch.manual_seed(0)
    unet = GuidedUNet(UNetConfig(**{**TINY, **changes})).eval()  # type: ignore[arg-type]
    for parameter in unet.parameters():
        if parameter.dim() > 1 and not parameter.any():
            torch.nn.init.normal_(parameter, std=0.05)
    return unet.requires_grad_(False)


@pytest.mark.parametrize("name", OFFICIAL)
def test_full_size_key_lists(name: str) -> None:
    expected = json.loads(gzip.decompress((GOLDEN / "adm_keys.json.gz").read_bytes()))[name]
    with torch.device("meta"):
        unet = GuidedUNet(OFFICIAL[name])
    assert {key: list(tensor.shape) for key, tensor in unet.state_dict().items()} == expected


@pytest.mark.parametrize(
    "changes",
    [{"resblock_updown": False}, {"resblock_updown": False, "conv_resample": False}, {"scale_shift_norm": False}],
)
def test_variants_run(changes: dict[str, bool]) -> None:
    unet = tiny(**changes)
    out = unet(torch.randn(2, 3, 8, 8), torch.tensor([3.0, 700.0]))
    assert out.shape == (2, 6, 8, 8)
    assert out.std() > 1e-3
    strided = any(key.startswith("input_blocks.2.0.op.") for key in unet.state_dict())
    assert strided == (changes.get("resblock_updown") is False and changes.get("conv_resample", True))


def test_encode_and_decode_make_the_whole() -> None:
    unet = tiny(encoder_channels=24)
    sample, timesteps = torch.randn(2, 3, 8, 8), torch.tensor([3.0, 700.0])
    context = unet.context(torch.randn(1, 24, 5))
    whole = unet(sample, timesteps, context)
    embedding = unet.embed(timesteps)
    encoded = unet.encode(sample, embedding, context)
    torch.testing.assert_close(unet.decode(encoded, embedding, context), whole)
    moved = Encoded(encoded.bottleneck + 0.1, encoded.skips)
    assert not torch.allclose(unet.decode(moved, embedding, context), whole)


def test_one_context_serves_a_batch_and_matters() -> None:
    unet = tiny(encoder_channels=24)
    sample, timesteps, tokens = torch.randn(3, 3, 8, 8), torch.tensor([3.0, 40.0, 700.0]), torch.randn(1, 24, 5)
    shared = unet(sample, timesteps, unet.context(tokens))
    repeated = unet(sample, timesteps, unet.context(tokens.expand(3, -1, -1)))
    torch.testing.assert_close(shared, repeated)
    assert (shared - unet(sample, timesteps)).abs().max() > 1e-3


def test_half_precision_keeps_norms_and_embeddings() -> None:
    unet = tiny()
    sample, timesteps = torch.randn(2, 3, 8, 8), torch.tensor([3.0, 700.0])
    exact = unet(sample, timesteps)
    unet.cast_torso(torch.bfloat16)
    assert unet.torso_dtype == torch.bfloat16
    assert unet.time_embed[0].weight.dtype == unet.out[2].weight.dtype == torch.float32
    out = unet(sample, timesteps)
    assert out.dtype == torch.float32
    assert (out - exact).norm() / exact.norm() < 0.03


def test_a_fresh_network_answers_zero() -> None:
    unet = GuidedUNet(UNetConfig(**TINY))  # type: ignore[arg-type]
    assert not unet(torch.randn(1, 3, 8, 8), torch.tensor([5.0])).any()
