"""What a run leaves to look at: a line of JSON per log step, validation pictures, and what its loggers write."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from PIL import Image

from methods.files import write_text
from methods.train.loggers import Logger
from methods.train.objective import Validation

LOG = "log.jsonl"
VALIDATION = "validation.jsonl"


class Journal:
    """Writes below ``folder``; a resumed run drops what an interrupted one wrote past its checkpoint.

    Args:
        folder: the run's folder.
        start: iterations done; later entries of an earlier attempt are removed.
        published: called with every file that was written.
        loggers: get every value and picture too.
    """

    def __init__(
        self, folder: Path, start: int, published: Callable[[Path], None], loggers: Sequence[Logger] = ()
    ) -> None:
        self.folder = folder
        self.published = published
        folder.mkdir(parents=True, exist_ok=True)
        for name in (LOG, VALIDATION):
            _cut(folder / name, start)
        self._seconds_before = _last_seconds(folder / LOG)
        self.loggers = loggers

    def losses(self, step: int, values: Mapping[str, float], seconds: float) -> None:
        """Means since the last call, and the rate; ``seconds`` of this attempt, to which those of earlier ones are
        added.
        """
        for logger in self.loggers:
            logger.log(step, {f"train/{name}": value for name, value in values.items()}, {})
        self._line(LOG, {"step": step, "seconds": round(self._seconds_before + seconds, 2), **values})

    def validation(self, step: int, found: Validation) -> None:
        """Metrics and pictures; pictures also go to ``validation/step-.../`` as PNG."""
        values = {f"validation/{name}": value for name, value in found.metrics.items()}
        for logger in self.loggers:
            logger.log(step, values, {f"validation/{title}": pixels for title, pixels in found.pictures.items()})
        place = self.folder / "validation" / f"step-{step:08d}"
        for title, pixels in found.pictures.items():
            place.mkdir(parents=True, exist_ok=True)
            path = place / f"{re.sub(r'[^A-Za-z0-9_.-]+', '_', title)}.png"
            Image.fromarray(pixels).save(path)
            self.published(path)
        self._line(VALIDATION, {"step": step, **found.metrics})

    def flush(self) -> None:
        """Everything written so far is on the disk, and published."""
        for logger in self.loggers:
            logger.flush()
        for path in (self.folder / LOG, self.folder / VALIDATION, *(self.folder / "tensorboard").glob("events.*")):
            if path.exists():
                self.published(path)

    def close(self) -> None:
        """Flush and stop."""
        self.flush()
        for logger in self.loggers:
            logger.close()

    def _line(self, name: str, entry: Mapping[str, float]) -> None:
        with (self.folder / name).open("a") as file:
            file.write(json.dumps(entry) + "\n")


def entries(text: str) -> list[dict[str, float]]:
    """The lines of a ``.jsonl`` of a training; one that a killed run has left half written is none."""
    found: list[dict[str, float]] = []
    for line in text.splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue
        if isinstance(entry, dict) and "step" in entry:
            found.append(entry)
    return found


def validations(folder: Path) -> list[dict[str, float]]:
    """What all validations of a training have found so far, with ``step``."""
    path = folder / VALIDATION
    return entries(path.read_text(errors="replace")) if path.exists() else []


def _cut(path: Path, start: int) -> None:
    if path.exists():
        kept = entries(path.read_text(errors="replace")) if start else []
        write_text(path, "".join(f"{json.dumps(entry)}\n" for entry in kept if entry["step"] <= start))


def _last_seconds(path: Path) -> float:
    lines = entries(path.read_text()) if path.exists() else []
    return float(lines[-1]["seconds"]) if lines else 0.0
