"""Whether a text beside a picture is a label record, found by reading a few of them."""

from __future__ import annotations

from collections.abc import Iterable

from methods.errors import BadSample
from pipeline.labels import parse_sample
from pipeline.labels.document import parse_text

LOOKED_AT = 32
"""Samples whose texts are read before a job; metadata and labels are separated by the first of them."""

_SIGNS = ("annotations", "labels", "frames")


def holds_labels(texts: Iterable[bytes | str]) -> bool:
    """Whether any of the texts is a record of labels, or means to be one."""
    return any(_is_record(text) for text in texts)


def may_hold_labels(text: str) -> bool:
    """Whether a text where others are records of labels may have been one: damaged, or with the signs of one.

    Other JSON is metadata, and what is blank says nothing.
    """
    try:
        return _means_to(parse_text(text)[0])
    except ValueError:
        return bool(text.strip())


def _is_record(text: bytes | str) -> bool:
    try:
        parse_sample(text, "auto")
        return True
    except BadSample:
        pass
    try:
        return _means_to(parse_text(text)[0])
    except ValueError:
        return False


def _means_to(record: object) -> bool:
    return isinstance(record, dict) and any(_objects(record.get(sign)) for sign in _SIGNS)


def _objects(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, dict) for each in value)
