"""Where curves and pictures of a training go besides its own files: TensorBoard, Weights & Biases."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from methods.errors import InputError, first_line

if TYPE_CHECKING:
    import numpy as np

_STEP = "step"

LoggerName = Literal["tensorboard", "wandb"]


class Logger(Protocol):
    """Takes what a training finds, in the order of its steps."""

    def log(self, step: int, values: Mapping[str, float], pictures: Mapping[str, np.ndarray]) -> None:
        """Values and (H, W, 3) uint8 pictures of one step, names such as ``train/l1`` and ``validation/psnr``."""
        ...

    def flush(self) -> None:
        """What was logged is where it belongs."""
        ...

    def close(self) -> None:
        """Nothing comes any more."""
        ...


def check_logger(name: LoggerName) -> None:
    """Raises InputError when a logger's package is not installed."""
    if name == "wandb" and importlib.util.find_spec("wandb") is None:
        raise InputError("loggers: 'wandb' needs a package that is not installed: pip install 'sceneshift[wandb]'")


def check_login(name: LoggerName) -> None:
    """Raises InputError when a logger sends to a server at which nobody has logged in. Asks no server."""
    if name != "wandb":
        return
    import wandb

    if (os.environ.get("WANDB_MODE") or wandb.setup().settings.mode) not in ("online", "shared"):
        return
    try:
        known = wandb.login(prompt=False, verify=False)
    except wandb.Error as error:
        raise InputError(f"loggers: wandb: {first_line(error)}") from None
    if not known:
        raise InputError("loggers: nobody is logged in at wandb: run `wandb login`, or set WANDB_MODE=offline")


def open_logger(name: LoggerName, folder: Path, run: str, identity: str, start: int) -> Logger:
    """A logger that writes below ``folder``; Weights & Biases also to its server, unless ``WANDB_MODE=offline``.

    Args:
        name: which one.
        folder: the training's.
        run: the training's name.
        identity: tells trainings apart; an interrupted one goes on under it.
        start: iterations done. What an earlier attempt logged past them is dropped by TensorBoard, and logged again in
            Weights & Biases, which deletes nothing: there, steps that were done twice have two equal values.
    """
    check_logger(name)
    return TensorBoard(folder, start) if name == "tensorboard" else WeightsAndBiases(folder, run, identity)


class TensorBoard:
    """Event files in ``tensorboard/``."""

    def __init__(self, folder: Path, start: int) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=start + 1)

    def log(self, step: int, values: Mapping[str, float], pictures: Mapping[str, np.ndarray]) -> None:
        """See :class:`Logger`."""
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        for name, pixels in pictures.items():
            self._writer.add_image(name, pixels, step, dataformats="HWC")

    def flush(self) -> None:
        """See :class:`Logger`."""
        self._writer.flush()

    def close(self) -> None:
        """See :class:`Logger`."""
        self._writer.close()


class WeightsAndBiases:
    """A run of project ``WANDB_PROJECT`` (``sceneshift`` by default), with files in ``wandb/``."""

    def __init__(self, folder: Path, run: str, identity: str) -> None:
        import wandb

        folder.mkdir(parents=True, exist_ok=True)
        self._wandb: Any = wandb
        self._run: Any = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "sceneshift"),
            name=run,
            id=identity,
            resume="allow",
            dir=str(folder),
        )
        # Its own count of steps only goes up, and drops what comes with an earlier one, as after a resume.
        for values in ("train/*", "validation/*"):
            self._run.define_metric(values, step_metric=_STEP)

    def log(self, step: int, values: Mapping[str, float], pictures: Mapping[str, np.ndarray]) -> None:
        """See :class:`Logger`."""
        images = {name: self._wandb.Image(pixels) for name, pixels in pictures.items()}
        self._run.log({**values, **images, _STEP: step})

    def flush(self) -> None:
        """Weights & Biases sends by itself."""

    def close(self) -> None:
        """See :class:`Logger`."""
        self._run.finish()
