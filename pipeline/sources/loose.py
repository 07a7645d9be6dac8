"""Pictures that a Parquet file names instead of holding them: an output of loose files that is a source again."""

from __future__ import annotations

import posixpath
from collections.abc import Mapping
from typing import Any

from methods.errors import BadSample
from pipeline.storage import StorageOptions, filesystem

FOLDER = "../images/"
"""Where such pictures lie, from the data file: nothing else that a column of text says is taken for a path."""


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
    try:
        return {**values, image: filesystem(full, storage).cat_file(full)}
    except FileNotFoundError:
        raise BadSample("missing", f"the picture '{place}' that the data file names is gone") from None
