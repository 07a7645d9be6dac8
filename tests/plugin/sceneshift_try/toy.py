"""A toy objective: learn one colour per picture stream. Everything a real one does, in a thousandth of the time."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from methods.base import Inputs
from methods.errors import BadSample
from methods.nn.tensor_file import write_tensors
from methods.train.objective import ObjectiveInfo, ObjectiveParams, Sample, Streams, Validation
from methods.train.updates import Updates


class ToyParams(ObjectiveParams):
    """``lr`` of Adam, ``size`` pictures are cropped to; ``poison`` makes the loss NaN at that step, ``explode`` lets it
    grow from there on, ``bug`` raises; ``dies_by`` names a file with a step at which one worker dies, once. A step
    takes ``sleeps`` seconds more than it needs.
    """

    lr: float = 0.05
    size: int = 8
    poison: int | None = None
    bug: int | None = None
    explode: int | None = None
    dies_by: str | None = None
    sleeps: float = 0


INFO = ObjectiveInfo(
    name="toy_colour",
    summary="learn the mean colour of a stream",
    paper="",
    implementation="sceneshift_try.toy:ToyColour",
    params=ToyParams,
    streams={"a": "pictures"},
    refuses={"precision": "its two convolutions compute in float32"},
    steps=10,
    batch_size=2,
)


class ToyColour:
    """One 1x1 convolution with dropout and noise, trained to the picture's mirror image."""

    info: ClassVar[ObjectiveInfo] = INFO

    def __init__(self, params: ToyParams, device: torch.device) -> None:
        self.params = params
        self.device = device
        self.network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Dropout(0.2), nn.Conv2d(4, 3, 1)).to(device)
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=params.lr)

    @classmethod
    def build(cls, params: ToyParams, device: torch.device, precision: torch.dtype, steps: int) -> ToyColour:
        return cls(params, device)

    def networks(self) -> Mapping[str, nn.Module]:
        return {"toy": self.network}

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        return {"toy": self.optimizer}

    def transform(self, stream: str, inputs: Inputs, rng: np.random.Generator) -> Sample:
        assert inputs.image is not None
        size, (height, width) = self.params.size, inputs.image.shape[:2]
        if min(height, width) < size:
            raise BadSample("too_small", f"{width}x{height}, needs {size}x{size}")
        top, left = rng.integers(height - size + 1), rng.integers(width - size + 1)
        crop = inputs.image[top : top + size, left : left + size]
        return {"image": torch.from_numpy(crop.copy()).permute(2, 0, 1).float() / 255, "key": inputs.key}

    def step(self, batch: Streams, step: int, generator: torch.Generator, updates: Updates) -> Mapping[str, float]:
        if step == self.params.bug:
            self._weight_of("image")
        if self.params.dies_by is not None:
            self._die_at(step, Path(self.params.dies_by))
        time.sleep(self.params.sleeps)
        x = batch["a"]["image"]
        assert isinstance(x, Tensor)
        noise = torch.randn(x.shape, generator=generator).to(x.device)
        loss = (self.network(x + 0.1 * noise) - x.flip(1)).square().mean()
        updates.step("toy", self.optimizer, loss=loss)
        if self.params.explode is not None and step >= self.params.explode:
            return {"mse": 3e6 * float(loss.detach() + 1)}
        return {"mse": float("nan") if step == self.params.poison else float(loss.detach())}

    def _die_at(self, step: int, order: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            if int(order.read_text()) == step:
                # of two workers one gets here first
                order.unlink()
                os._exit(1)

    def _weight_of(self, name: str) -> float:
        weights = {"text": 1.0}
        return weights[name]

    @torch.no_grad()
    def validate(self, samples: Mapping[str, Sequence[Sample]]) -> Validation:
        self.network.eval()
        x = torch.stack([sample["image"] for sample in samples["a"]])  # type: ignore[misc]
        y = self.network(x.to(self.device)).cpu()
        self.network.train()
        picture = (torch.cat([x[0], y[0]], -1).clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy()
        return Validation({"mse": float((y - x.flip(1)).square().mean())}, {"mirror, first": picture})

    def state_dict(self) -> dict[str, Any]:
        return {"network": self.network.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])

    def export(
        self, path: Path, averaged: Mapping[str, Mapping[str, Tensor]] | None, metadata: Mapping[str, str]
    ) -> Path:
        weights = {**self.network.state_dict(), **(averaged or {}).get("toy", {})}
        return write_tensors(path, weights, metadata)
