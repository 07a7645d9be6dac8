"""How good the bundled street models are on scenes they have never seen, with baselines that need no model.

    python benchmarks/street_models.py day2night [--weights FILE] [--scenes 40] [--sizes 128 256] [--json FILE]
    python benchmarks/street_models.py edges [--weights FILE] ...

Everything is rendered here, from seeds that no training spec uses; the metrics are the pipeline's own.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any, NamedTuple

if __name__ == "__main__":
    # In front stood this folder, whose pipeline.py is not the package of that name.
    sys.path[:1] = [str(Path(__file__).resolve().parent.parent)]
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
from PIL import Image

import methods
from jobs.streets import Frame, Scene
from jobs.streets.surfaces import Facade, Surface
from methods import Batch, InputError, Inputs
from methods.base import sample_seed, to_uint8
from methods.turbo.condition import canny_edges
from pipeline import metrics
from pipeline.metrics.base import Pictures
from pipeline.metrics.kernel_distance import mmd, polynomial

TEST_SEED, POOL_SEED = 9_000_000, 9_500_000
METRICS = ("psnr", "ssim", "structure", "featdist_efflite0", "kid_efflite0")
BATCH = 4
Images = np.ndarray
"""(N, H, W, 3) uint8."""


class Scores(NamedTuple):
    """Means over pictures; ``structure`` is the distance to the input, the others are to the truth."""

    psnr: float
    ssim: float
    structure: float
    kid_x1000: float
    feature_distance: float


HEADINGS = ("PSNR dB", "SSIM", "structure", "KID x 1000", "feature distance")


@dataclass(frozen=True)
class Held:
    """Pictures of one size.

    Attributes:
        source, truth: of the held-out scenes, aligned.
        seen: other scenes of the source's domain.
        pool: other scenes of the truth's domain, what KID compares with.
        variants: renders that differ from the truth by what nobody can know.
    """

    source: Images
    truth: Images
    seen: Images
    pool: Images
    variants: dict[str, Images] = field(default_factory=dict)


@cache
def rendered(make: Callable[..., np.ndarray], seeds: range, size: int, condition: str) -> Images:
    """``make(seed, size, condition)`` of every seed, on all cores."""
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        return np.stack(pool.map(partial(make, size=size, condition=condition), seeds, chunksize=4))


def view(seed: int, size: int, condition: str) -> np.ndarray:
    """A scene under a condition, (size, size, 3) uint8."""
    return Frame(Scene(seed), size, size).render(condition)


def other_windows(seed: int, size: int, condition: str) -> np.ndarray:
    """The same view with other windows lit."""
    scene = Scene(seed)
    facades = scene.geometry.surface == Surface.FACADE
    scene.geometry.parameters[facades, Facade._fields.index("seed")] += 1
    return Frame(scene, size, size).render(condition)


def other_grain(seed: int, size: int, condition: str) -> np.ndarray:
    """The same view with other grain: pictures take it from the scene's number."""
    scene = Scene(seed)
    scene.seed += 1
    return Frame(scene, size, size).render(condition)


def held_out(size: int, scenes: int, pool: int, source: str, target: str) -> Held:
    """Renders of the two conditions, and of what the truth might have been."""
    test, others = range(TEST_SEED, TEST_SEED + scenes), range(POOL_SEED, POOL_SEED + pool)
    variants = {"the truth with other grain": rendered(other_grain, test, size, target)}
    if target == "night":
        windows = rendered(other_windows, test, size, target)
        variants = {"the truth with OTHER windows lit": windows, **variants}
    return Held(
        rendered(view, test, size, source),
        rendered(view, test, size, target),
        rendered(view, others, size, source),
        rendered(view, others, size, target),
        variants,
    )


def as_edges(images: Images) -> Images:
    """Canny's edges, as grey pictures."""
    return np.stack([np.repeat(canny_edges(image, 100, 200)[:, :, None], 3, 2) for image in images])


def moment_transfer(images: Images, source: Images, target: Images) -> Images:
    """Each channel's mean and spread moved from those of ``source`` to those of ``target`` (Reinhard in RGB)."""
    axes = (0, 1, 2)
    standard = (images - source.mean(axes)) / source.std(axes)
    return (standard * target.std(axes) + target.mean(axes)).clip(0, 255).round().astype(np.uint8)


def translated(method: Any, images: Images) -> Images:
    """The pictures through a method, as the pipeline does it with job seed 0."""
    out = []
    for start in range(0, len(images), BATCH):
        part = images[start : start + BATCH]
        keys = [str(start + number) for number in range(len(part))]
        x = torch.stack([method.prepare(Inputs(key, image)) for key, image in zip(keys, part, strict=True)])
        out.append(to_uint8(method.translate(Batch(x, seeds=[sample_seed(0, key) for key in keys]))))
    return np.concatenate(out)


def scores(images: Images, held: Held, pool: np.ndarray) -> Scores:
    """The metrics of a candidate; ``pool`` are the features of ``held.pool``."""
    pictures = Pictures(list(held.source), list(images), list(held.truth))
    values: dict[str, float] = {}
    own = np.empty((0, 0))
    for metric in metrics.build(METRICS, device="cpu"):
        measured = metric.measure(pictures)
        values |= {name: float(np.mean(value)) for name, value in measured.values.items()}
        own = np.asarray(measured.features.get("efficientnet_lite0_output", own))
    return Scores(
        values["psnr_target"],
        values["ssim_target"],
        values["structure"],
        1000 * mmd(own, pool, polynomial, 0)[0],
        values["featdist_efflite0_target"],
    )


def features(images: Images) -> np.ndarray:
    """(N, 1280)."""
    (metric,) = metrics.build(("kid_efflite0",), device="cpu")
    measured = metric.measure(Pictures(list(images), list(images), [None] * len(images)))
    return np.asarray(measured.features["efficientnet_lite0_output"])


def candidates(model: Images, held: Held) -> dict[str, Images]:
    """What is compared: the model, the baselines, what the truth might have been."""
    mean = held.pool.mean(0).round().astype(np.uint8)
    constant = held.pool.mean((0, 1, 2)).round().astype(np.uint8)
    return {
        "**this model**": model,
        "the input itself": held.source,
        "channels' mean and spread from unpaired pools (Reinhard in RGB)": moment_transfer(
            held.source, held.seen, held.pool
        ),
        "one constant colour (mean of the pool)": np.broadcast_to(constant, held.truth.shape).copy(),
        "the mean image of the pool": np.broadcast_to(mean, held.truth.shape).copy(),
        **held.variants,
        "the truth itself": held.truth,
    }


@dataclass(frozen=True)
class Task:
    """One translation of one model.

    Attributes:
        title: for the table.
        method, params: as a job names them.
        source, target: conditions.
        edges: whether what is compared with as input are the edges of the truth.
    """

    title: str
    method: str
    params: dict[str, Any]
    source: str
    target: str
    edges: bool = False


TASKS = {
    "day2night": [
        Task(
            f"{source.capitalize()} to {target} (`{direction}`)",
            "cyclegan_turbo",
            {"direction": direction, "image_prep": "no_resize"},
            source,
            target,
        )
        for source, target, direction in (("day", "night", "a2b"), ("night", "day", "b2a"))
    ],
    "edges": [
        Task(
            "Edges to day",
            "pix2pix_turbo",
            {"input": "canny", "image_prep": "no_resize", "caption": "a street in the day"},
            "day",
            "day",
            edges=True,
        )
    ],
}
BUNDLED = {"day2night": "bundled://street-day2night", "edges": "bundled://street-edges"}


def table(size: int, rows: dict[str, Scores]) -> str:
    """The scores of one size, in Markdown."""
    lines = [f"| {size} px | " + " | ".join(HEADINGS) + " |", "| --- " * (len(HEADINGS) + 1) + "|"]
    for name, s in rows.items():
        psnr = "inf" if s.psnr >= 99 else f"{s.psnr:.2f}"
        cells = (psnr, f"{s.ssim:.3f}", f"{s.structure:.4f}", f"{s.kid_x1000:.1f}", f"{s.feature_distance:.2f}")
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    """Render, translate, measure, print."""
    parser = argparse.ArgumentParser(description="Scores of the bundled street models.")
    parser.add_argument("model", choices=tuple(TASKS))
    parser.add_argument("--weights", help="another file of the same kind")
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--pool", type=int, default=200)
    parser.add_argument("--sizes", type=int, nargs="+", default=[128, 256])
    parser.add_argument("--only-model", action="store_true", help="leave the baselines out")
    parser.add_argument("--json", type=Path, help="write the scores there as well")
    parser.add_argument("--pictures", type=Path, help="folder for a PNG of source, translation and truth a task")
    args = parser.parse_args()
    torch.set_num_threads(1)
    weights = args.weights or BUNDLED[args.model]
    found: dict[str, dict[str, dict[str, float]]] = {}
    for task in TASKS[args.model]:
        print(f"{task.title}:", flush=True)
        try:
            method = methods.load(task.method, weights=weights, **task.params)
        except InputError as error:
            raise SystemExit(f"error: {error}") from None
        for size in args.sizes:
            held = held_out(size, args.scenes, args.pool, task.source, task.target)
            model = translated(method, held.source)
            if task.edges:
                held = Held(as_edges(held.source), held.truth, as_edges(held.seen), held.pool, held.variants)
            pool = features(held.pool)
            compared = candidates(model, held)
            if args.only_model:
                compared = {"**this model**": model}
            rows = {name: scores(images, held, pool) for name, images in compared.items()}
            print(f"\n{table(size, rows)}\n", flush=True)
            found[f"{task.title}, {size} px"] = {name: row._asdict() for name, row in rows.items()}
            if args.pictures:
                args.pictures.mkdir(parents=True, exist_ok=True)
                columns = [np.concatenate(each[:6]) for each in (held.source, model, held.truth)]
                sheet = Image.fromarray(np.concatenate(columns, 1))
                sheet.save(args.pictures / f"{args.model}-{task.source}-{size}.png")
    if args.json:
        args.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
