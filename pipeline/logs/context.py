"""What a log line is about: job, run, worker, shard and key, carried along calls and into threads."""

from __future__ import annotations

import contextlib
import contextvars
from collections.abc import Callable, Iterator, Mapping
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_fields: contextvars.ContextVar[Mapping[str, str]] = contextvars.ContextVar("sceneshift_log_fields")


def context() -> Mapping[str, str]:
    """The fields that hold here, by name."""
    return _fields.get({})


@contextlib.contextmanager
def log_context(**fields: str) -> Iterator[None]:
    """Inside, every log line of this thread carries these fields too."""
    before = context()
    _fields.set({**before, **fields})
    try:
        yield
    finally:
        # not by token: a generator may be closed in another context than it began in
        _fields.set(before)


def about(target: str) -> dict[str, str]:
    """The field of what is about one of several targets; none for a job without them, whose name is empty."""
    return {"target": target} if target else {}


def in_context(call: Callable[P, T], **fields: str) -> Callable[P, T]:
    """The call with these fields and those that hold now, for a thread that does not inherit them."""
    held = {**context(), **fields}

    def inside(*args: P.args, **kwargs: P.kwargs) -> T:
        with log_context(**held):
            return call(*args, **kwargs)

    return inside
