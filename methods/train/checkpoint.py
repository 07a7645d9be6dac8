"""Training checkpoints on disk: written beside their place and moved in, read without running what is in them."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from methods.errors import InputError
from methods.files import replacing
from methods.nn.tensor_file import read_pickle

if TYPE_CHECKING:
    from methods.train.objective import Objective

FORMAT = "sceneshift.train/1"
FOLDER = "checkpoints"
_NAME = re.compile(r"step-(\d+)\.pt")
_SIZES = re.compile(r"size mismatch for (\S+): .*?torch\.Size\(\[([\d, ]*)\]\).*?torch\.Size\(\[([\d, ]*)\]\)")
_MISSING = re.compile(r"(Missing|Unexpected) key\(s\) in state_dict: \"([^\"]+)\"")


@dataclass(frozen=True)
class Checkpoint:
    """Where a run stands after ``step`` iterations.

    Attributes:
        step: iterations done.
        objective: name of the objective.
        state: what its ``state_dict`` returned.
        averaged: the moving average by network and parameter; empty without EMA.
        updates: the scale of float16's losses; empty for other precisions.
    """

    step: int
    objective: str
    state: Mapping[str, Any]
    averaged: Mapping[str, Mapping[str, Tensor]]
    updates: Mapping[str, float] = field(default_factory=dict)


def checkpoint_path(folder: Path, step: int) -> Path:
    """``folder/checkpoints/step-00000500.pt``."""
    return folder / FOLDER / f"step-{step:08d}.pt"


def steps_of(names: Iterable[str]) -> list[int]:
    """The steps of the checkpoints among the names of files, ascending."""
    return sorted(int(match[1]) for match in map(_NAME.fullmatch, names) if match)


def saved_steps(folder: Path) -> list[int]:
    """The steps that have a checkpoint, ascending."""
    return steps_of(path.name for path in (folder / FOLDER).glob("step-*.pt"))


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
    return Checkpoint(tree["step"], tree["objective"], tree["state"], tree["averaged"], tree.get("updates", {}))


def outdated(steps: Sequence[int], keep: int, best: int | None) -> list[int]:
    """Of steps with a checkpoint (ascending), those to delete: all but the ``keep`` newest and the best one."""
    return [step for step in steps[:-keep] if step != best]


def restore(objective: Objective, checkpoint: Checkpoint, where: str, changed: Sequence[str] = ()) -> None:
    """Go on from a checkpoint, with the rates, betas and decays that the objective was built with.

    Args:
        where: what the message calls the checkpoint.
        changed: parameters in which the objective differs from the one that wrote it, for the message.

    Raises:
        InputError: its networks are not of the objective's layout; the first tensor that does not fit is named.
    """
    groups = [group for optimizer in objective.optimizers().values() for group in optimizer.param_groups]
    built_with = [{name: value for name, value in group.items() if name != "params"} for group in groups]
    try:
        objective.load_state_dict(checkpoint.state)
    except (RuntimeError, KeyError, ValueError, TypeError, IndexError) as error:
        because = f" (objective.params: {', '.join(changed[:3])})" if changed else ""
        raise InputError(f"{where}: does not fit the networks of this spec: {_misfit(error)}{because}") from error
    # loading replaces the groups: a later stage trains as its own spec says
    groups = [group for optimizer in objective.optimizers().values() for group in optimizer.param_groups]
    for group, settings in zip(groups, built_with, strict=True):
        group.update(settings)


def _misfit(error: Exception) -> str:
    """What torch says of a state that does not fit, as one line about one tensor."""
    text = str(error)
    if found := _SIZES.search(text):
        there, here = (f"({sizes})" for sizes in (found[2], found[3]))
        return f"tensor {found[1]} is {there} there and {here} here"
    if found := _MISSING.search(text):
        return f"tensor {found[2]} is {'not there' if found[1] == 'Missing' else 'not expected here'}"
    return f"{type(error).__name__}: {(text.strip() or 'no reason given').splitlines()[0][:200]}"
