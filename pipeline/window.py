"""Since when a source file must have changed to be looked at: a moment, or how long before now."""

from __future__ import annotations

import re
from datetime import UTC, datetime

_UNITS = {"m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_AGO = re.compile(r"(\d{1,6})\s*([mhdw])")


def window_start(text: str, now: float) -> float:
    """The Unix time that ``source.modified_after`` means.

    Args:
        text: ``36h``, ``2d``, ``1w``, ``90m`` before now, or an ISO 8601 date or time, UTC where it names no zone.
        now: Unix time.

    Raises:
        ValueError: neither of these; the message says what is meant.
    """
    ago = _AGO.fullmatch(text.strip())
    if ago is not None:
        return now - int(ago[1]) * _UNITS[ago[2]]
    try:
        moment = datetime.fromisoformat(text.strip())
        return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        raise ValueError(
            f"'{text}': neither how long ago (36h, 2d, 1w) nor a date or time (2026-11-01, 2026-11-01T02:00:00Z)"
        ) from None
