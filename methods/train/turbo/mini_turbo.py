"""Train CycleGAN-Turbo in miniature on rendered pairs, on one CPU thread.

    python -m methods.train.turbo.mini_turbo --data DIR --out DIR --minutes 80

First both VAEs learn to pass pictures of both domains through (the full model starts from a finished VAE); then each
direction learns its translation from true pairs; an adversary joins when the tones are right, and brings the lights.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from methods.errors import InputError
from methods.train.losses.patchgan import PositionPatchGAN, hinge_for_discriminator, hinge_for_generator
from methods.train.losses.perceptual import PerceptualDistance
from methods.train.turbo.mini_model import DIRECTIONS, MiniTurbo, native_parts
from methods.train.turbo.pairs import Pairs
from methods.turbo.native import save_native

# the average moves slowly: it need not see every step
_AVERAGE_EVERY = 5
CAPTIONS = {"a2b": "driving in the night", "b2a": "driving in the day"}


@dataclass(frozen=True)
class Recipe:
    """What a run does; shares are of the whole run."""

    seed: int = 0
    autoencoder_share: float = 0.03
    adversary_from: float = 0.15
    decay_from: float = 0.55
    forward_share: float = 0.72
    large_share: float = 0.25
    batch_small: int = 4
    batch_large: int = 1
    lr: float = 1.5e-3
    lr_discriminator: float = 4e-4
    ema: float = 0.998
    weight_lowres: float = 0.5
    weight_perceptual: float = 0.25
    weight_adversary: float = 0.05
    weight_lights: float = 3.0


class Trainer:
    """The networks, their optimizers and the loop over steps.

    Args:
        recipe: see :class:`Recipe`.
        data: training pairs.
    """

    def __init__(self, recipe: Recipe, data: Pairs) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.data = recipe, data
        self.sizes = sorted(data.arrays)
        self.model = MiniTurbo().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.judges = torch.nn.ModuleDict({direction: PositionPatchGAN() for direction in DIRECTIONS})
        self.judges = self.judges.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.averaged = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.perceptual = PerceptualDistance()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=recipe.lr, betas=(0.5, 0.99), fused=True)
        self.judge_optimizer = torch.optim.Adam(
            self.judges.parameters(), lr=recipe.lr_discriminator, betas=(0.5, 0.99), fused=True
        )
        self.rng = np.random.default_rng(recipe.seed)
        self.steps, self.seconds = 0, 0.0

    def step(self, progress: float) -> tuple[str, dict[str, float]]:
        """One optimizer step at this share of the run; returns the direction it trained, and the losses."""
        recipe = self.recipe
        size = self.sizes[-1] if self.rng.random() < recipe.large_share else self.sizes[0]
        count = recipe.batch_large if size != self.sizes[0] else recipe.batch_small
        direction = "a2b" if self.rng.random() < recipe.forward_share else "b2a"
        a, b = self.data.draw(size, count, self.rng)
        source, target = (a, b) if direction == "a2b" else (b, a)
        rising, falling = (self.steps + 1) / 200, (1 - progress) / (1 - recipe.decay_from)
        for group, lr in ((self.optimizer, recipe.lr), (self.judge_optimizer, recipe.lr_discriminator)):
            group.param_groups[0]["lr"] = lr * max(min(rising, falling, 1.0), 0.01)
        if progress < recipe.autoencoder_share:
            source = target = torch.cat([source[: max(count // 2, 1)], target[max(count // 2, 1) :]])
            losses = self._reconstruct(source, direction)
        else:
            losses = self._translate(source, target, direction, progress >= recipe.adversary_from)
        self.steps += 1
        if self.steps % _AVERAGE_EVERY == 0:
            keep = min(recipe.ema, (1 + self.steps) / (10 + self.steps)) ** _AVERAGE_EVERY
            with torch.no_grad():
                for name, value in self.model.state_dict().items():
                    self.averaged[name].lerp_(value, 1 - keep)
        return direction, losses

    def _reconstruct(self, images: Tensor, direction: str) -> dict[str, float]:
        output = self.model(images, direction)
        loss = F.l1_loss(output, images)
        self._update(loss)
        return {"autoencoder": loss.item()}

    def _translate(self, source: Tensor, target: Tensor, direction: str, adversary: bool) -> dict[str, float]:
        recipe = self.recipe
        output = self.model(source, direction)
        # lamps, windows and headlights are a few bright pixels of the night: alone they would not count
        bright = (target.amax(1, keepdim=True) * 0.5 + 0.5).square() if direction == "a2b" else torch.zeros(1)
        l1 = ((output - target).abs() * (1 + recipe.weight_lights * bright)).mean()
        lowres = F.l1_loss(F.avg_pool2d(output, 4), F.avg_pool2d(target, 4))
        perceptual = self.perceptual(output, target)
        loss = l1 + recipe.weight_lowres * lowres + recipe.weight_perceptual * perceptual
        found = {"l1": l1.item(), "lowres": lowres.item(), "perceptual": perceptual.item()}
        if adversary:
            judge = self.judges[direction]
            judge.requires_grad_(False)
            fooled = hinge_for_generator(judge(output, source))
            judge.requires_grad_(True)
            loss = loss + recipe.weight_adversary * fooled
        self._update(loss)
        if adversary:
            verdict = hinge_for_discriminator(judge(target, source), judge(output.detach(), source))
            self.judge_optimizer.zero_grad(set_to_none=True)
            verdict.backward()
            self.judge_optimizer.step()
            found |= {"fooled": fooled.item(), "judge": verdict.item()}
        return found

    def _update(self, loss: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()

    def state(self) -> dict[str, Any]:
        """Everything a later process needs to go on as if nothing had happened."""
        return {
            "model": self.model.state_dict(),
            "averaged": self.averaged,
            "judges": self.judges.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "judge_optimizer": self.judge_optimizer.state_dict(),
            "steps": self.steps,
            "seconds": self.seconds,
            "rng": json.dumps(self.rng.bit_generator.state),
            "torch_rng": torch.get_rng_state(),
        }

    def resume(self, path: Path) -> None:
        """Load what :meth:`state` returned."""
        state = torch.load(path, map_location="cpu", weights_only=True)
        self.model.load_state_dict(state["model"])
        self.averaged = state["averaged"]
        self.judges.load_state_dict(state["judges"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.judge_optimizer.load_state_dict(state["judge_optimizer"])
        self.steps, self.seconds = state["steps"], state["seconds"]
        self.rng.bit_generator.state = json.loads(state["rng"])
        torch.set_rng_state(state["torch_rng"])

    def sheet(self, held_out: Pairs) -> np.ndarray:
        """A picture of held-out pairs under the averaged weights: a, a2b(a), b, b2a(b) from left to right."""
        model = MiniTurbo().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        model.load_state_dict(self.averaged)
        rows = []
        for size in self.sizes:
            count = 5 if size == self.sizes[0] else 3
            a, b = held_out.batch(size, list(range(count)))
            with torch.inference_mode():
                columns = [a, model(a, "a2b"), b, model(b, "b2a")]
            strips = [torch.cat(list(column), dim=-2).clamp(-1, 1) for column in columns]
            rows.append(F.interpolate(torch.cat(strips, dim=-1)[None], size=(256 * count, 1024)))
        picture = torch.cat(rows, dim=-2)[0].permute(1, 2, 0)
        return (picture * 127.5 + 127.5).byte().numpy()


def _save(trainer: Trainer, out: Path, held_out: Pairs) -> None:
    part = out / ".state.pt"
    torch.save(trainer.state(), part)
    os.replace(part, out / "state.pt")
    about = {"recipe": asdict(trainer.recipe), "steps": trainer.steps, "seconds": round(trainer.seconds)}
    config, tensors = native_parts(trainer.model, trainer.averaged, CAPTIONS, about, torch.float16)
    save_native(out / "model.safetensors", config, tensors)
    Image.fromarray(trainer.sheet(held_out)).save(out / f"sheet-{trainer.steps:06d}.png")


def train(
    data: Path,
    out: Path,
    recipe: Recipe,
    minutes: float | None = None,
    steps: int | None = None,
    resume: bool = False,
    every: float = 120.0,
) -> None:
    """Train for ``minutes`` of wall time or for ``steps``, over resumed runs, saving about every ``every`` seconds.

    Learning rate and phases follow the share of the run that is done, so that either budget ends well.

    Writes to ``out``: ``model.safetensors`` (averaged weights, fp16), ``state.pt``, ``sheet-*.png``, ``log.jsonl``.

    Raises:
        InputError: data missing or ill-formed; nothing to resume; not exactly one budget.
    """
    if (minutes is None) == (steps is None):
        raise InputError("give the length of the run as minutes or as steps, one of the two")
    pairs, held_out = Pairs(data, "train"), Pairs(data, "test")
    out.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(recipe, pairs)
    if resume:
        if not (out / "state.pt").exists():
            raise InputError(f"{out}: nothing to resume, no state.pt there")
        trainer.resume(out / "state.pt")

    def progress() -> float:
        return trainer.steps / steps if steps is not None else trainer.seconds / (60 * (minutes or 1))

    sums: dict[str, list[float]] = {}
    saved = time.monotonic()
    while progress() < 1:
        begun = time.monotonic()
        side, losses = trainer.step(progress())
        for name, value in losses.items():
            sums.setdefault(f"{side}.{name}", []).append(value)
        trainer.seconds += time.monotonic() - begun
        if trainer.steps % 50 == 0:
            means = {name: round(float(np.mean(values)), 4) for name, values in sorted(sums.items())}
            with (out / "log.jsonl").open("a") as log:
                log.write(json.dumps({"step": trainer.steps, "seconds": round(trainer.seconds), **means}) + "\n")
            sums = {}
        if time.monotonic() - saved > every:
            _save(trainer, out, held_out)
            saved = time.monotonic()
    _save(trainer, out, held_out)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train CycleGAN-Turbo in miniature on pairs.")
    parser.add_argument("--data", type=Path, required=True, help="folder with {train,test}/<size>/{day,night}/images")
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints, sheets and the model")
    budget = parser.add_mutually_exclusive_group(required=True)
    budget.add_argument("--minutes", type=float, help="wall time in all, over resumed runs")
    budget.add_argument("--steps", type=int, help="steps in all: the same run on a faster or slower machine")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="go on from OUT/state.pt")
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    try:
        train(args.data, args.out, Recipe(seed=args.seed), args.minutes, args.steps, args.resume)
    except InputError as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
