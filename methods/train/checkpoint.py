"""Training checkpoints on disk: written beside their place and moved in, read without running what is in them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from methods.errors import InputError
from methods.files import replacing
from methods.nn.tensor_file import read_pickle

FORMAT = "sceneshift.train/1"
FOLDER = "checkpoints"
_NAME = re.compile(r"step-(\d+)\.pt")


@dataclass(frozen=True)
class Checkpoint:
    """Where a run stands after ``step`` iterations.

    Attributes:
        step: iterations done.
        objective: name of the objective.
        state: what its ``state_dict`` returned.
        averaged: the moving average by network and parameter; empty without EMA.
    """

    step: int
    objective: str
    state: Mapping[str, Any]
    averaged: Mapping[str, Mapping[str, Tensor]]


def checkpoint_path(folder: Path, step: int) -> Path:
    """``folder/checkpoints/step-00000500.pt``."""
    return folder / FOLDER / f"step-{step:08d}.pt"


def saved_steps(folder: Path) -> list[int]:
    """The steps that have a checkpoint, ascending."""
    found = (_NAME.fullmatch(path.name) for path in (folder / FOLDER).glob("step-*.pt"))
    return sorted(int(match[1]) for match in found if match)


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write one checkpoint; a reader sees all of it or none."""
    path = checkpoint_path(folder, checkpoint.step)
    with replacing(path) as partial, partial.open("wb") as file:
        torch.save({"format": FORMAT, **vars(checkpoint)}, file)
        file.flush()
        os.fsync(file.fileno())
    return path


def load_checkpoint(path: Path, objective: str) -> Checkpoint:
    """Read a checkpoint of ``objective`` onto the CPU.

    Raises:
        InputError: no checkpoint of ours, damaged, or of another objective; the file is named.
    """
    tree = read_pickle(path, "a training checkpoint (delete it to go on from the one before)")
    if not isinstance(tree, dict) or tree.get("format") != FORMAT:
        found = tree.get("format") if isinstance(tree, dict) else type(tree).__name__
        raise InputError(f"{path}: found {found!r}, expected a training checkpoint of format '{FORMAT}'")
    if tree["objective"] != objective:
        raise InputError(f"{path}: a checkpoint of objective '{tree['objective']}', expected '{objective}'")
    return Checkpoint(tree["step"], tree["objective"], tree["state"], tree["averaged"])


def forget_old(folder: Path, keep: int) -> None:
    """Delete all but the ``keep`` newest checkpoints."""
    for step in saved_steps(folder)[:-keep]:
        checkpoint_path(folder, step).unlink()
