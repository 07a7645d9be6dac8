"""How a learning rate rises at the beginning of a run and falls at its end."""

from __future__ import annotations

import torch


def share_at(step: int, steps: int, warmup: int, decay_from: float) -> float:
    """What of the learning rate iteration ``step`` (from 0) of ``steps`` gets, in (0, 1].

    It rises in a line over ``warmup`` iterations, and falls in a line from ``decay_from`` (a share of the run) to a
    hundredth at the end; ``decay_from`` 1 never falls.
    """
    rising = (step + 1) / warmup if warmup else 1.0
    left = 1.0 - step / steps
    falling = left / (1.0 - decay_from) if decay_from < 1.0 else 1.0
    return max(min(rising, falling, 1.0), 0.01)


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give all of an optimizer's parameters this learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate
