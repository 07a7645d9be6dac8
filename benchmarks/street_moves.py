"""How often Self-Guidance moves what it is asked to move, on generated streets of a small text-to-image model.

    python benchmarks/street_moves.py JOB.yaml --tries 40 [--variant "stronger: strength=4000"] [--pictures FILE.png]

The job's method generates a picture for each caption (``mode: generated``) and the same picture again under its edits,
the first of which is a ``move`` ``by`` an offset. ``moved``: the share of tries in which the centre of the words' shape
(the mask of their attention, section 3.1), half-way through the sampling, went at least half of the way asked for.
``kept``: the share whose edited picture is nearer (mean squared error) to the unedited one than a picture of the same
caption from another seed is.
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

import methods
from benchmarks.street_editing import caption_of, parsed, settings, write
from benchmarks.street_models import TEST_SEED
from methods import Batch
from methods.base import sample_seed, to_uint8
from methods.nn.attention_capture import map_size, read
from methods.self_guidance.method import SelfGuidance
from methods.self_guidance.params import Move
from methods.self_guidance.properties import centroid, shape
from methods.self_guidance.sampling import Prompt, guided_sampling
from methods.self_guidance.tokens import columns
from pipeline.spec import JobSpec


@dataclass(frozen=True)
class Row:
    """One setting.

    Attributes:
        moved, kept: shares of the tries, see above.
        shift: mean shift of that centre in the direction asked for, as a share of the offset.
        change, other_seed: mean squared error to the unedited picture, of the edited one and of another seed's.
        seconds: of one picture.
    """

    setting: str
    moved: float
    kept: float
    shift: float
    change: float
    other_seed: float
    seconds: float


@dataclass(frozen=True)
class Try:
    """Pictures (H, W, 3) uint8, and the shift of the centre, (x, y)."""

    plain: np.ndarray
    edited: np.ndarray
    other: np.ndarray
    shift: np.ndarray


def centre(method: SelfGuidance, latents: torch.Tensor, timestep: int, prompt: Prompt, tokens: list[int]) -> np.ndarray:
    """The centre of these tokens' shape, (x, y), mean over tokens and layers."""
    watch = method.watch
    found = []
    with torch.no_grad():
        reading = read(method.model.unet, latents, timestep, prompt.caption, watch.layers)
    for layer in watch.layers:
        averaged = reading.maps[layer].mean(1)
        square = averaged.unflatten(1, map_size(averaged.shape[1], *latents.shape[2:]))
        found.append(centroid(shape(square[..., tokens])).mean(1))
    return torch.stack(found).mean(0)[0].numpy()


def attempt(method: SelfGuidance, caption: str, key: str, words: list[str]) -> Try:
    """One caption: the picture of its seed, the same edited, and that of another seed."""
    tokens = list(columns(method.model.text, caption, words))
    embedded = method.model.embed([caption])
    assert method.negative is not None
    prompt = Prompt(embedded.states, method.negative.states)
    terms = [method._bound(caption)]  # pyright: ignore[reportPrivateUsage]
    half = len(method.steps) // 2
    scale = method.params.guidance_scale
    pictures, centres = [], []
    side = int(method.params.image_prep.rsplit("x", 1)[-1])
    for seed, mine in ((key, [[]]), (key, terms), (f"{key} again", [[]])):
        batch = Batch(torch.zeros(1, 3, side, side), [sample_seed(0, seed)], [seed], [caption], [{}])
        start = batch.noise(method.model.latent_shape(side, side), "latent").clone()
        latents = start
        for number, step in enumerate(
            guided_sampling(method.model, start, prompt, method.steps, scale, mine, method.watch)
        ):
            latents = step.latents
            if number == half:
                timestep = method.steps[min(number + 1, len(method.steps) - 1)].timestep
                centres.append(centre(method, latents, timestep, prompt, tokens))
        with torch.no_grad():
            pictures.append(to_uint8(method.model.decode(latents))[0])
    plain, edited, other = pictures
    return Try(plain, edited, other, centres[1] - centres[0])


def scored(setting: str, tries: list[Try], by: np.ndarray, seconds: float) -> Row:
    """One row."""
    along = np.array([float(each.shift @ by / (by @ by)) for each in tries])
    change, other = (
        np.array([np.square((getattr(each, name) - each.plain.astype(np.float64)) / 255).mean() for each in tries])
        for name in ("edited", "other")
    )
    return Row(
        setting,
        float((along >= 0.5).mean()),
        float((change < other).mean()),
        float(along.mean()),
        float(change.mean()),
        float(other.mean()),
        seconds,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="How often Self-Guidance moves what it is asked to move.")
    parser.add_argument("job", type=Path, help="a job file; its method is scored")
    parser.add_argument("--tries", type=int, default=40)
    args = parsed(parser, "per setting a row of unedited and a row of edited pictures")
    given = JobSpec.load(args.job).method
    rows, shown = [], []
    print("| setting | moved | kept | shift | change | another seed | s per picture |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for setting, params in settings(args.variant).items():
        loaded: Any = methods.load(given.name, preset=given.preset, weights=given.weights, **{**given.params, **params})
        move = loaded.params.edits[0]
        if not isinstance(move, Move) or move.by is None or move.words == "all" or loaded.params.mode != "generated":
            parser.error("the job must generate pictures, and its first edit be a move of some words by an offset")
        captions = street_captions(move.words, args.tries)
        if len(captions) < args.tries:
            parser.error(f"captions of streets seldom hold {', '.join(move.words)}")
        begun = time.process_time()
        tries = [attempt(loaded, caption, str(n), move.words) for n, caption in enumerate(captions)]
        took = (time.process_time() - begun) / len(tries) / 3
        found = scored(setting, tries, np.array(move.by), took)
        rows.append(found)
        print(
            f"| {setting} | {found.moved:.2f} | {found.kept:.2f} | {found.shift:.2f} | {found.change:.4f} | "
            f"{found.other_seed:.4f} | {found.seconds:.1f} |",
            flush=True,
        )
        shown += [np.stack([getattr(each, name) for each in tries]) for name in ("plain", "edited")]
    write(args, rows, shown)


def street_captions(words: list[str], count: int) -> list[str]:
    """Captions of unseen scenes by day that hold the words; fewer where not one in ten scenes does."""
    found: list[str] = []
    for seed in range(TEST_SEED, TEST_SEED + 10 * count):
        text = caption_of(seed, 32, "day")
        if all(word in text.replace(",", "").split() for word in words):
            found.append(text)
        if len(found) == count:
            break
    return found


if __name__ == "__main__":
    main()
