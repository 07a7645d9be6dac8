"""Single objects that a source names: pictures of a manifest, of a folder, of an output of loose files."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any

from methods.errors import BadSample, InputError
from pipeline.storage import StorageOptions, Unreachable, explained, filesystem, protocol_of

FOLDER = "../images/"
"""Where such pictures lie, from the data file: nothing else that a column of text says is taken for a path."""


def fetch(uri: str, storage: StorageOptions, name: str) -> bytes:
    """The bytes of one object.

    Raises:
        BadSample: reason ``missing`` for one that is not there, ``forbidden`` for one that this key may not read,
            ``unreadable`` for an address that is none or an archived object, and
            ``unreachable`` for one of a web server that does not answer: such a list has many servers.
        Unreachable: an object store does not answer, or not to us; that says nothing about the object.
    """
    try:
        with explained(uri):
            return filesystem(uri, storage).cat_file(uri)
    except Unreachable as error:
        said = str(error.__cause__ or error).lower()
        if isinstance(error.__cause__, PermissionError) and ("denied" in said or "forbidden" in said):
            raise BadSample("forbidden", f"no permission to read {name}") from None
        if protocol_of(uri) in ("http", "https"):
            raise BadSample("unreachable", f"cannot fetch {name} ({type(error.__cause__).__name__})") from None
        raise
    except InputError as error:
        cause = error.__cause__
        if isinstance(cause, PermissionError):
            raise BadSample("forbidden", f"no permission to read {name}") from None
        absent = isinstance(cause, FileNotFoundError | NotADirectoryError | IsADirectoryError)
        reason = "missing" if absent else "unreadable"
        # without a cause it is no answer of a store, but says itself what is wrong with the address
        said = str(error) if cause is None else type(cause).__name__
        raise BadSample(reason, f"cannot fetch {name} ({said})") from None


def head_of(base: str, path: str, most: int, storage: StorageOptions) -> bytes:
    """The first bytes of a file; none of one that cannot be had."""
    uri = posixpath.join(base, path)
    try:
        with explained(uri):
            return filesystem(uri, storage).cat_file(uri, start=0, end=most)
    except InputError:
        # Reading its sample, if it is part of one, says what is wrong with it.
        return b""


def with_picture(values: Mapping[str, Any], image: str, uri: str, storage: StorageOptions) -> Mapping[str, Any]:
    """The row with its picture fetched, where the column ``image`` of the file ``uri`` names one.

    Raises:
        BadSample: reason ``missing``: the picture is gone.
    """
    place = values.get(image)
    if not isinstance(place, str) or not place.startswith(FOLDER) or ".." in place.removeprefix(FOLDER).split("/"):
        return values
    scheme, mark, path = posixpath.dirname(uri).rpartition("://")
    full = f"{scheme}{mark}{posixpath.normpath(posixpath.join(path, place))}"
    return {**values, image: fetch(full, storage, f"the picture '{place}' that the data file names")}
