"""Stopping a training whose losses have run away, while the last good checkpoint is still there."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from statistics import median

from methods.train.checkpoint import saved_steps

_HISTORY = 200
_ENOUGH = 10
_FACTOR = 1000.0
_PATIENCE = 25


class Diverged(RuntimeError):
    """A loss has run away; the message says which, when, and where the last good checkpoint is."""


class DivergenceGuard:
    """Watches the losses of every step.

    A loss that is not finite ends the training at once. One whose size is over 1,000, and over 1,000 times its running
    median (of 200 steps, from the 10th on), makes the training suspicious; 25 such steps in a row end it. While it is
    suspicious no checkpoint should be written, so that the newest one is a good one.

    Args:
        folder: the training's folder, to name its last checkpoint.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sizes: dict[str, deque[float]] = {}
        self._streak: dict[str, int] = {}

    @property
    def suspicious(self) -> bool:
        """Whether a loss of the last step was far above its running median."""
        return any(self._streak.values())

    def check(self, losses: Mapping[str, float], step: int) -> None:
        """Look at the losses of one step. Raises Diverged."""
        for name, value in losses.items():
            if not math.isfinite(value):
                raise Diverged(f"loss '{name}' became {value} at step {step}; {self._advice()}")
            sizes = self._sizes.setdefault(name, deque(maxlen=_HISTORY))
            usual = median(sizes) if len(sizes) >= _ENOUGH else math.inf
            if abs(value) > _FACTOR * max(usual, 1.0):
                self._streak[name] = self._streak.get(name, 0) + 1
                if self._streak[name] >= _PATIENCE:
                    raise Diverged(
                        f"loss '{name}' has been over {_FACTOR:g} times its median ({usual:.3g}) for {_PATIENCE} "
                        f"steps, {value:.3g} at step {step}; {self._advice()}"
                    )
            else:
                self._streak[name] = 0
                sizes.append(abs(value))

    def _advice(self) -> str:
        last = max(saved_steps(self._folder), default=None)
        where = f"the last good checkpoint is of step {last}" if last else "no checkpoint was written before"
        return f"{where}: try a smaller learning rate or float32"
