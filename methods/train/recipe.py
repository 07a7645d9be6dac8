"""How any objective is trained: rates over time, precision, accumulation, averaging. Imports no torch."""

from __future__ import annotations

import math
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

_STEPS_DOWN = (0.5, 0.75)
_LOWEST = 0.01


class Recipe(BaseModel):
    """The settings that all objectives share. What is not given is as the objective's publication has it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    schedule: Literal["published", "constant", "linear", "cosine", "step"] = "published"
    """How the learning rates (``objective.params``) change over the run: as the objective's publication has it, not at
    all, in a line to 0, as half a cosine to 0, or to a tenth at a half and again at three quarters of the run.
    """
    warmup: Annotated[int, Field(ge=0)] = 0
    """Steps over which the learning rates rise in a line; for every ``schedule`` but ``published``."""
    decay_from: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Share of the run after which ``linear`` and ``cosine`` begin to fall; CycleGAN's schedule is linear from 0.5."""
    power: Annotated[float, Field(gt=0)] = 1.0
    """Exponent of ``linear``: over 1 it falls faster first, as a polynomial schedule does."""
    cycles: Annotated[int, Field(ge=1)] = 1
    """How often ``cosine`` falls from the full rate to 0."""
    betas: tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]] | None = None
    """Betas of all Adam optimizers; ``null`` for the objective's own."""
    weight_decay: Annotated[float, Field(ge=0)] | None = None
    """Weight decay of all optimizers; ``null`` for the objective's own. Exempt parameters stay exempt."""
    clip: Annotated[float, Field(gt=0)] | None = None
    """Norm that gradients are clipped to at every optimizer step; ``null`` for the objective's own."""
    accumulate: Annotated[int, Field(ge=1)] = 1
    """Batches whose gradients make one step: the memory of ``batch_size`` samples, the step of ``accumulate`` times as
    many.
    """
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of the networks' arithmetic; weights and optimizers are float32. ``float16`` scales the losses and
    leaves out steps that overflow.
    """
    memory_format: Literal["contiguous", "channels_last"] = "contiguous"
    """Memory layout of convolutions; which one is faster depends on the machine."""
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay of the averaged weights that are validated and exported; ``null`` for none."""
    compile: bool = False
    """Compile the trained networks with ``torch.compile``: minutes at the start, faster steps after."""
    checkpointing: bool = False
    """Activation checkpointing of the networks' blocks: less memory, a third more time. The Turbo objectives do it by
    default (``objective.params.checkpointing``).
    """
    seed: int = 0
    """Seed of all random numbers."""

    @model_validator(mode="after")
    def _nothing_is_ignored(self) -> Recipe:
        if self.warmup and self.schedule == "published":
            raise ValueError("warmup belongs to a schedule other than published: add schedule: constant, or another")
        if self.decay_from and self.schedule not in ("linear", "cosine"):
            raise ValueError("decay_from belongs to schedule: linear or cosine")
        if self.power != 1 and self.schedule != "linear":
            raise ValueError("power belongs to schedule: linear")
        if self.cycles > 1 and self.schedule != "cosine":
            raise ValueError("cycles belongs to schedule: cosine")
        return self

    def rate(self, step: int, steps: int) -> float:
        """Share of the learning rates at iteration ``step`` (from 0) of ``steps``, in (0, 1]; not for ``published``.

        It never falls below a hundredth, so that the last steps still count.
        """
        rising = (step + 1) / self.warmup if self.warmup else 1.0
        done = step / steps
        fallen = max(done - self.decay_from, 0.0) / (1.0 - self.decay_from)
        falling = {
            "constant": 1.0,
            "linear": (1.0 - fallen) ** self.power,
            "cosine": 0.5 * (1.0 + math.cos(math.pi * (self.cycles * fallen % 1.0))),
            "step": 0.1 ** sum(done >= at for at in _STEPS_DOWN),
        }[self.schedule]
        return max(min(rising, falling), _LOWEST)


def share_at(step: int, steps: int, warmup: int, decay_from: float) -> float:
    """The Turbo objectives' schedule: a rise over ``warmup`` iterations, a fall in a line from ``decay_from``.

    ``decay_from`` is a share of the run; 1 never falls. Returns a share in (0, 1], never below a hundredth.
    """
    rising = (step + 1) / warmup if warmup else 1.0
    left = 1.0 - step / steps
    falling = left / (1.0 - decay_from) if decay_from < 1.0 else 1.0
    return max(min(rising, falling, 1.0), _LOWEST)
