"""Stores that weights are read from and mirrored to, opened through fsspec; their errors as one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from methods.errors import InputError, first_line
from methods.uris import StorageOptions


def open_store(uri: str, options: StorageOptions, label: str) -> tuple[Any, str]:
    """The fsspec filesystem of a URI, and the path in it. Raises InputError for an unknown kind of address."""
    from fsspec.core import url_to_fs

    try:
        if urlsplit(uri).scheme in ("s3", "s3a"):
            from methods.s3 import connect

            client = connect(options)
            return client, str(client._strip_protocol(uri))
        return url_to_fs(uri)
    except (ImportError, ValueError) as error:
        raise InputError(f"{label}: cannot be opened ({first_line(error)})") from None


@contextmanager
def plain_errors(label: str, missing: str = "") -> Iterator[None]:
    """Whatever a store raises becomes an InputError that begins with ``label``; ``missing`` is added to it.

    A missing file says ``nothing there``, a refusal ``access denied``. Stores raise classes of their own (aiohttp,
    botocore, ...), whose texts may hold signed URLs: of those only the class is named.
    """
    try:
        yield
    except InputError:
        raise
    except PermissionError:
        raise InputError(f"{label}: access denied, check the credentials{missing}") from None
    except Exception as error:
        reason = _reason(error)
        if is_missing(error):
            raise InputError(f"{label}: nothing there{missing}") from None
        raise InputError(f"{label}: cannot be fetched ({type(reason).__name__}){missing}") from None


def is_missing(error: Exception) -> bool:
    """Whether a store says that there is no such file."""
    reason = _reason(error)
    answer = getattr(reason, "response", None)
    code = answer.get("Error", {}).get("Code") if isinstance(answer, dict) else None
    return (
        isinstance(reason, FileNotFoundError)
        or getattr(reason, "status", None) == 404
        or code in ("404", "NoSuchKey", "NoSuchBucket")
    )


def _reason(error: Exception) -> BaseException:
    """fsspec's HTTP store reports a refused connection as a missing file too, with the reason as its cause."""
    return error.__cause__ or error
