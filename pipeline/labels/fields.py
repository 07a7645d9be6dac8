"""Reading single fields of label JSON. A wrong one raises ValueError, which the readers turn into their own error."""

from __future__ import annotations

import json
import math
from typing import Any

from pipeline.labels.records import Rle
from pipeline.labels.rle import compress, runs


def number(value: Any, what: str) -> float:
    """A finite number (an int stays an int in value, not in type)."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{what} is {_short(value)}, not a finite number")
    return float(value)


def numbers(value: Any, what: str) -> list[float]:
    """A list of finite numbers."""
    if not isinstance(value, list):
        raise ValueError(f"{what} is {_short(value)}, not a list of numbers")
    return [number(each, what) for each in value]


def size(value: Any, what: str) -> int | None:
    """A positive whole number of pixels, or ``None`` where there is none."""
    if value is None:
        return None
    whole = number(value, what)
    if whole != int(whole) or whole < 1:
        raise ValueError(f"{what} is {_short(value)}, not a positive whole number")
    return int(whole)


def mapping(value: Any, what: str) -> dict[str, Any]:
    """A JSON object; ``null`` counts as an empty one."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ValueError(f"{what} is {_short(value)}, not an object")
    return value


def items(value: Any, what: str) -> list[dict[str, Any]]:
    """A list of JSON objects; ``null`` counts as an empty one."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise ValueError(f"{what} is {_short(value)}, not a list")
    return [mapping(each, f"{what}[{at}]") for at, each in enumerate(value)]


def box(x: float, y: float, width: float, height: float, what: str) -> tuple[float, float, float, float]:
    """A box whose sides are not negative."""
    if width < 0 or height < 0:
        raise ValueError(f"{what} has a negative side ({width:g} x {height:g})")
    return x, y, width, height


def rle(value: Any, what: str) -> Rle:
    """A COCO mask, compressed or not, as a checked compressed one."""
    found = mapping(value, what)
    sides = numbers(found.get("size"), f"{what}.size")
    if len(sides) != 2:
        raise ValueError(f"{what}.size has {len(sides)} numbers, not [height, width]")
    height, width = size(sides[0], f"{what}.size"), size(sides[1], f"{what}.size")
    assert height is not None
    assert width is not None
    counts = found.get("counts")
    lengths = runs(counts) if isinstance(counts, str) else [int(each) for each in numbers(counts, f"{what}.counts")]
    if any(length < 0 for length in lengths) or sum(lengths) != height * width:
        raise ValueError(f"{what}.counts do not add up to {height} x {width} pixels")
    return {"size": [height, width], "counts": counts if isinstance(counts, str) else compress(lengths)}


def text_id(value: Any) -> str | None:
    """An id of any JSON kind as text."""
    return None if value is None else str(value)


def text_values(value: Any, what: str) -> dict[str, str]:
    """An object whose values are made text: strings as they are, the rest as JSON."""
    found = mapping(value, what)
    return {key: each if isinstance(each, str) else json.dumps(each, ensure_ascii=False) for key, each in found.items()}


def _short(value: Any) -> str:
    said = json.dumps(value, default=str)
    return said if len(said) <= 40 else said[:37] + "..."
