"""How well the editing methods change the weather of rendered streets with small models, beside doing nothing.

    python benchmarks/street_editing.py JOB.yaml --target night --scenes 8
        --variant "no guidance: clip_guidance_lambda=0, lambda_ssim=0" [--json FILE]

Each row is one setting on the same unseen days. An independent classifier (linear, on EfficientNet-Lite0's features of
other rendered scenes) says which weather it sees; ``structure`` is the distance of the layout to the source. Pictures
are rendered as the models saw them: below 128 pixels at twice the side, and halved. Captions say what the source shows;
with ``--captions target`` they ask for the target weather, as plain image-to-image (SDEdit) wants it: at ``strength=1``
nothing is left of the source, and the row is what the text-to-image model paints by itself.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    # In front stood this folder, whose pipeline.py is not the package of that name.
    sys.path[:1] = [str(Path(__file__).resolve().parent.parent)]
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import torch.nn.functional as F
import yaml
from PIL import Image

import methods
from benchmarks.street_models import BATCH, POOL_SEED, TEST_SEED, Images, rendered, view
from jobs.streets import Frame, Scene
from jobs.streets.captions import caption
from jobs.streets.conditions import CONDITIONS
from jobs.streets.truth import truth_of
from methods import Batch, Inputs
from methods.base import sample_seed, to_uint8
from methods.nn.image_prep import to_tensor
from methods.nn.stable_diffusion import StableDiffusion
from pipeline.metrics.base import Pictures
from pipeline.metrics.efflite0 import shared
from pipeline.metrics.kernel_distance import mmd, polynomial
from pipeline.metrics.structure import structure_distance
from pipeline.spec import JobSpec

WEATHERS = ("day", "night", "fog", "rain", "snow")


@dataclass(frozen=True)
class Row:
    """Means over the pictures of one setting.

    Attributes:
        named: share in which the classifier names the target weather.
        probability: what it gives the target weather.
        structure: distance of the layout to the source, 0 for the source itself.
        psnr: to the true picture of the same scene in the target weather, in dB.
        kid_x1000: on EfficientNet-Lite0's features, to other scenes in the target weather.
        seconds: of one picture.
    """

    setting: str
    named: float
    probability: float
    structure: float
    psnr: float
    kid_x1000: float
    seconds: float


class WeatherClassifier:
    """Logistic regression on pooled features, fitted to rendered scenes."""

    def __init__(self, pools: Mapping[str, Images]) -> None:
        self.names = tuple(pools)
        x = torch.cat([features(images) for images in pools.values()])
        y = torch.cat([torch.full((len(images),), n) for n, images in enumerate(pools.values())])
        self.mean, self.std = x.mean(0), x.std(0) + 1e-3
        self.layer = torch.nn.Linear(x.shape[1], len(pools))
        optimizer = torch.optim.AdamW(self.layer.parameters(), lr=1e-2, weight_decay=0.1)
        for _ in range(200):
            optimizer.zero_grad()
            F.cross_entropy(self.layer((x - self.mean) / self.std), y).backward()
            optimizer.step()

    @torch.no_grad()
    def __call__(self, images: Images) -> torch.Tensor:
        """(N, weathers) probabilities."""
        return self.layer((features(images) - self.mean) / self.std).softmax(1)


def features(images: Images) -> torch.Tensor:
    """(N, 1280) of (N, H, W, 3) uint8."""
    pictures = Pictures(source=list(images), output=list(images), target=[None] * len(images))
    found = shared("cpu").maps.of(pictures, "output")
    return torch.stack([each.pooled.clone() for each in found if each is not None])


def rendered_side(size: int) -> int:
    """The side at which a scene is rendered for pictures of this size: things of a pixel are drawn well at twice it."""
    return size if size >= 128 else 2 * size


def drawn(seed: int, size: int, condition: str) -> np.ndarray:
    """A scene, (size, size, 3) uint8."""
    large = Image.fromarray(view(seed, rendered_side(size), condition))
    return np.asarray(large.resize((size, size), Image.Resampling.LANCZOS))


def caption_of(seed: int, size: int, condition: str) -> str:
    """What the scene's dataset says of it."""
    scene, side = Scene(seed), rendered_side(size)
    return caption(scene, truth_of(Frame(scene, side, side)), CONDITIONS[condition])


@torch.inference_mode()
def decoded(model: StableDiffusion, images: Images) -> Images:
    """What a model's autoencoder leaves of pictures: nothing that passes through it can come nearer to the truth."""
    out = []
    for image in images:
        x = to_tensor(image)[None]
        out.append(to_uint8(model.decode(model.encode(x, torch.zeros(model.latent_shape(*x.shape[2:]))))))
    return np.concatenate(out)


def edited(method: Any, images: Images, captions: list[str]) -> Images:
    """The captioned pictures through a method, as the pipeline does it with job seed 0."""
    out = []
    for start in range(0, len(images), BATCH):
        said = captions[start : start + BATCH]
        keys = [str(start + number) for number in range(len(said))]
        inputs = [Inputs(*each) for each in zip(keys, images[start : start + BATCH], said, strict=True)]
        x = torch.stack([method.prepare(each) for each in inputs])
        batch = Batch(x, [sample_seed(0, key) for key in keys], keys, said, [each.columns for each in inputs])
        out.append(to_uint8(method.translate(batch)))
    return np.concatenate(out)


def scored(
    setting: str,
    output: Images,
    source: Images,
    truth: Images,
    pool: Images,
    weather: int,
    said: torch.Tensor,
    took: float,
) -> Row:
    """One row."""
    errors = ((output.astype(np.float64) - truth) / 255).reshape(len(output), -1)
    return Row(
        setting,
        float((said.argmax(1) == weather).float().mean()),
        float(said[:, weather].mean()),
        float(np.mean([structure_distance(a, b) for a, b in zip(source, output, strict=True)])),
        float(np.mean(-10 * np.log10((errors**2).mean(1)))),
        1000 * mmd(features(output).numpy(), features(pool).numpy(), polynomial, 0)[0],
        took,
    )


def settings(variants: list[str]) -> dict[str, dict[str, Any]]:
    """Parameters by the name of the setting: ``name: key=value, key=value``, values in YAML."""
    found: dict[str, dict[str, Any]] = {"as the job": {}}
    for text in variants:
        name, _, given = text.partition(":")
        pairs = [each.split("=", 1) for each in given.split(",") if each.strip()]
        found[name.strip()] = {key.strip(): yaml.safe_load(value) for key, value in pairs}
    return found


def parsed(parser: argparse.ArgumentParser, pictures: str) -> argparse.Namespace:
    """The options, with those that every table of settings has; ``pictures`` says what the PNG shows."""
    parser.add_argument("--variant", action="append", default=[], metavar="NAME: KEY=VALUE, ...")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--pictures", type=Path, help=f"PNG: {pictures}")
    torch.set_num_threads(1)
    return parser.parse_args()


def write(args: argparse.Namespace, rows: Sequence[Any], lines: Sequence[Images]) -> None:
    """The rows as JSON and the first 8 pictures of each line as a PNG, where they were asked for."""
    if args.json:
        args.json.write_text(json.dumps([asdict(each) for each in rows], indent=1) + "\n")
    if args.pictures:
        Image.fromarray(np.concatenate([np.concatenate(list(images[:8]), axis=1) for images in lines])).save(
            args.pictures
        )


def main() -> None:
    parser = argparse.ArgumentParser(description="Scores of the editing methods on rendered streets.")
    parser.add_argument("job", type=Path, help="a job file; its method is scored")
    parser.add_argument("--target", choices=WEATHERS, required=True)
    parser.add_argument("--scenes", type=int, default=40)
    parser.add_argument("--pool", type=int, default=60, help="scenes a weather that classifier and KID learn from")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--captions", choices=("source", "target"), default="source")
    args = parsed(parser, "sources, then a row of outputs per setting, then the truth")
    given = JobSpec.load(args.job).method
    test, others = range(TEST_SEED, TEST_SEED + args.scenes), range(POOL_SEED, POOL_SEED + args.pool)
    source, truth = (rendered(drawn, test, args.size, weather) for weather in ("day", args.target))
    pools = {weather: rendered(drawn, others, args.size, weather) for weather in WEATHERS}
    captions = [caption_of(seed, args.size, "day" if args.captions == "source" else args.target) for seed in test]
    classifier = WeatherClassifier(pools)
    weather, pool = WEATHERS.index(args.target), pools[args.target]

    def row(setting: str, output: Images, took: float = 0.0) -> Row:
        found = scored(setting, output, source, truth, pool, weather, classifier(output), took)
        print(
            f"| {setting} | {found.named:.2f} | {found.probability:.2f} | {found.structure:.4f} | {found.psnr:.1f} | "
            f"{found.kid_x1000:.0f} | {found.seconds:.1f} |",
            flush=True,
        )
        return found

    print("| setting | named | probability | structure | PSNR to the truth | KID x 1000 | s per picture |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    rows, shown = [row("the source itself", source)], [source]
    method: Any = None
    for setting, params in settings(args.variant).items():
        method = methods.load(given.name, preset=given.preset, weights=given.weights, **{**given.params, **params})
        begun = time.process_time()
        output = edited(method, source, captions)
        rows.append(row(setting, output, (time.process_time() - begun) / len(source)))
        shown.append(output)
    # grain alone keeps two pictures of one scene apart: noise of one level, not the truth itself
    other = np.clip(truth.astype(np.int16) + np.random.default_rng(0).integers(-1, 2, truth.shape), 0, 255)
    rows.append(row("the truth, one level of noise", other.astype(np.uint8)))
    if isinstance(model := getattr(method, "model", None), StableDiffusion):
        rows.append(row("the truth through the autoencoder", decoded(model, truth)))
    write(args, rows, [*shown, truth])


if __name__ == "__main__":
    main()
