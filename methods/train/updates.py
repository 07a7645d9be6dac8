"""What turns losses into steps of optimizers: scaling, accumulation, averaging over workers, clipping."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from methods.train.recipe import Recipe
from methods.train.workers import Share, alone

_FIRST_SCALE = 65536.0
_SMALLEST_SCALE = 1.0
_GROWS_AFTER = 2000


class Updates:
    """Handed to ``Objective.step``, which calls :meth:`backward` for losses and :meth:`step` for optimizers.

    With accumulation, the gradients of all but an iteration's last batch are set aside, separately for every call of
    :meth:`step` (an objective may step one optimizer several times), and the last batch steps on their mean.

    Args:
        share: averages gradients over the workers.
        clip: norm to clip to, in place of the objective's own.
        batches: batches that make one iteration.
        scaled: scale losses for float16, and leave out steps whose gradients overflow.
    """

    def __init__(
        self,
        share: Share = alone,
        clip: float | None = None,
        batches: int = 1,
        *,
        scaled: bool = False,
    ) -> None:
        self._share, self._clip, self._batches, self._scaled = share, clip, batches, scaled
        self._scale = _FIRST_SCALE if scaled else 1.0
        self._fitted = 0
        self._overflowed = False
        self._batch = batches - 1
        self._aside: dict[tuple[str, int], dict[nn.Parameter, Tensor]] = {}
        self._sums: dict[str, Tensor] = {}
        self.norms: dict[str, float] = {}
        """Norm of the gradients before clipping, of this iteration, by the name of the step."""

    def begin(self, batch: int) -> None:
        """Batch number ``batch`` (from 0) of an iteration comes."""
        self._batch = batch
        if batch == 0:
            self.norms = {}

    def backward(self, loss: Tensor) -> None:
        """The backward pass of a loss."""
        (loss * self._scale if self._scaled else loss).backward()

    def step(
        self,
        name: str,
        *optimizers: torch.optim.Optimizer,
        loss: Tensor | None = None,
        clip: float | None = None,
        part: int = 0,
    ) -> None:
        """Step optimizers on the gradients of their parameters, then forget the gradients.

        Args:
            name: of this step, for the log.
            optimizers: what is stepped; their gradients are clipped together.
            loss: the last one that the step is on: its backward pass runs here, and workers average gradients while it
                does. Without it all have been through :meth:`backward`, and gradients are averaged after them.
            clip: the objective's own norm to clip to; ``None`` for no clipping.
            part: tells steps of one name within an iteration apart.
        """
        parameters = [p for optimizer in optimizers for group in optimizer.param_groups for p in group["params"]]
        aside = self._aside.pop((name, part), {})

        def backward() -> None:
            if loss is not None:
                self.backward(loss)

        def complete(parameter: nn.Parameter) -> None:
            if self._batches > 1:
                whole = _sum(aside.get(parameter), parameter.grad)
                parameter.grad = None if whole is None else whole / self._batches

        if self._batch < self._batches - 1:
            # workers have nothing to tell each other before the last batch
            backward()
            sums = {p: _sum(aside.get(p), p.grad) for p in parameters}
            self._aside[name, part] = {p: value for p, value in sums.items() if value is not None}
        else:
            self._share(parameters, complete, backward)
            if self._scaled:
                for parameter in parameters:
                    if parameter.grad is not None:
                        parameter.grad /= self._scale
            limit = self._clip or clip
            if limit:
                norm = float(nn.utils.clip_grad_norm_(parameters, limit))
            else:
                norm = float(nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None]))
            overflowed = self._scaled and not math.isfinite(norm)
            self._overflowed |= overflowed
            if not overflowed:
                self.norms[name] = norm
                for optimizer in optimizers:
                    optimizer.step()
        for optimizer in optimizers:
            optimizer.zero_grad(set_to_none=True)

    def mean(self, name: str, value: Tensor) -> Tensor | None:
        """The mean of a small tensor over an iteration's batches and the workers; ``None`` before the last batch.

        For what an objective keeps beside its networks, which must be the same on all workers. Called by all of them,
        in the same order.

        Args:
            name: of the value.
            value: a float tensor of one batch on this worker, on the device of the networks.
        """
        total = _sum(self._sums.pop(name, None), value.detach().clone())
        assert total is not None
        if self._batch < self._batches - 1:
            self._sums[name] = total
            return None
        # it goes the way of the gradients
        carrier = nn.Parameter(torch.zeros_like(total))
        carrier.grad = total / self._batches
        self._share([carrier], lambda parameter: None, lambda: None)
        return carrier.grad

    def end(self) -> None:
        """The iteration is done: with float16, losses are scaled less after an overflow, more after a long time."""
        if not self._scaled:
            return
        self._fitted = 0 if self._overflowed else self._fitted + 1
        if self._overflowed:
            self._scale = max(self._scale / 2, _SMALLEST_SCALE)
        elif self._fitted % _GROWS_AFTER == 0:
            self._scale *= 2
        self._overflowed = False

    def state_dict(self) -> dict[str, float]:
        """The scale of float16's losses and for how many iterations it has been enough."""
        return {"scale": self._scale, "fitted": self._fitted}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`; ``{}`` is a start."""
        if self._scaled and state:
            self._scale, self._fitted = float(state["scale"]), int(state["fitted"])


class Rates:
    """The learning rates of an objective's optimizers over the run.

    Args:
        optimizers: as built: their rates are those that shares are taken of.
        share: iteration -> share of them.
    """

    def __init__(self, optimizers: Mapping[str, torch.optim.Optimizer], share: Callable[[int], float]) -> None:
        self._groups = [(group, float(group["lr"])) for each in optimizers.values() for group in each.param_groups]
        self._share = share

    def set(self, step: int) -> float:
        """Set all rates for iteration ``step``; returns that of the first optimizer."""
        share = self._share(step)
        for group, rate in self._groups:
            group["lr"] = rate * share
        return float(self._groups[0][0]["lr"])


def prescribe(optimizers: Mapping[str, torch.optim.Optimizer], recipe: Recipe) -> None:
    """Give the optimizers of an objective what the recipe says of them.

    Weight decay goes to all groups of an optimizer without any, else to those alone that have it already: an objective
    may exempt biases and the like.
    """
    for optimizer in optimizers.values():
        any_decays = any(group.get("weight_decay") for group in optimizer.param_groups)
        for group in optimizer.param_groups:
            if recipe.betas is not None and "betas" in group:
                group["betas"] = recipe.betas
            if recipe.weight_decay is not None and (group.get("weight_decay") or not any_decays):
                group["weight_decay"] = recipe.weight_decay


def _sum(one: Tensor | None, other: Tensor | None) -> Tensor | None:
    return one if other is None else other if one is None else one.add_(other)
