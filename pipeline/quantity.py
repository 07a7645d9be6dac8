"""Numbers as people read them: counts, measured values, bytes, durations, times. Used by the report and the card."""

from __future__ import annotations

import math
import time


def count(value: float | None) -> str:
    """``12,345``; a dash for what is not known."""
    return "–" if value is None else f"{value:,.0f}"


def measured(value: float | None) -> str:
    """A measured value with four significant digits; a dash where there is none."""
    if value is None or not math.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    if 1e-4 <= abs(value) < 1e6:
        digits = max(0, 3 - math.floor(math.log10(abs(value))))
        return f"{value:,.{digits}f}"
    return f"{value:.3e}"


def figure(value: float | None) -> str:
    """What was measured of one sample: whole numbers, as counts are, stand as such; others as :func:`measured`."""
    whole = value is not None and math.isfinite(value) and value == int(value)
    return count(value) if whole else measured(value)


def share(part: float, whole: float) -> str:
    """``3.2 %``; a share that is neither nothing nor all is never rounded to either."""
    if whole <= 0:
        return "–"
    percent = 100 * part / whole
    if 0 < percent < 0.1:
        return "< 0.1 %"
    if 99.9 < percent < 100:
        return "> 99.9 %"
    return f"{percent:.1f} %" if 0 < percent < 100 else f"{percent:.0f} %"


def size(value: float | None) -> str:
    """Bytes in powers of 1000."""
    if value is None:
        return "–"
    for unit in ("B", "KB", "MB", "GB", "TB"):
        if value < 1000:
            return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    return f"{value:.1f} PB"


def flop(tera: float) -> str:
    """Floating point operations, given in 10^12: ``3.142 TFLOP``, ``31.42 GFLOP``."""
    return f"{measured(tera)} TFLOP" if tera >= 0.1 else f"{measured(1000 * tera)} GFLOP"


def duration(seconds: float | None) -> str:
    """``850 ms``, ``12.3 s``, ``4 min 10 s``, ``3 h 05 min``, ``2 d 3 h``."""
    if seconds is None or not math.isfinite(seconds):
        return "–"
    if seconds == 0:
        return "0 s"
    if seconds < 0.9995:
        return f"{1000 * seconds:.0f} ms"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    if whole < 48 * 3600:
        return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
    return f"{whole // 86400} d {whole % 86400 // 3600} h"


def moment(unix: float | None) -> str:
    """A Unix time as ``2025-01-31 13:45:07 UTC``."""
    return "–" if unix is None else time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(unix))
