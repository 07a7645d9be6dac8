"""JSON text in, Python values out, with errors that say where."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from methods.errors import BadSample, InputError
from pipeline.labels.records import Labels


def parse_text(data: bytes | str) -> tuple[Any, str]:
    """(value, text) of a JSON document. Raises ValueError with one clear line."""
    try:
        text = data if isinstance(data, str) else bytes(data).decode("utf-8-sig")
        return json.loads(text), text
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None


def parse_one(data: bytes | str, parse: Callable[[dict[str, Any], str], Labels]) -> Labels:
    """One picture's labels: JSON text through ``parse`` (record, text). Raises BadSample ``bad_labels``."""
    try:
        record, text = parse_text(data)
        if isinstance(record, list) and len(record) == 1:
            record = record[0]
        if not isinstance(record, dict):
            raise ValueError("neither a BDD100K frame nor a COCO record, which are JSON objects")
        return parse(record, text)
    except ValueError as error:
        raise BadSample("bad_labels", f"labels: {error}") from None


def parse_file(data: bytes, where: str) -> Any:
    """The value of a label file. Raises InputError naming file, line and column."""
    try:
        return parse_text(data)[0]
    except ValueError as error:
        raise InputError(f"{where} is not readable JSON ({error}); mend it or point labels.uri elsewhere") from None
