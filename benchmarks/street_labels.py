"""How well a small PITI paints rendered streets from their label maps: beside each class in its mean colour, and
beside a U-Net of about the same size that is trained to paint them in one pass.

    python benchmarks/street_labels.py JOB.yaml --size 32 [--scenes 40] [--variant "guided: guidance_scale=2"]

Each row is one setting on the same unseen scenes by day. ``KID`` is on EfficientNet-Lite0's features, to other scenes.
``mIoU``: a small convolutional segmenter, trained here on other scenes, reads the classes back; it is given as a share
of what the segmenter reads on the true pictures. Maps and pictures are rendered at twice the side, as the sample data.
The U-Net (``methods.pix2pix``, mean absolute error alone) sees the same scenes as the shipped model, as many times.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    # In front stood this folder, whose pipeline.py is not the package of that name.
    sys.path[:1] = [str(Path(__file__).resolve().parent.parent)]
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

import methods
from benchmarks.street_editing import drawn, features, parsed, settings, write
from benchmarks.street_models import BATCH, POOL_SEED, TEST_SEED, Images, rendered
from jobs.streets import Frame, Scene
from jobs.streets.truth import truth_of
from methods import Batch, Inputs
from methods.base import sample_seed, to_uint8
from methods.piti.conditions.label_maps import palette
from methods.pix2pix.network import UNetGenerator
from pipeline.metrics.kernel_distance import mmd, polynomial
from pipeline.spec import JobSpec

CLASSES = 19
STEPS = 600
TRAINING_SEED, TRAINING_SCENES = 1_000, 1_600
"""The scenes of jobs/examples/train_street_piti.yaml."""
DIRECT_WIDTH, DIRECT_LEVELS = 32, 3


@dataclass(frozen=True)
class Row:
    """One setting.

    Attributes:
        kid_x1000: to other scenes.
        miou_share: what the segmenter reads, as a share of what it reads on the true pictures.
        psnr: to the true picture, in dB.
        seconds: of one picture.
    """

    setting: str
    kid_x1000: float
    miou_share: float
    psnr: float
    seconds: float


def label_map(seed: int, size: int, condition: str) -> np.ndarray:
    """(2 size, 2 size) uint8 train ids; the same by any weather."""
    return truth_of(Frame(Scene(seed), 2 * size, 2 * size)).label


def small(maps: np.ndarray) -> np.ndarray:
    """(N, S, S) of (N, 2 S, 2 S): every second position."""
    return maps[:, ::2, ::2]


class Segmenter:
    """A small convolutional network, fitted to true pictures and their label maps."""

    def __init__(self, images: Images, maps: np.ndarray) -> None:
        torch.manual_seed(0)
        width = 32
        layers: list[nn.Module] = [nn.Conv2d(5, width, 3, padding=1), nn.ReLU()]
        for dilation in (1, 2, 4, 8, 1):
            layers += [nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation), nn.ReLU()]
        self.network = nn.Sequential(*layers, nn.Conv2d(width, CLASSES, 1))
        optimizer = torch.optim.AdamW(self.network.parameters(), lr=3e-3)
        rng = np.random.default_rng(0)
        x, y = self._inputs(images), torch.from_numpy(maps.astype(np.int64))
        for step in range(STEPS):
            for group in optimizer.param_groups:
                group["lr"] = 3e-3 * (1 - step / STEPS)
            rows = torch.from_numpy(rng.integers(0, len(x), 16))
            optimizer.zero_grad()
            F.cross_entropy(self.network(x[rows]), y[rows], ignore_index=255).backward()
            optimizer.step()

    @staticmethod
    def _inputs(images: Images) -> torch.Tensor:
        """Colours and position: a road is below, the sky above."""
        x = _tensor(images)
        rows = torch.linspace(-1, 1, x.shape[2])[None, None, :, None].expand(len(x), 1, -1, x.shape[3])
        columns = torch.linspace(-1, 1, x.shape[3])[None, None, None, :].expand(len(x), 1, x.shape[2], -1)
        return torch.cat([x, rows, columns], 1)

    @torch.no_grad()
    def miou(self, images: Images, maps: np.ndarray) -> float:
        """Mean intersection over union of the classes that the maps hold in at least 1 of 1,000 positions."""
        read = self.network(self._inputs(images)).argmax(1).numpy()
        found = []
        for each in range(CLASSES):
            truth = maps == each
            if truth.mean() >= 0.001:
                found.append((truth & (read == each)).sum() / (truth | ((read == each) & (maps != 255))).sum())
        return float(np.mean(found))


def painted(method: Any, maps: np.ndarray) -> Images:
    """The label maps through a method, as the pipeline does it with job seed 0."""
    out = []
    for start in range(0, len(maps), BATCH):
        some = maps[start : start + BATCH]
        keys = [str(start + number) for number in range(len(some))]
        inputs = [Inputs(key, None, stored=each) for key, each in zip(keys, some, strict=True)]
        x = torch.stack([method.prepare(each) for each in inputs])
        batch = Batch(x, [sample_seed(0, key) for key in keys], keys, [None] * len(keys), [{} for _ in keys])
        out.append(to_uint8(method.translate(batch)))
    return np.concatenate(out)


def mean_colours(maps: np.ndarray, pool: Images, pool_maps: np.ndarray) -> Images:
    """Each class in the mean colour that it has in other scenes."""
    colours = np.zeros((256, 3), np.uint8)
    for each in np.unique(pool_maps):
        colours[each] = pool[pool_maps == each].mean(0)
    return colours[maps]


def direct(size: int, steps: int, maps: np.ndarray) -> Images:
    """The label maps through a U-Net that was trained here, 8 pictures per step, to paint the mean picture."""
    seeds = range(TRAINING_SEED, TRAINING_SEED + TRAINING_SCENES)
    large = rendered(label_map, seeds, size, "day")
    x, y = _tensor(palette()[small(large)]), _tensor(rendered(drawn, seeds, size, "day"))
    torch.manual_seed(0)
    network = UNetGenerator(DIRECT_WIDTH, DIRECT_LEVELS)
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, betas=(0.5, 0.999))
    rng = np.random.default_rng(0)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * min(1.0, 2 * (1 - step / steps))
        rows = torch.from_numpy(rng.integers(0, len(x), 8))
        optimizer.zero_grad()
        (network(x[rows]) - y[rows]).abs().mean().backward()
        optimizer.step()
    with torch.no_grad():
        return to_uint8(network(_tensor(palette()[maps])))


def _tensor(images: Images) -> torch.Tensor:
    """(N, 3, H, W) in [-1, 1]."""
    return torch.from_numpy(images.astype(np.float32)).permute(0, 3, 1, 2) / 127.5 - 1


def main() -> None:
    parser = argparse.ArgumentParser(description="Scores of a small PITI on label maps of rendered streets.")
    parser.add_argument("job", type=Path, help="a job file; its method is scored")
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--pool", type=int, default=120, help="other scenes: for KID, segmenter and mean colours")
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--direct-steps", type=int, default=3_000, help="training of the U-Net")
    args = parsed(parser, "label maps, mean colours, U-Net, a row of pictures per setting, the truth")
    given = JobSpec.load(args.job).method
    test, others = range(TEST_SEED, TEST_SEED + args.scenes), range(POOL_SEED, POOL_SEED + args.pool)
    large = rendered(label_map, test, args.size, "day")
    truth, maps = rendered(drawn, test, args.size, "day"), small(large)
    pool = rendered(drawn, others, args.size, "day")
    pool_maps = small(rendered(label_map, others, args.size, "day"))
    segmenter, pool_features = Segmenter(pool, pool_maps), features(pool).numpy()
    best = segmenter.miou(truth, maps)

    def row(setting: str, images: Images, took: float = 0.0) -> Row:
        errors = ((images.astype(np.float64) - truth) / 255).reshape(len(images), -1)
        found = Row(
            setting,
            1000 * mmd(features(images).numpy(), pool_features, polynomial, 0)[0],
            segmenter.miou(images, maps) / best,
            float(np.mean(-10 * np.log10((errors**2).mean(1).clip(1e-9)))),
            took,
        )
        print(
            f"| {setting} | {found.kid_x1000:.0f} | {found.miou_share:.2f} | {found.psnr:.1f} | {took:.1f} |",
            flush=True,
        )
        return found

    print(f"The segmenter's mIoU on true pictures: {best:.2f}\n")
    print("| setting | KID x 1000 | share of the true mIoU | PSNR to the truth | s per picture |")
    print("| --- | --- | --- | --- | --- |")
    flat = mean_colours(maps, pool, pool_maps)
    rows, shown = [row("the truth", truth), row("each class in its mean colour", flat)], [palette()[maps], flat]
    if args.direct_steps:
        painted_directly = direct(args.size, args.direct_steps, maps)
        rows.append(row("a U-Net of about the same size, in one pass", painted_directly))
        shown.append(painted_directly)
    for setting, params in settings(args.variant).items():
        method = methods.load(given.name, preset=given.preset, weights=given.weights, **{**given.params, **params})
        begun = time.process_time()
        output = painted(method, large)
        rows.append(row(setting, output, (time.process_time() - begun) / len(large)))
        shown.append(output)
    write(args, rows, [*shown, truth])


if __name__ == "__main__":
    main()
