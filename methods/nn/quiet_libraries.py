"""diffusers and transformers without their bars and advice."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet() -> Iterator[None]:
    """Without bars and advice of the libraries, which a log of many workers has no use for."""
    from diffusers.utils import logging as ours
    from transformers.utils import logging as theirs

    bars = ours.is_progress_bar_enabled(), theirs.is_progress_bar_enabled()
    levels = ours.get_verbosity(), theirs.get_verbosity()
    for each in (ours, theirs):
        each.disable_progress_bar()
        each.set_verbosity_error()
    try:
        yield
    finally:
        for each, bar, level in zip((ours, theirs), bars, levels, strict=True):
            each.set_verbosity(level)
            if bar:
                each.enable_progress_bar()
