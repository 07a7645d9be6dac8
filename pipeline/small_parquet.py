"""Reading small Parquet files in commands that end soon afterwards."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq

# its functions are made when it is imported, out of sight of type checkers
_compute: Any = pyarrow.compute


def read_small_parquet(data: bytes, columns: Sequence[str] | None = None) -> pa.Table:
    """The table of one whole Parquet file, read in the calling thread.

    pyarrow's threads gain nothing on a file of some kilobytes, and a process that ends while one of them still has to
    let go of a Python object is aborted by the C++ runtime (exit status 134); tests/test_structure.py forbids them.
    ``pq.read_table`` scans a dataset, which uses threads even with ``use_threads=False``; the file reader does not.

    For the same reason such commands filter tables by :func:`rows_with`: a filter expression runs on those threads.

    Args:
        data: the bytes of the file.
        columns: those to read, by default all.

    Raises:
        pyarrow.ArrowException: not a Parquet file, or a damaged one.
    """
    names = None if columns is None else list(columns)
    return pq.ParquetFile(io.BytesIO(data), pre_buffer=False).read(columns=names, use_threads=False)


def rows_with(table: pa.Table, column: str, value: str | None) -> pa.Table:
    """The rows of a table that have this value in a column (``None``: no value), in order."""
    values = table[column]
    return table.filter(_compute.is_null(values) if value is None else _compute.equal(values, value))
