"""CSV files as tables of text: what is written is what comes, but for columns whose type the spec names."""

from __future__ import annotations

import codecs
import csv
import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv

from methods.errors import InputError, first_line
from pipeline.labels.fields import listed
from pipeline.sources.columns import type_of

_DELIMITERS = (",", ";", "\t", "|")
_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
_LINES = 20
# Of a whole process: the 128 KiB that Python allows are too little for a cell of polygons.
csv.field_size_limit(1 << 26)


@dataclass(frozen=True)
class Delimited:
    """A table and the name of the character between its columns."""

    table: pa.Table
    delimiter: str


def read_delimited(data: bytes, types: Mapping[str, str], where: str) -> Delimited:
    """A CSV file with a header line. The delimiter is the one of comma, semicolon, tab and bar that fits.

    Args:
        types: column -> type of what is not to stay text (``int64``, ``double``, ``bool``, ``timestamp``).

    Raises:
        InputError: not UTF-8 text, a quotation mark that does not fit, a type that is none, a column that is not
            there, or a value of another type.
        pa.ArrowInvalid: rows of different lengths.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{where}: byte {error.start} is not UTF-8 text; save the file as CSV UTF-8") from None
    delimiter = find_delimiter(text)
    _check_quotes(text, delimiter, where)
    written = next(csv.reader(_lines(text), delimiter=delimiter), [])
    # Of a table of a million rows there is one copy less while Arrow makes its own.
    del text
    names = [name.strip() for name in written]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"{where}: the column '{twice[0]}' is there twice")
    columns = dict.fromkeys(names, pa.string())
    for name, kind in types.items():
        if name not in columns:
            raise InputError(f"{where}: source.types names '{name}', but there is only {listed(sorted(names), 24)}")
        columns[name] = type_of(kind)
    as_text = dict.fromkeys(written, pa.string())
    text_table = pa_csv.read_csv(
        io.BytesIO(data.removeprefix(codecs.BOM_UTF8)),
        pa_csv.ReadOptions(use_threads=False),
        parse_options=pa_csv.ParseOptions(delimiter=delimiter, newlines_in_values=True),
        convert_options=pa_csv.ConvertOptions(column_types=as_text, strings_can_be_null=False),
    )
    texts = text_table.columns
    if names != written:
        # Written with a blank after each comma, which belongs to no value.
        texts = [pc.utf8_trim_whitespace(column) for column in texts]  # type: ignore[attr-defined]
    arrays = [_as(column, columns[name], name, where) for column, name in zip(texts, names, strict=True)]
    return Delimited(pa.table(arrays, names=names), _NAMES[delimiter])


def _lines(text: str) -> Iterator[str]:
    """The lines with their ends, one by one: io.StringIO keeps a copy of four bytes a character."""
    start = 0
    while start < len(text):
        end = text.find("\n", start) + 1 or len(text)
        yield text[start:end]
        start = end


def _check_quotes(text: str, delimiter: str, where: str) -> None:
    """Refuse a value whose quotation mark is never closed: it would swallow the rows that follow, all of them."""
    if '"' not in text:
        return
    reader = csv.reader(_lines(text), delimiter=delimiter, strict=True)
    line = 1
    try:
        for _ in reader:
            line = reader.line_num + 1
    except csv.Error:
        raise InputError(
            f"{where}: line {line}: a value that begins with a quotation mark is not closed, or goes on after it; "
            'put the whole value in quotation marks and write "" for each within it'
        ) from None


def find_delimiter(text: str) -> str:
    """What splits the first lines into the most columns, the same number in each; a comma if nothing does."""
    best, most = ",", 1
    for delimiter in _DELIMITERS:
        rows = csv.reader(_lines(text), delimiter=delimiter)
        counts = {len(row) for row, _ in zip(rows, range(_LINES), strict=False) if row}
        if len(counts) == 1 and (count := counts.pop()) > most:
            best, most = delimiter, count
    return best


def _as(column: pa.ChunkedArray, type: pa.DataType, name: str, where: str) -> pa.ChunkedArray:
    """The text column as another type; empty cells are null there."""
    if pa.types.is_string(type):
        return column
    values = [text.strip() or None for text in column.to_pylist()]
    try:
        return pa.chunked_array([pa.array(values, pa.string()).cast(type)])
    except pa.ArrowException as error:
        raise InputError(f"{where}: source.types says {name} is {type}: {first_line(error)}") from None
