"""pix2pix-zero against the release's order of work: images per minute at equal output.

    python benchmarks/editing.py --weights FOLDER [--images 8] [--steps 10] [--size 64] [--device cuda] [--out FILE]

The loop it is measured against does one image at a time and follows the published code: the regularisation by autograd,
one channel and one pyramid level after the other; a first pass over both halves that keeps every map of every step; a
second pass with two evaluations of the network per step and trainable cross-attention; and the decodes on the way.
It runs on the same library versions, with fused self-attention, which the release did not have. Both run in turns, and
the best time of each counts, so that a busy machine slows neither more than the other.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# In front stood this folder, whose pipeline.py is not the package of that name.
sys.path[:1] = [str(ROOT)]

import numpy as np  # noqa: E402
import torch  # noqa: E402
from torch import Tensor  # noqa: E402
from torch.nn import functional as F  # noqa: E402

import methods  # noqa: E402
from methods.base import Batch, Inputs  # noqa: E402
from methods.nn.attention_capture import read  # noqa: E402
from methods.nn.ddim import ddim_step  # noqa: E402
from methods.pix2pix_zero.method import Pix2PixZero  # noqa: E402
from methods.pix2pix_zero.regularise import pyramid_levels, shifts_from_noise  # noqa: E402

CAPTION = "a cat sitting on a wooden table"
AMOUNT, SCALE = 0.1, 5.0


def regularised(noise: Tensor, shifts: Tensor, weight: float = 20.0) -> Tensor:
    """The release's loop: 25 gradients of the first loss and 5 of the second, by autograd."""
    for outer in shifts:
        for inner in outer:
            leaf = noise.detach().requires_grad_()
            with torch.enable_grad():
                loss = torch.zeros((), device=noise.device)
                for channel in range(leaf.shape[1]):
                    field = leaf[:, channel : channel + 1]
                    for number, shift in enumerate(inner[channel].tolist()):
                        field = field if number == 0 else F.avg_pool2d(field, 2)
                        for axis in (2, 3):
                            loss = loss + (field * torch.roll(field, shift, axis)).mean() ** 2
                (gradient,) = torch.autograd.grad(loss, leaf)
            noise = noise - weight * gradient / len(outer)
        leaf = noise.detach().requires_grad_()
        with torch.enable_grad():
            variance, mean = leaf.var(), leaf.mean()
            (gradient,) = torch.autograd.grad(variance + mean**2 - 1 - torch.log(variance + 1e-7), leaf)
        noise = noise - weight * gradient
    return noise.detach()


def one_at_a_time(method: Pix2PixZero, batch: Batch) -> Tensor:
    """The pictures of a batch, one after the other, in the release's order of work."""
    model, outputs = method.model, []
    for row in range(len(batch)):
        single = Batch(batch.inputs[row : row + 1], batch.seeds[row : row + 1])
        caption = model.text.embed([CAPTION])
        latents = model.encode(
            single.inputs, single.noise(model.latent_shape(*single.inputs.shape[-2:]), "latent").to(method.device)
        )
        model.decode(latents)
        rows = latents.shape[2]
        counts = (len(method.inversion), 5, 5, latents.shape[1], pyramid_levels(rows))
        shifts = shifts_from_noise(single.noise(counts, "shifts").cpu(), rows)[0]
        for number, step in enumerate(method.inversion):
            noise = regularised(model.noise(latents, step.timestep, caption), shifts[number])
            latents = ddim_step(latents, noise, step.alpha_from, step.alpha_to)
        model.decode(latents)
        outputs.append(_edited(method, latents, caption))
    return torch.cat(outputs)


def _edited(method: Pix2PixZero, start: Tensor, caption: Tensor) -> Tensor:
    model = method.model
    kept: list[dict[str, Tensor]] = []
    latents, both = start, torch.cat([caption, caption])
    for step in method.sampling:
        with torch.no_grad():
            doubled = torch.cat([latents] * 2)
            reading = read(model.unet, doubled.to(model.dtype), step.timestep, both.to(model.dtype), method.layers)
        assert reading.output is not None
        kept.append({name: maps.cpu() for name, maps in reading.maps.items()})
        unconditional, conditional = model.as_noise(doubled, reading.output, step.timestep).chunk(2)
        noise = unconditional + SCALE * (conditional - unconditional)
        latents = ddim_step(latents, noise, step.alpha_from, step.alpha_to)
    model.decode(latents)
    latents, both = start, torch.cat([caption, caption + method.direction])
    for step, wanted in zip(method.sampling, kept, strict=True):
        x = torch.cat([latents] * 2).requires_grad_()
        with torch.enable_grad():
            reading = read(model.unet, x.to(model.dtype), step.timestep, both.to(model.dtype), method.layers)
            losses = [
                (maps - wanted[name].to(maps.device)).square().sum((2, 3)).mean() for name, maps in reading.maps.items()
            ]
            torch.stack(losses).sum().backward()
        assert x.grad is not None
        doubled = x.detach() - AMOUNT * x.grad
        unconditional, conditional = model.noise(doubled, step.timestep, both).chunk(2)
        noise = unconditional + SCALE * (conditional - unconditional)
        latents = ddim_step(doubled[:1], noise, step.alpha_from, step.alpha_to)
    return model.decode(latents)


def _trainable(method: Pix2PixZero, trainable: bool) -> None:
    """The release leaves the cross-attention weights trainable; ours never are."""
    for name, parameter in method.model.unet.named_parameters():
        if ".attn2." in name:
            parameter.requires_grad_(trainable)
            parameter.grad = None


def _timed(work: Any, cuda: bool) -> tuple[Tensor, float, float]:
    if cuda:
        torch.cuda.reset_peak_memory_stats()
    began = time.perf_counter()
    output = work()
    if cuda:
        torch.cuda.synchronize()
    seconds = time.perf_counter() - began
    return output, seconds, torch.cuda.max_memory_allocated() / 2**30 if cuda else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--weights", required=True, help="a model in diffusers' layout: folder or hub id")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--out", type=Path, help="also write the figures here, as JSON")
    args = parser.parse_args()
    torch.set_num_threads(1)
    method = methods.load(
        "pix2pix_zero",
        weights=args.weights,
        device=args.device,
        dtype=args.dtype,
        source="cat",
        target="dog",
        caption=CAPTION,
        steps=args.steps,
        image_prep="no_resize",
    )
    assert isinstance(method, Pix2PixZero)
    pictures = np.random.default_rng(0).integers(0, 256, (args.images, args.size, args.size, 3), np.uint8)
    inputs = torch.stack([method.prepare(Inputs("k", picture)) for picture in pictures]).to(method.device)
    whole = Batch(inputs, list(range(args.images)))
    parts = [
        Batch(inputs[n : n + args.batch], whole.seeds[n : n + args.batch]) for n in range(0, args.images, args.batch)
    ]
    cuda = method.device.type == "cuda"
    found: dict[str, list[tuple[Tensor, float, float]]] = {"release": [], "ours": []}
    for _ in range(args.rounds):
        _trainable(method, True)
        found["release"].append(_timed(lambda: one_at_a_time(method, whole), cuda))
        _trainable(method, False)
        found["ours"].append(_timed(lambda: torch.cat([method.translate(part) for part in parts]), cuda))
    best = {name: min(runs, key=lambda run: run[1]) for name, runs in found.items()}
    difference = float((best["ours"][0] - best["release"][0]).norm() / best["release"][0].norm())
    figures = {
        "device": torch.cuda.get_device_name() if cuda else "cpu, one thread",
        "images": args.images,
        "batch": args.batch,
        "steps": args.steps,
        "size": args.size,
        "dtype": args.dtype,
        **{f"{name}_images_a_minute": round(60 * args.images / run[1], 2) for name, run in best.items()},
        "ratio": round(best["release"][1] / best["ours"][1], 2),
        "relative_l2_of_the_pictures": difference,
        **({f"{name}_peak_gib": round(run[2], 2) for name, run in best.items()} if cuda else {}),
    }
    print(json.dumps(figures, indent=1))
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
