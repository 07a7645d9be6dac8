"""URIs as text: what they name, what in them is secret, and which of them no store can have."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from fsspec.core import split_protocol

from methods.errors import InputError

WEB = ("http", "https")
_URI = re.compile(r"\b([A-Za-z][A-Za-z0-9+.-]*)://([^\s'\"<>`]*)")
# A password may hold slashes (AWS secrets do), and then the URI's own grammar takes its rest for a path. What is left
# alone is `host:8080/photo@2x.jpg`; a bucket has no port.
_PASSWORD = re.compile(r"^[^/@:]+:[^@]*@")
_PASSWORD_BESIDE_PORTS = re.compile(r"^[^/@:]+:(?!\d{2,5}/)[^@]*@")
_USER = re.compile(r"^[^/@]+@")
_QUERY = re.compile(r"\?.*", re.DOTALL)
_ASSIGNMENT = re.compile(r"\?[^?]*=.*", re.DOTALL)
_FRAGMENT = re.compile(r"#.*", re.DOTALL)


def protocol_of(uri: str) -> str:
    """``s3`` of ``s3://bucket/x``; ``file`` for plain paths."""
    return split_protocol(uri)[0] or "file"


def redact(text: str) -> str:
    """The text without the secrets of the URIs in it: user info, queries (presigned addresses) and fragments."""
    return _URI.sub(lambda found: f"{found[1]}://{_redacted(found[1].lower(), found[2])}", text)


def _redacted(scheme: str, rest: str) -> str:
    web = scheme in WEB
    for pattern in ((_PASSWORD_BESIDE_PORTS if web else _PASSWORD), _USER):
        rest = pattern.sub("***@", rest)
    # In a bucket `?` may be a wildcard or part of a name; with an assignment behind it, it is a query.
    rest = (_QUERY if web else _ASSIGNMENT).sub("?***", rest)
    return _FRAGMENT.sub("#***", rest) if web else rest


def printable(text: str) -> str:
    """The text with bytes that are no UTF-8 written as ``\\xe4``, so that every file and terminal takes it."""
    return text.encode("utf-8", "surrogateescape" if _from_bytes(text) else "backslashreplace").decode(
        "utf-8", "backslashreplace"
    )


def _from_bytes(text: str) -> bool:
    """Whether the lone surrogates of the text are bytes of a file name, the only ones that can be turned back."""
    return all(not 0xD800 <= ord(c) < 0xE000 or 0xDC80 <= ord(c) <= 0xDCFF for c in text)


def without_secrets(uri: str) -> str:
    """The URI without user info, query and fragment: what keys and names may derive from."""
    if protocol_of(uri) == "file":
        return uri
    clean = redact(uri)
    for mark in ("***@", "?***", "#***"):
        clean = clean.replace(mark, "")
    return clean


def has_query(uri: str) -> bool:
    """Whether the URI is an address of the web with a query behind it, in which ``?`` is no wildcard."""
    return protocol_of(uri) in WEB and "?" in uri


def without_query(uri: str, name: str) -> str:
    """The name of a file found under ``uri``, without the query of an address of the web."""
    return name.partition("?")[0] if has_query(uri) else name


def absolute(uri: str) -> str:
    """Local paths made absolute (workers run elsewhere); URIs left as they are, trailing slashes dropped.

    Raises InputError for a URI that no store can have, or that carries a password: it would end up in logs and indexes.
    """
    check(uri)
    if protocol_of(uri) == "file":
        path = uri.removeprefix("file://")
        return os.path.abspath(os.path.expanduser(path))
    return uri if has_query(uri) else uri.rstrip("/")


def seen_from(folder: str, uri: str) -> str:
    """A URI as a page in ``folder`` names it: local paths relative to it, others without their secrets.

    Pages travel with their output; where things lay on the machine that made them is nobody's business.
    """
    if protocol_of(uri) != "file":
        return redact(uri)
    if protocol_of(folder) != "file":
        return os.path.basename(uri.rstrip("/"))
    return os.path.relpath(absolute(uri), absolute(folder))


def tree_seen_from(folder: str, value: Any) -> Any:
    """Plain data with its absolute local paths as :func:`seen_from` names them."""
    if isinstance(value, Mapping):
        return {name: tree_seen_from(folder, each) for name, each in value.items()}
    if isinstance(value, list):
        return [tree_seen_from(folder, each) for each in value]
    return seen_from(folder, value) if isinstance(value, str) and value.startswith(("/", "file:")) else value


def beside(uri: str) -> str:
    """The folder in which a folder lies."""
    return uri.rstrip("/").rpartition("/")[0] or "/"


def check(uri: str) -> None:
    """Raise InputError for a URI that no store can have, or that carries credentials."""
    if "\0" in uri:
        raise InputError(f"{redact(uri.replace(chr(0), '?'))}: a path must not hold a NUL character")
    if protocol_of(uri) == "file":
        return
    rest = uri.partition("://")[2]
    password = _PASSWORD_BESIDE_PORTS if protocol_of(uri) in WEB else _PASSWORD
    if password.search(rest) or "@" in rest.partition("/")[0]:
        raise InputError(
            f"{redact(uri)}: a URI must not carry credentials; set them as environment variables "
            "(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) or name a profile under `storage:`"
        )
    try:
        port = urlsplit(uri).port if protocol_of(uri) in WEB else None
    except ValueError as error:
        raise InputError(f"{redact(uri)}: not a valid address ({error})") from None
    if port == 0 or not rest.strip("/"):
        raise InputError(f"{redact(uri)}: not a valid address; write it as {protocol_of(uri)}://place/path")


def lies_under(uri: str, pattern: str) -> bool:
    """Whether files below the folder ``uri`` would be found by ``pattern``, a folder or a glob.

    Local links are followed, so that two names of one place are one place.
    """
    if protocol_of(uri) != protocol_of(pattern) or has_query(pattern):
        return False
    place, wanted = _parts(uri), _parts(pattern)
    if not any(_is_glob(part) for part in wanted):
        return place[: len(wanted)] == wanted
    for n, part in enumerate(wanted):
        if part == "**":
            return True
        if n >= len(place):
            return True
        if not _matches(place[n], part):
            return False
    # The pattern ends at or above the folder: a glob finds files, and what lies in folders only by `**`.
    return False


def _parts(uri: str) -> list[str]:
    if protocol_of(uri) != "file":
        return [part for part in uri.partition("://")[2].split("/") if part]
    fixed, rest = uri.removeprefix("file://"), ""
    while _is_glob(fixed):
        fixed, _, last = fixed.rpartition("/")
        rest = posixpath.join(last, rest) if rest else last
    return [part for part in posixpath.join(os.path.realpath(fixed or "/"), rest).split("/") if part]


def _is_glob(text: str) -> bool:
    return any(c in text for c in "*?[")


def _matches(name: str, pattern: str) -> bool:
    from fnmatch import fnmatchcase

    return fnmatchcase(name, pattern)
