"""Column values as JSON and back, for outputs that keep columns in a JSON member. The column's type decides the form.

Times and dates are ISO 8601, decimals and numbers that are not finite are text, bytes are base64, durations count their
own unit, maps are lists of pairs.
"""

from __future__ import annotations

import base64
import datetime
import decimal
import math
from collections.abc import Callable
from typing import Any

import pyarrow as pa

from methods.errors import first_line
from pipeline.sources.columns import is_list


def to_json(value: Any, type: pa.DataType) -> Any:
    """The JSON value of one cell, given as pyarrow gives it to Python."""
    return _walk(value, type, _leaf_to_json)


def from_json(value: Any, type: pa.DataType) -> Any:
    """The cell that :func:`to_json` wrote. Raises ValueError for a value that is none of this type."""
    try:
        return _walk(value, type, _leaf_from_json)
    except (pa.ArrowException, TypeError, AttributeError, KeyError, decimal.InvalidOperation) as error:
        raise ValueError(f"not a value of type {type} ({first_line(error, 80)})") from None


def _walk(value: Any, type: pa.DataType, leaf: Callable[[Any, pa.DataType], Any]) -> Any:
    """The value with every leaf turned by ``leaf``; maps become lists of pairs."""
    if value is None:
        return None
    if pa.types.is_dictionary(type):
        return _walk(value, type.value_type, leaf)
    if pa.types.is_struct(type):
        fields = (type.field(n) for n in range(type.num_fields))
        return {field.name: _walk(value.get(field.name), field.type, leaf) for field in fields}
    if pa.types.is_map(type):
        pairs = value.items() if isinstance(value, dict) else value
        return [(_walk(key, type.key_type, leaf), _walk(item, type.item_type, leaf)) for key, item in pairs]
    if is_list(type):
        return [_walk(each, type.value_type, leaf) for each in value]
    return leaf(value, type)


def _leaf_to_json(value: Any, type: pa.DataType) -> Any:
    if pa.types.is_duration(type):
        return pa.scalar(value, type).cast(pa.int64()).as_py()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def _leaf_from_json(value: Any, type: pa.DataType) -> Any:
    if pa.types.is_binary(type) or pa.types.is_fixed_size_binary(type):
        return base64.b64decode(value)
    if pa.types.is_duration(type):
        return pa.scalar(value, pa.int64()).cast(type).as_py()
    if pa.types.is_temporal(type):
        return pa.scalar(value, pa.string()).cast(type).as_py()
    if pa.types.is_decimal(type):
        return decimal.Decimal(value)
    return float(value) if pa.types.is_floating(type) else pa.scalar(value, type).as_py()
