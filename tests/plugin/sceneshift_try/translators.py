"""What the test methods do."""

import os
import threading
import time
from pathlib import Path

import torch

from methods.base import Batch, Inputs
from methods.errors import BadSample
from sceneshift_try import info


class Null:
    """Gives every picture back."""

    info = info.NULL

    def __init__(self, params, device):
        self.params, self.device = params, device

    @classmethod
    def build(cls, params, weights, device, dtype):
        return cls(params, device)

    def prepare(self, inputs: Inputs) -> torch.Tensor:
        assert inputs.image is not None
        return torch.from_numpy(inputs.image.copy()).permute(2, 0, 1).float().div(127.5).sub(1)

    def translate(self, batch: Batch) -> torch.Tensor:
        return batch.inputs


class Invert(Null):
    """The negative."""

    info = info.INVERT

    def translate(self, batch: Batch) -> torch.Tensor:
        return -batch.inputs


class Noisy(Null):
    """Adds noise of the sample's own."""

    info = info.NOISY

    def translate(self, batch: Batch) -> torch.Tensor:
        return (batch.inputs + 0.2 * batch.noise(batch.inputs.shape[1:], "grain")).clamp(-1, 1)


class Smooth(Null):
    """A blur and a curve: a network that is small enough to compile in a test."""

    info = info.SMOOTH

    def heavy(self):
        return [(self, "network")]

    def network(self, pictures: torch.Tensor) -> torch.Tensor:
        wide = pictures + pictures.roll(1, dims=3) + pictures.roll(-1, dims=3)
        return torch.tanh(wide / 3 + pictures.mean((2, 3), keepdim=True))

    def translate(self, batch: Batch) -> torch.Tensor:
        return self.network(batch.inputs)


class Sleeper(Null):
    """A device that is busy for a fixed time per batch and leaves the CPU alone."""

    info = info.SLEEPER

    def translate(self, batch: Batch) -> torch.Tensor:
        time.sleep(self.params.seconds)
        return batch.inputs


class Trouble(Null):
    """Goes wrong for some keys."""

    info = info.TROUBLE

    def prepare(self, inputs: Inputs) -> torch.Tensor:
        if "refuse" in inputs.key:
            raise BadSample("not_wanted", "this method does not take such a picture")
        return super().prepare(inputs)

    def translate(self, batch: Batch) -> torch.Tensor:
        # not time.sleep: libfaketime, which makes the clock of a test jump, breaks it
        threading.Event().wait(self.params.seconds)
        for key in batch.keys:
            if "die" in key and not self._been_here(key):
                os.kill(os.getpid(), 9)
            if "raise" in key:
                raise ValueError(f"cannot do {key}")
            if "lookup" in key:
                _lane_of(key)
            if "hang" in key:
                time.sleep(self.params.hang)
        images = batch.inputs.clone()
        for number, key in enumerate(batch.keys):
            if "nan" in key:
                images[number, 0, 0, 0] = float("nan")
        return images

    def _been_here(self, key: str) -> bool:
        if self.params.once is None:
            return False
        mark = Path(self.params.once) / key
        if mark.exists():
            return True
        mark.touch()
        return False


def _lane_of(key: str) -> int:
    lanes = {"left": 0, "right": 1}
    return lanes[key]
