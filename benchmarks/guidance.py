"""DiffuseIT against a loop in the official order, at equal output.

    python -m benchmarks.guidance --assets tests/golden/diffuseit --device cpu

The official order: two network evaluations per step (for the sample and for the losses), every ViT loss with forward
passes of its own for both its pictures, guidance also at the last index, whose result nobody uses. Networks, losses and
random numbers are the same; the outputs are compared. Full size: ``--unet ... --dino ... --clip ... --image-size 256``.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

import methods
from methods.base import Batch, Inputs
from methods.diffuseit.guidance import Guidance
from methods.diffuseit.losses import (
    contrastive_loss,
    range_loss,
    self_similarity,
    semantic_divergence,
    structure_loss,
    style_loss,
    target_loss,
)
from methods.diffuseit.method import DiffuseIT
from methods.nn.gaussian_diffusion import at


class OfficialOrder:
    """One picture at a time, in the order of the official program."""

    def __init__(self, method: DiffuseIT, batch: Batch, sample: int) -> None:
        self.method, self.sample = method, sample
        self.images = batch.inputs[sample : sample + 1]
        self.one = Batch(self.images, seeds=[batch.seeds[sample]])
        # the text and source features of CLIP are computed once in the official program too
        clip = method.networks.clip
        self.targets = clip.targets(self.images) if clip is not None else []
        self.previous = self.images

    def run(self) -> Tensor:
        """The last predicted picture."""
        method, diffusion = self.method, self.method.diffusion
        noise = partial(self.one.noise, self.images.shape[1:])
        x = diffusion.q_sample(self.images, noise("noise.start"), method.start)
        clean, steps = x, 0
        for index in range(method.start, -1, -1):
            passes = method.params.resampling if index == method.start else 1
            for number in range(passes):
                x, clean = self.step(x, index, steps, noise)
                steps += 1
                if number < passes - 1:
                    beta = float(diffusion.betas[method.start - 1])
                    x = float(np.sqrt(1 - beta)) * x + float(np.sqrt(beta)) * noise(f"noise.renoise_{number:02d}")
        return clean

    def step(self, x: Tensor, index: int, call: int, noise: Callable[[str], Tensor]) -> tuple[Tensor, Tensor]:
        method, diffusion = self.method, self.method.diffusion
        place = torch.tensor([index], device=x.device)
        with torch.no_grad():
            predicted, interpolation = method.unet(x, diffusion.original(place, 1, x.device)).chunk(2, dim=1)
            clean = diffusion.predict_clean(x, predicted, place)
            log_variance = diffusion.learned_log_variance(interpolation, place)
            mean = diffusion.posterior_mean(clean, x, place)
            fresh = noise(f"noise.step_{call:02d}")
        gradient = self.gradient(x, place, call)
        following = mean + log_variance.exp() * gradient
        return following + (index > 0) * (0.5 * log_variance).exp() * fresh, clean

    def gradient(self, x: Tensor, place: Tensor, call: int) -> Tensor:
        method, params, networks = self.method, self.method.params, self.method.networks
        x = x.detach().requires_grad_()
        predicted = method.unet(x, method.diffusion.original(place, 1, x.device)).chunk(2, dim=1)[0]
        clean = method.diffusion.predict_clean(x, predicted, place)
        share = at(np.sqrt(1 - method.diffusion.alphas_cumprod), place, x)
        mixed = share * clean + (1 - share) * x
        seen = mixed if params.use_noise_aug_all else clean
        dino = networks.dino
        total = params.range_lambda * range_loss(clean)
        with torch.no_grad():
            similarity = self_similarity(dino(self.images).keys)
        total = total + params.lambda_ssim * structure_loss(dino(seen).keys, similarity)
        with torch.no_grad():
            keys = dino(self.images).keys
        total = total + params.lambda_contra_ssim * contrastive_loss(dino(seen).keys, keys)
        if int(place) > params.diff_iter:
            with torch.no_grad():
                before = dino(self.previous).cls
            total = total + params.lambda_dir_cls * semantic_divergence(dino(seen).cls, before)
        if networks.target is not None:
            with torch.no_grad():
                wanted = dino(networks.target).cls
            total = total + params.lambda_trg * style_loss(dino(seen).cls, wanted)
            total = total + params.l2_trg_lambda * target_loss(seen, networks.target)
        if networks.clip is not None:
            cuts = method._cuts(self.one, 0, torch.tensor([0]), torch.tensor([call]))
            total = total + params.clip_guidance_lambda * networks.clip.loss(mixed, self.targets, cuts)
        self.previous = seen.detach()
        return -torch.autograd.grad(total.sum(), x)[0]


def timed(call: Callable[[], Any], device: torch.device, repeats: int) -> tuple[Any, float]:
    """The result, and the shortest of several times in seconds: of this thread on a CPU, which others may be using."""
    cuda = device.type == "cuda"
    clock = time.perf_counter if cuda else time.process_time
    times = []
    result = None
    for _ in range(repeats):
        if cuda:
            torch.cuda.synchronize()
        begun = clock()
        result = call()
        if cuda:
            torch.cuda.synchronize()
        times.append(clock() - begun)
    return result, min(times)


def main() -> None:
    """Print one line for text and one for pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", type=Path, default=Path("tests/golden/diffuseit"))
    parser.add_argument("--unet")
    parser.add_argument("--dino")
    parser.add_argument("--clip", nargs="*")
    parser.add_argument("--image-size", type=int, default=48)
    parser.add_argument("--steps", default="24")
    parser.add_argument("--skip", type=int, default=10)
    parser.add_argument("--diff-iter", type=int, default=7)
    parser.add_argument("--aug-num", type=int, default=8)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    chosen = parser.parse_args()
    torch.set_num_threads(1 if chosen.device == "cpu" else torch.get_num_threads())
    device, weights = torch.device(chosen.device), chosen.assets / "weights"
    tiny = chosen.unet is None
    params: dict[str, Any] = {
        "image_size": chosen.image_size,
        "timestep_respacing": chosen.steps,
        "skip_timesteps": chosen.skip,
        "diff_iter": chosen.diff_iter,
        "use_noise_aug_all": True,
        "dino": chosen.dino or str(weights / "dino.pth"),
    }
    if tiny:
        params |= {"num_head_channels": 16, "dino_heads": 4}
    clips = chosen.clip or [str(weights / "clip_vit.pt"), str(weights / "clip_rn.pt")]
    text = {"prompt": "Zebra", "source": "Horse", "clip_models": clips, "aug_num": chosen.aug_num}
    if tiny:
        # the tiny ResNet's ReLUs turn the last digit into percents: outputs could not be compared
        text |= {"clip_models": clips[:1], "clip_vocabulary": str(weights / "bpe_tiny.txt.gz")}
    figures: dict[str, dict[str, float]] = {}
    for name, more in (("text", text), ("image", {"target_image": str(chosen.assets / "image_run" / "target.png")})):
        uri = chosen.unet or str(weights / "unet.pt")
        method = methods.load("diffuseit", weights=uri, device=device, **{**params, **more})
        assert isinstance(method, DiffuseIT)
        rng = np.random.default_rng(0)
        pictures = [
            np.kron(rng.integers(0, 255, (6, 6, 3)), np.ones((8, 8, 1))).astype(np.uint8) for _ in range(chosen.batch)
        ]
        images = torch.stack([method.prepare(Inputs("k", picture)) for picture in pictures]).to(device)
        batch = Batch(images, seeds=list(range(chosen.batch)))

        def ours(batch: Batch, method: DiffuseIT = method) -> Tensor:
            cuts = partial(method._cuts, batch, 0)
            guidance = Guidance(method.networks, method.params, batch.inputs, method.signal, cuts)
            return method.sampler()(batch.inputs, guidance, partial(batch.noise, batch.inputs.shape[1:]))

        first = Batch(images[:1], seeds=[0])
        theirs, slow = timed(lambda m=method, b=batch: OfficialOrder(m, b, 0).run(), device, chosen.repeats)
        single, fast = timed(lambda b=first, f=ours: f(b), device, chosen.repeats)
        _, together = timed(lambda b=batch, f=ours: f(b), device, chosen.repeats)
        off = float((single - theirs).norm() / theirs.norm())
        each = together / chosen.batch
        figures[name] = {
            "official_order_s": round(slow, 3),
            "seconds": round(fast, 3),
            "speedup": round(slow / fast, 2),
            "batched_seconds_an_image": round(each, 3),
            "batched_speedup": round(slow / each, 2),
            "relative_difference": float(f"{off:.1e}"),
        }
        print(f"{name}: {figures[name]}")
    about = {"model": "tiny" if tiny else chosen.unet, "batch_size": chosen.batch, "device": chosen.device}
    if chosen.out is not None:
        about |= {"steps": chosen.steps, "threads": torch.get_num_threads(), "torch": torch.__version__}
        chosen.out.write_text(json.dumps({**about, **figures}, indent=1) + "\n")


if __name__ == "__main__":
    main()
