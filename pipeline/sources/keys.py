"""Which column of a table names its rows."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import pyarrow as pa

from methods.errors import InputError
from pipeline.labels.fields import listed
from pipeline.sources.layout import KEY_NAMES, MOST_NAMES
from pipeline.spec import SourceSpec

_DECLARED = ("key", "__key__")
"""Columns that are keys by their name, and nothing else."""


def find_key(
    spec: SourceSpec, names: Sequence[str], column: Callable[[str], pa.ChunkedArray], where: str
) -> str | None:
    """The key column: the one that the spec names, else one called key, else a usual one whose values all differ.

    Args:
        column: reads one column of the first source file.

    Raises:
        InputError: the spec names a column that is not there.
    """
    if spec.key != "auto":
        if spec.key not in names:
            raise InputError(
                f"{where}: source.key names '{spec.key}', but there is only {listed(sorted(names), MOST_NAMES)}"
            )
        return spec.key
    usual = [name for name in KEY_NAMES if name in names]
    return next((name for name in usual if name in _DECLARED or _is_unique(column(name))), None)


def key_hint(key: str | None) -> str:
    """What to say of a key that comes twice."""
    if key is None:
        return ""
    return f" (column '{key}'); name a column whose values are all different with source.key"


def carried(names: Collection[str], key: str | None) -> list[str]:
    """The columns that may pass through: all but one that is a key and nothing else."""
    return [name for name in names if name != key or name not in _DECLARED]


def _is_unique(values: pa.ChunkedArray) -> bool:
    type = values.type.value_type if pa.types.is_dictionary(values.type) else values.type
    if not (pa.types.is_string(type) or pa.types.is_large_string(type) or pa.types.is_integer(type)):
        return False
    return len(values) > 0 and values.null_count == 0 and len(values.unique()) == len(values)
