"""Reading single fields of labels, strictly, for every format.

A number may stand as text (``"600"``), as exports through tables have it. A wrong field raises ValueError, which the
readers turn into their own error.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from methods.counting import counted
from pipeline.labels.records import Rle
from pipeline.labels.rle import MAX_PIXELS, compress, runs

_DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,3})?", re.ASCII)
_FLAGS = {"0": False, "1": True, "false": False, "true": True, "no": False, "yes": True, "": False}
_Item = TypeVar("_Item")
_Read = TypeVar("_Read")


class CoversNothing(ValueError):
    """A box, polygon or mask that is well formed and covers no part of its picture."""


def number(value: Any, what: str) -> float:
    """A finite number, or the text of a decimal one."""
    if isinstance(value, str) and len(value) <= 64 and _DECIMAL.fullmatch(value.strip()):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{what} is {_short(value)}, not a finite number")
    try:
        found = float(value)
    except OverflowError:
        found = math.inf
    if not math.isfinite(found):
        raise ValueError(f"{what} is {_short(value)}, not a finite number")
    return found


def whole(value: Any, what: str) -> int:
    """A whole number of 64 bits; ``1.0`` and ``"1"`` are one."""
    found = number(value, what)
    if found != int(found) or abs(found) >= 2**63:
        raise ValueError(f"{what} is {_short(value)}, not a whole number")
    # Above 2**53 a float is no longer exact.
    return value if isinstance(value, int) else int(value) if isinstance(value, str) and _is_int(value) else int(found)


def flag(value: Any, what: str) -> bool:
    """True or false, as JSON's own values, 0 and 1, or their text: ``"0"`` is not true."""
    if value is None or isinstance(value, bool):
        return bool(value)
    if isinstance(value, str) and value.strip().lower() in _FLAGS:
        return _FLAGS[value.strip().lower()]
    if isinstance(value, int | float) and value in (0, 1):
        return bool(value)
    raise ValueError(f"{what} is {_short(value)}, neither true nor false")


def identity(value: Any) -> str:
    """An id as the text by which it is compared: 7, 7.0 and "7" are the same id."""
    if isinstance(value, list | dict):
        raise ValueError("an id is a list or an object")
    if isinstance(value, float) and math.isfinite(value) and value == int(value):
        return str(int(value))
    if isinstance(value, str) and _DECIMAL.fullmatch(value) and math.isfinite(float(value)) and _is_int(value):
        return str(int(value))
    return str(value)


def each_readable(
    found: Iterable[_Item], read: Callable[[_Item, str], _Read], what: str
) -> tuple[list[_Read], tuple[str, ...]]:
    """(what could be read, why the others could not): one bad annotation does not cost its neighbours.

    Args:
        read: given an item and its name (``annotations[3]``); raises ValueError for one that it cannot read.
    """
    good: list[_Read] = []
    problems: list[str] = []
    for at, item in enumerate(found):
        try:
            good.append(read(item, f"{what}[{at}]"))
        except ValueError as error:
            problems.append(str(error))
    return good, tuple(problems)


def part(read: Callable[[], _Read], left_out: list[str]) -> _Read | None:
    """A part of an annotation; ``None`` for one that covers nothing, which ``left_out`` then names."""
    try:
        return read()
    except CoversNothing as error:
        left_out.append(str(error))
        return None


def placed(parts: Iterable[object], left_out: Iterable[str], what: str) -> None:
    """Refuse an annotation that means to have a place and has none, in the words of what was left out of it.

    Args:
        parts: its box, polygons, mask and keypoints; ``None`` or empty where there is none.
    """
    if not any(parts):
        raise ValueError("; ".join(left_out) or f"{what} has no box, polygon, mask or keypoints")


def numbers(value: Any, what: str) -> list[float]:
    """A list of finite numbers."""
    return [number(each, what) for each in _list(value, what)]


def size(value: Any, what: str) -> int | None:
    """A positive whole number of pixels, or ``None`` where there is none (absent, or -1)."""
    if value is None:
        return None
    pixels = number(value, what)
    if pixels == -1:
        # How exporters say that they do not know it.
        return None
    if pixels != int(pixels) or not 1 <= pixels < 2**31:
        raise ValueError(f"{what} is {_short(value)}, not a positive whole number")
    return int(pixels)


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
    """A box that covers something.

    Raises:
        CoversNothing: a side is 0. A negative one is any other ValueError.
    """
    if width < 0 or height < 0:
        raise ValueError(f"{what} has a negative side ({width:g} x {height:g})")
    if width == 0 or height == 0:
        raise CoversNothing(f"{what} has no area ({width:g} x {height:g})")
    return x, y, width, height


def polygon(flat: list[float], what: str) -> list[float]:
    """A closed polygon [x0, y0, x1, y1, ...] that covers something.

    Raises:
        CoversNothing: fewer than three points, or all of them on one line.
    """
    if len(flat) % 2:
        raise ValueError(f"{what} has an odd number of coordinates")
    if len(flat) < 6:
        raise CoversNothing(f"{what} has {counted(len(flat) // 2, 'point')}, too few for a polygon")
    xs, ys = [x - flat[0] for x in flat[0::2]], [y - flat[1] for y in flat[1::2]]
    first = next((at for at in range(len(xs)) if xs[at] or ys[at]), 0)
    if all(x * ys[first] == y * xs[first] for x, y in zip(xs, ys, strict=True)):
        raise CoversNothing(f"{what} has no area: its points lie on one line")
    return flat


def rle(value: Any, what: str, *, may_be_empty: bool = False) -> Rle:
    """A COCO mask, compressed or not, as a checked compressed one.

    Args:
        may_be_empty: take one without a pixel too, which a small mask may have become by a resize.

    Raises:
        CoversNothing: no pixel is set.
    """
    found = mapping(value, what)
    sides = numbers(found.get("size"), f"{what}.size")
    if len(sides) != 2:
        raise ValueError(f"{what}.size has {counted(len(sides), 'number')}, not [height, width]")
    height, width = size(sides[0], f"{what}.size"), size(sides[1], f"{what}.size")
    if height is None or width is None:
        raise ValueError(f"{what}.size is unknown")
    if height * width > MAX_PIXELS:
        raise ValueError(f"{what}.size is {width} x {height}, larger than any picture that is read")
    counts = found.get("counts")
    if isinstance(counts, str):
        try:
            lengths = runs(counts)
        except ValueError as error:
            raise ValueError(f"{what}.counts: {error}") from None
    else:
        lengths = [whole(each, f"{what}.counts") for each in _list(counts, f"{what}.counts")]
    if any(length < 0 for length in lengths) or sum(lengths) != height * width:
        raise ValueError(f"{what}.counts do not add up to {height} x {width} pixels")
    if not may_be_empty and not any(lengths[1::2]):
        raise CoversNothing(f"{what} is a mask without a pixel")
    return {"size": [height, width], "counts": counts if isinstance(counts, str) else compress(lengths)}


def text_id(value: Any) -> str | None:
    """An id of any JSON kind as text."""
    return None if value is None else str(value)


def text_values(value: Any, what: str) -> dict[str, str]:
    """An object whose values are made text: strings as they are, the rest as JSON."""
    found = mapping(value, what)
    return {key: each if isinstance(each, str) else json.dumps(each, ensure_ascii=False) for key, each in found.items()}


def listed(names: Iterable[Any], most: int = 6) -> str:
    """The first few of some foreign names on one line; ``nothing`` where there are none."""
    shown = [" ".join(str(name).split())[:40] for name, _ in zip(names, range(most), strict=False)]
    return ", ".join("".join(c if c.isprintable() else "?" for c in name) for name in shown) or "nothing"


def _list(value: Any, what: str) -> list[Any]:
    if not isinstance(value, list):
        raise ValueError(f"{what} is {_short(value)}, not a list of numbers")
    return value


def _is_int(text: str) -> bool:
    return bool(re.fullmatch(r"\s*[+-]?\d{1,19}\s*", text, re.ASCII))


def _short(value: Any) -> str:
    said = json.dumps(value, default=str) if not isinstance(value, list | dict) else _kind(value)
    return said if len(said) <= 40 else said[:37] + "..."


def _kind(value: list[Any] | dict[str, Any]) -> str:
    return f"a list of {len(value)}" if isinstance(value, list) else "an object"
