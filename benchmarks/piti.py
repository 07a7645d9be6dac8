"""PITI against the release's order of work: images per minute at equal output, and where the time goes.

    python benchmarks/piti.py [--model tiny | full] [--images 4] [--batch-size 4] [--steps 25] [--upsampler-steps 10]
                              [--dtype float32] [--device cpu] [--out FILE]

The loop it is measured against follows the published code: every step doubles the batch, encodes the condition and the
all-ones picture again, makes keys and values of their tokens again, carries and noises a second half of the trajectory
that nothing reads, enlarges the small picture again in the upsampler, moves the coefficients to the device one by one,
and attends by explicit products with a softmax in float32. Both get the same noise and run in turns; the best time of
each counts, so that a busy machine slows neither more than the other. Weights are random: the times do not depend on
them. ``tiny`` are the dimensions of the golden data, ``full`` those of the release.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# In front stood this folder, whose pipeline.py is not the package of that name.
sys.path[:1] = [str(ROOT)]

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from torch import Tensor  # noqa: E402

from methods.base import Batch  # noqa: E402
from methods.nn.gaussian_diffusion import GaussianDiffusion  # noqa: E402
from methods.nn.guided_unet import blocks  # noqa: E402
from methods.piti import networks  # noqa: E402
from methods.piti.condition import ConditionReader  # noqa: E402
from methods.piti.config import OFFICIAL_BASE, OFFICIAL_UPSAMPLER, EncoderConfig, ModelConfig  # noqa: E402
from methods.piti.method import PITI  # noqa: E402
from methods.piti.networks import PITIModel  # noqa: E402
from methods.piti.params import PITIParams  # noqa: E402
from methods.piti.sampling import START_SCALE  # noqa: E402

SCALE = 1.3
TINY: dict[str, Any] = {
    "encoder": EncoderConfig(channels=(8, 8, 16, 16, 24), width=32, layers=2, heads=4),
    "model_channels": 32,
    "channel_mult": (1, 1),
    "num_res_blocks": 1,
    "attention_downsample": (2,),
    "num_head_channels": 16,
}
SIZES = {
    "tiny": (
        ModelConfig(stage="base", side=16, schedule="squaredcos_cap_v2", **TINY),
        ModelConfig(stage="upsampler", side=64, schedule="linear", **TINY),
    ),
    "full": (OFFICIAL_BASE, OFFICIAL_UPSAMPLER),
}


def explicit_attention(query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
    """Attention as the release computes it: two products around a softmax in float32."""
    scale = query.shape[-1] ** -0.25
    weights = torch.einsum("bhqc,bhkc->bhqk", query * scale, keys * scale)
    weights = torch.softmax(weights.float(), dim=-1).type(weights.dtype)
    return torch.einsum("bhqk,bhkc->bhqc", weights, values)


class _Functional:
    """torch.nn.functional with the release's attention."""

    scaled_dot_product_attention = staticmethod(explicit_attention)

    def __getattr__(self, name: str) -> Any:
        return getattr(F, name)


def official_order(method: PITI, batch: Batch, noise: Callable[[str, tuple[int, ...]], Tensor]) -> Tensor:
    """The published loop over the method's own networks."""
    assert method.upsampler is not None
    condition = batch.inputs
    doubled = torch.cat([condition, torch.ones_like(condition)])
    start = noise("base.start", (3, method.base.config.side, method.base.config.side))

    def guided(sample: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        half = sample[: len(sample) // 2]
        answer, interpolation = method.base(torch.cat([half, half]), timesteps, doubled)
        with_condition, without = answer.chunk(2)
        mixed = without + SCALE * (with_condition - without)
        return torch.cat([mixed, mixed]), interpolation

    small = ancestral(guided, method.base_diffusion, torch.cat([start, start]), noise, "base")[: len(start)]
    levels = ((small.clamp(-1, 1) + 1) * 127.5).int().float() / 127.5 - 1
    side = method.upsampler.config.side

    def enlarged(sample: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
        assert method.upsampler is not None
        large = F.interpolate(levels, (side, side), mode="bilinear", align_corners=False)
        return method.upsampler(torch.cat([sample, large], dim=1), timesteps, condition)

    start = noise("upsampler.start", (3, side, side)) * START_SCALE
    return ancestral(enlarged, method.upsampler_diffusion, start, noise, "upsampler")


def ancestral(
    denoise: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]],
    diffusion: GaussianDiffusion,
    sample: Tensor,
    noise: Callable[[str, tuple[int, ...]], Tensor],
    stage: str,
) -> Tensor:
    """Steps whose coefficients go to the device as one tensor each, and whose last noise is drawn for nothing."""
    for step, index in enumerate(range(len(diffusion) - 1, -1, -1)):
        indices = torch.full((len(sample),), index, device=sample.device)
        answer, interpolation = denoise(sample, diffusion.original(indices, len(sample), sample.device))
        clean = diffusion.predict_clean(sample, answer, indices).clamp(-1, 1)
        mean = diffusion.posterior_mean(clean, sample, indices)
        spread = torch.exp(0.5 * diffusion.learned_log_variance(interpolation, indices))
        drawn = noise(f"{stage}.step.{step}", tuple(sample.shape[1:]))
        if len(drawn) != len(sample):
            drawn = torch.cat([drawn, torch.randn_like(drawn)])
        sample = mean + (1.0 if index else 0.0) * spread * drawn
    return sample


def build(options: argparse.Namespace, device: torch.device) -> PITI:
    """The method with random weights whose zeroed layers are filled."""
    torch.manual_seed(0)
    models = []
    for config in SIZES[options.model]:
        with device:
            model = PITIModel(config, 3)
            for parameter in model.parameters():
                if parameter.dim() > 1 and not parameter.any():
                    torch.nn.init.normal_(parameter, std=0.3 / math.sqrt(parameter[0].numel()))
        models.append(model)
    params = PITIParams(steps=options.steps, upsampler_steps=options.upsampler_steps, guidance_scale=SCALE)
    return PITI(models[0], models[1], ConditionReader(params), params, device, getattr(torch, options.dtype))


def timed(work: Callable[[], Tensor], device: torch.device) -> tuple[float, Tensor]:
    """Seconds, and what came out."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    begun = time.perf_counter()
    made = work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun, made


def main() -> None:
    """Measure, print, and write if asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", choices=SIZES, default="tiny")
    parser.add_argument("--images", type=int, default=4)
    parser.add_argument("--batch-size", type=int, default=4)
    parser.add_argument("--steps", default="25")
    parser.add_argument("--upsampler-steps", default="10")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    method = build(options, device)
    ids = torch.randint(0, 6, (options.images, 1, 8, 8), generator=torch.Generator().manual_seed(0)).float() / 3 - 1
    conditions = F.interpolate(ids, (256, 256), mode="nearest").expand(-1, 3, -1, -1).contiguous().to(device)
    batches = [
        Batch(part, seeds=range(first, first + len(part)))
        for first, part in zip(
            range(0, options.images, options.batch_size), conditions.split(options.batch_size), strict=True
        )
    ]

    def ours() -> Tensor:
        return torch.cat([method.translate(batch) for batch in batches])

    @torch.inference_mode()
    def release() -> Tensor:
        kept = blocks.F, networks.F
        blocks.F = networks.F = _Functional()  # type: ignore[assignment]
        try:
            return torch.cat(
                [
                    official_order(method, batch, lambda stream, shape, b=batch: b.noise(shape, stream))
                    for batch in batches
                ]
            )
        finally:
            blocks.F, networks.F = kept

    mine: list[float] = []
    theirs: list[float] = []
    difference = 0.0
    for round_ in range(options.rounds + 1):
        seconds, made = timed(ours, device)
        other_seconds, other = timed(release, device)
        difference = ((made - other).norm() / other.norm()).item()
        # the first round warms caches up
        if round_:
            mine.append(seconds)
            theirs.append(other_seconds)
    result = {
        "model": options.model,
        "images": options.images,
        "batch_size": options.batch_size,
        "steps": options.steps,
        "upsampler_steps": options.upsampler_steps,
        "dtype": options.dtype,
        "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "threads": options.threads,
        "torch": torch.__version__,
        "images_per_minute": round(60 * options.images / min(mine), 2),
        "release_images_per_minute": round(60 * options.images / min(theirs), 2),
        "speedup": round(min(theirs) / min(mine), 2),
        "relative_difference": float(f"{difference:.2g}"),
        "rounds": options.rounds,
    }
    print(json.dumps(result, indent=1))
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
