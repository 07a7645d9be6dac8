"""An exception as what becomes of a sample or a step, with its first full traceback in the log.

A fault is identified by stage, reason and place (file, line and function that raised). Handlers of a run keep the
traceback of the first of each and drop the others (:mod:`pipeline.logs.handler`).
"""

from __future__ import annotations

import contextlib
import logging
import os
import traceback
from collections.abc import Iterator

from methods.errors import BadSample, InputError, first_line
from pipeline.errors import JobFailed
from pipeline.records import Rejection
from pipeline.uris import printable, redact

_log = logging.getLogger(f"sceneshift.{__name__}")
_LONGEST = 300


def place_of(error: BaseException) -> str:
    """``file:line function`` of the innermost frame of an exception; empty where it was never raised."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames:
        return ""
    last = frames[-1]
    folder, name = os.path.split(last.filename)
    return f"{os.path.basename(folder)}/{name}:{last.lineno} {last.name}"


def rejected(
    stage: str, error: BaseException, *, key: str | None = None, reason: str | None = None, message: str | None = None
) -> Rejection:
    """The rejection of a sample for which ``error`` was raised; its traceback goes to the log.

    Args:
        stage: of the pipeline: read, prepare, translate, measure, encode.
        key: of the sample, where the log's context does not say it.
        reason: a stable word; else that of a BadSample, or the exception's type.
        message: a sentence for people; else the first line of what the exception says.
    """
    plain = isinstance(error, BadSample)
    reason = reason or (error.reason if isinstance(error, BadSample) else type(error).__name__)
    message = redact(message or (str(error) if plain else first_line(error, _LONGEST)))
    log_fault(logging.INFO, f"rejected: {message}", stage, reason, error, key=key)
    return Rejection(stage, reason, message)


def log_fault(
    level: int, text: str, stage: str, reason: str, error: BaseException | None = None, *, key: str | None = None
) -> None:
    """Log what went wrong at a stage; the traceback is kept for the first of its kind."""
    if _log.isEnabledFor(level):
        place = "" if error is None else place_of(error)
        extra = {"stage": stage, "reason": reason, "place": place, "fault": (stage, reason, place)}
        _log.log(level, "%s", printable(text), exc_info=error, extra=extra | ({} if key is None else {"key": key}))


@contextlib.contextmanager
def failure_logged(where: str) -> Iterator[None]:
    """Inside, what ends a run is logged with its traceback, and the message says in which place the log is.

    Not as an error: whoever started the run shows the one line, and the terminal needs no second one.

    Raises:
        JobFailed: instead of an exception that is about our code or a plug-in, not about the input.
    """
    try:
        yield
    except InputError as error:
        log_fault(logging.INFO, str(error), "run", "InputError", error)
        raise
    except JobFailed as error:
        log_fault(logging.INFO, str(error), "run", "JobFailed", error)
        raise JobFailed(f"{error} (why: {where})") from error
    except Exception as error:
        text = redact(f"{type(error).__name__}: {first_line(error, _LONGEST)}, raised at {place_of(error)}")
        log_fault(logging.INFO, text, "run", type(error).__name__, error)
        raise JobFailed(f"{text} (why: {where})") from error
