"""What workers of Ray Train say when they fail, and what of it another attempt would only repeat."""

from __future__ import annotations

from typing import Any

from ray.train import UserCallback

from methods.errors import InputError, first_line
from methods.train.divergence import Diverged
from pipeline.errors import JobFailed

_LONGEST = 2000
_WRONG = "sceneshift, wrong input: "
_FINAL = "sceneshift, not tried again: "
_FAILED = "sceneshift, failed: "


def as_ray_sees_it(error: InputError | JobFailed) -> RuntimeError:
    """An error of :func:`pipeline.training.run.train` for Ray, which hands on texts."""
    mark = _WRONG if isinstance(error, InputError) else _FINAL if _has_diverged(error) else _FAILED
    return RuntimeError(f"{mark}{error}")


class NoSecondTry(UserCallback):
    """Ends a run of Ray Train over wrong input and losses that ran away: the next group of workers would meet them too.

    What a callback raises ends the run, whatever ``max_failures`` says, and the workers that wait for the failed one.
    """

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Called with what workers raised, by rank. Raises RuntimeError."""
        for error in worker_exceptions.values():
            if (said := _said(str(error), _WRONG, _FINAL)) is not None:
                raise RuntimeError(said[0] + said[1])


def as_we_see_it(error: Exception, logs: str) -> InputError | JobFailed:
    """What ``TorchTrainer.fit`` raised, in one line; ``logs`` is where the workers' logs are."""
    text = _root_message(error)
    said = _said(text, _WRONG, _FINAL, _FAILED)
    if said is None:
        return JobFailed(f"training failed: {first_line(text, 400)} (why: {logs})")
    return InputError(said[1]) if said[0] == _WRONG else JobFailed(said[1])


def _said(text: str, *marks: str) -> tuple[str, str] | None:
    """The first of the marks that is in a text, and the rest of its line."""
    for mark in marks:
        if mark in text:
            return mark, first_line(text.partition(mark)[2], _LONGEST)
    return None


def _has_diverged(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, Diverged):
            return True
        error = error.__cause__
    return False


def _root_message(error: BaseException) -> str:
    """The texts of workers' failures, of an error and of everything that caused it."""
    texts = [str(failure) for failure in getattr(error, "worker_failures", {}).values()]
    cause: BaseException | None = error
    while cause is not None:
        texts.append(str(cause))
        cause = cause.__cause__
    return "\n".join(texts).strip() or type(error).__name__
