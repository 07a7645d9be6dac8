"""Score a translation of paired scenes: PSNR, SSIM and feature distances, with simple baselines beside them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.functional.image import structural_similarity_index_measure

import methods
from methods.base import Batch, Inputs, sample_seed, to_uint8
from methods.errors import InputError
from methods.nn.efflite0 import EffLite0, load_efflite0
from methods.train.pairs import Pairs, load_images

Scores = dict[str, float]


def _unit(images: np.ndarray) -> Tensor:
    return torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255


def _features(network: EffLite0, images: np.ndarray) -> tuple[Tensor, list[Tensor]]:
    """Pooled (N, 1280) features and the unit-normalised stages, at 224 px."""
    x = F.interpolate(_unit(images), size=(224, 224), mode="bilinear", antialias=True)
    pooled, stages = [], []
    with torch.inference_mode():
        for part in x.split(8):
            found = network.stages(part)
            pooled.append(F.relu6(network.head(found[-1])).mean((2, 3)))
            stages.append([h / (h.square().sum(1, keepdim=True) + 1e-6).sqrt() for h in found])
    return torch.cat(pooled), [torch.cat(list(level)) for level in zip(*stages, strict=True)]


def kid(x: Tensor, y: Tensor) -> float:
    """Unbiased squared MMD with the kernel (x.y / d + 1)^3 (Binkowski et al., arXiv 1801.01401) of (N, d), (M, d)."""
    x, y = x.double(), y.double()

    def kernel(p: Tensor, q: Tensor) -> Tensor:
        return (p @ q.T / p.shape[1] + 1) ** 3

    xx, yy = kernel(x, x), kernel(y, y)
    n, m = len(x), len(y)
    within = (xx.sum() - xx.diagonal().sum()) / (n * (n - 1)) + (yy.sum() - yy.diagonal().sum()) / (m * (m - 1))
    return float(within - 2 * kernel(x, y).mean())


class Judge:
    """Compares candidate pictures with the true ones of the same scenes and with a pool of other scenes.

    Args:
        truth: (N, H, W, 3) uint8.
        pool: (M, H, W, 3) uint8 of the target domain, other scenes.
    """

    def __init__(self, truth: np.ndarray, pool: np.ndarray) -> None:
        self.network = load_efflite0()
        self.truth = truth
        self.pool, _ = _features(self.network, pool)
        _, self.stages = _features(self.network, truth)

    def score(self, images: np.ndarray) -> Scores:
        """PSNR (dB, mean over pictures), SSIM, KID x 1000 and the mean feature distance, on EfficientNet-Lite0."""
        ours, true = _unit(images), _unit(self.truth)
        error = (ours - true).square().mean((1, 2, 3)).clamp_min(1e-10)
        similarity = structural_similarity_index_measure(ours, true, data_range=1.0)
        pooled, stages = _features(self.network, images)
        apart = sum((a - b).square().sum(1).mean() for a, b in zip(stages, self.stages, strict=True))
        return {
            "psnr": float(-10 * torch.log10(error).mean()),
            "ssim": float(torch.as_tensor(similarity)),
            "kid_efflite0_x1000": 1000 * kid(pooled, self.pool),
            "featdist_efflite0": float(apart),
        }


def moment_transfer(images: np.ndarray, source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Each channel's mean and spread moved from those of ``source`` to those of ``target`` (Reinhard in RGB)."""
    axes = (0, 1, 2)
    standard = (images - source.mean(axes)) / source.std(axes)
    return (standard * target.std(axes) + target.mean(axes)).clip(0, 255).round().astype(np.uint8)


def translate(weights: str, direction: str, images: np.ndarray, batch_size: int = 4) -> np.ndarray:
    """The pictures through cyclegan_turbo, as the pipeline would do it with job seed 0."""
    method = methods.load("cyclegan_turbo", weights=weights, direction=direction, image_prep="no_resize")
    out = []
    for start in range(0, len(images), batch_size):
        part = images[start : start + batch_size]
        keys = [str(start + i) for i in range(len(part))]
        x = torch.stack([method.prepare(Inputs(key, image)) for key, image in zip(keys, part, strict=True)])
        out.append(to_uint8(method.translate(Batch(x, seeds=[sample_seed(0, key) for key in keys]))))
    return np.concatenate(out)


def score_table(data: Path, weights: str, direction: str) -> dict[int, dict[str, Scores]]:
    """Scores by image size and candidate: the model, then the baselines.

    ``data`` is laid out as :class:`methods.train.pairs.Pairs` says; the pool is its training split's target domain.
    """
    test, train = Pairs(data, "test"), Pairs(data, "train")
    a, b = (0, 1) if direction == "a2b" else (1, 0)
    table: dict[int, dict[str, Scores]] = {}
    for size, pair in test.arrays.items():
        source, truth = pair[a], pair[b]
        seen, pool = train.arrays[size][a][:400], train.arrays[size][b][:400]
        judge = Judge(truth, pool[:200])
        mean = pool.mean(0).round().astype(np.uint8)
        constant = np.broadcast_to(pool.mean((0, 1, 2)).round().astype(np.uint8), truth.shape)
        candidates: dict[str, Callable[[], np.ndarray]] = {
            "model": lambda source=source: translate(weights, direction, source),
            "input itself": lambda source=source: source,
            "moment transfer": lambda source=source, seen=seen, pool=pool: moment_transfer(source, seen, pool),
            "constant colour": lambda constant=constant: np.ascontiguousarray(constant),
            "mean image": lambda mean=mean, truth=truth: np.broadcast_to(mean, truth.shape).copy(),
        }
        table[size] = {name: judge.score(make()) for name, make in candidates.items()}
        for extra in ("other_windows", "other_grain"):
            place = data / "test" / str(size)
            if direction == "a2b" and (place / f"{extra}.npy").exists():
                table[size][extra.replace("_", " ")] = judge.score(load_images(place, extra))
        table[size]["truth itself"] = judge.score(truth)
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description="Score a CycleGAN-Turbo model on pairs.")
    parser.add_argument("--data", type=Path, required=True, help="folder as the training takes it")
    parser.add_argument("--weights", default="bundled://street-day2night")
    parser.add_argument("--direction", choices=("a2b", "b2a"), default="a2b")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    try:
        table = score_table(args.data, args.weights, args.direction)
    except InputError as error:
        raise SystemExit(f"error: {error}") from None
    if args.json:
        print(json.dumps(table))
        return
    for size, rows in table.items():
        print(f"| {size} px | PSNR dB | SSIM | KID x 1000 | feature distance |\n| --- | --- | --- | --- | --- |")
        for name, s in rows.items():
            found = (s["psnr"], s["ssim"], s["kid_efflite0_x1000"], s["featdist_efflite0"])
            print(f"| {name} | {found[0]:.2f} | {found[1]:.3f} | {found[2]:.1f} | {found[3]:.3f} |")


if __name__ == "__main__":
    main()
