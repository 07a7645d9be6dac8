"""Column values as JSON and back, for outputs that keep columns in a JSON member. The column's type decides the form.

Times and dates are ISO 8601, decimals and numbers that are not finite are text, bytes are base64, durations count their
own unit, maps are lists of pairs.
"""

from __future__ import annotations

import base64
import datetime
import decimal
import math
from typing import Any

import pyarrow as pa


def to_json(value: Any, type: pa.DataType) -> Any:
    """The JSON value of one cell, given as pyarrow gives it to Python."""
    if value is None:
        return None
    if pa.types.is_dictionary(type):
        return to_json(value, type.value_type)
    if pa.types.is_struct(type):
        names = [type.field(n).name for n in range(type.num_fields)]
        return {name: to_json(value.get(name), type.field(name).type) for name in names}
    if pa.types.is_map(type):
        pairs = value.items() if isinstance(value, dict) else value
        return [[to_json(key, type.key_type), to_json(item, type.item_type)] for key, item in pairs]
    if _is_list(type):
        return [to_json(each, type.value_type) for each in value]
    if pa.types.is_duration(type):
        return pa.scalar(value, type).cast(pa.int64()).as_py()
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, decimal.Decimal):
        return str(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


def from_json(value: Any, type: pa.DataType) -> Any:
    """The cell that :func:`to_json` wrote. Raises ValueError for a value that is none of this type."""
    try:
        return _from(value, type)
    except (pa.ArrowException, TypeError, AttributeError, KeyError, decimal.InvalidOperation) as error:
        raise ValueError(f"not a value of type {type} ({str(error).splitlines()[0][:80]})") from None


def _from(value: Any, type: pa.DataType) -> Any:
    if value is None:
        return None
    if pa.types.is_dictionary(type):
        return _from(value, type.value_type)
    if pa.types.is_struct(type):
        names = [type.field(n).name for n in range(type.num_fields)]
        return {name: _from(value.get(name), type.field(name).type) for name in names}
    if pa.types.is_map(type):
        return [(_from(key, type.key_type), _from(item, type.item_type)) for key, item in value]
    if _is_list(type):
        return [_from(each, type.value_type) for each in value]
    if pa.types.is_binary(type) or pa.types.is_fixed_size_binary(type):
        return base64.b64decode(value)
    if pa.types.is_duration(type):
        return pa.scalar(value, pa.int64()).cast(type).as_py()
    if pa.types.is_temporal(type):
        return pa.scalar(value, pa.string()).cast(type).as_py()
    if pa.types.is_decimal(type):
        return decimal.Decimal(value)
    return float(value) if pa.types.is_floating(type) else pa.scalar(value, type).as_py()


def _is_list(type: pa.DataType) -> bool:
    return isinstance(type, pa.ListType | pa.LargeListType | pa.FixedSizeListType)
