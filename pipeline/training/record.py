"""Facts about a training that its logs do not hold, kept in its output: where it ran, on what, and how it ended."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from typing import Any

import torch

from pipeline.paths import TRAINING_RECORD_FILE
from pipeline.storage import Store


@dataclass(frozen=True)
class TrainingRecord:
    """How far a training is, and on what it ran.

    Attributes:
        step: iterations done.
        ended: ``steps`` or ``patience`` for a finished training, ``stopped`` when it was asked to, ``running`` before.
        weights: name of the file with the last weights; ``None`` before the end.
        parameters: of each trained network.
        samples: of each stream, those that are chosen, and how many of them are held out.
        device: the GPU's name, or the CPU's.
        workers: processes that trained together.
        host: where the first of them ran.
        memory: peak bytes on the device; ``None`` on a CPU.
        began: iterations that were done before this training, by the one that it goes on from.
    """

    step: int
    ended: str
    weights: str | None = None
    parameters: dict[str, int] = field(default_factory=dict)
    samples: dict[str, dict[str, int]] = field(default_factory=dict)
    device: str = ""
    workers: int = 1
    host: str = ""
    memory: int | None = None
    began: int = 0

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to do."""
        return self.ended in ("steps", "patience")

    def put(self, store: Store) -> None:
        """Write it into a training's output."""
        store.put(TRAINING_RECORD_FILE, json.dumps(asdict(self), indent=1).encode())

    @classmethod
    def read(cls, store: Store) -> TrainingRecord | None:
        """That of an output; ``None`` where there is none that can be read."""
        data = store.read_or_none(TRAINING_RECORD_FILE)
        try:
            tree: dict[str, Any] = json.loads(data or b"null") or {}
            return cls(**tree) if tree else None
        except (ValueError, TypeError):
            return None


def hardware(device: torch.device) -> str:
    """The device's name for people."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU ({platform.machine()}, {os.cpu_count()} cores)"
