"""Which kind of address a weights URI is, and what of it may be shown."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit


class Kind(Enum):
    """Where the weights of a URI come from."""

    BUNDLED = "bundled"
    HUB = "hub"
    PATH = "path"
    REMOTE = "remote"


def kind_of(uri: str) -> Kind:
    """The kind of a URI. A path that exists wins over a hub id of the same look."""
    head, separator, _ = uri.partition("://")
    if separator:
        return {"bundled": Kind.BUNDLED, "hf": Kind.HUB, "file": Kind.PATH}.get(head, Kind.REMOTE)
    if not Path(uri).expanduser().exists() and re.fullmatch(r"[\w][\w.-]*/[\w.-]+(@[\w./-]+)?", uri):
        return Kind.HUB
    return Kind.PATH


def redacted(uri: str) -> str:
    """``uri`` without user, password, query and fragment: fit for messages and reports."""
    parts = urlsplit(uri)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
