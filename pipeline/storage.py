"""The one place that turns a URI into a filesystem, with credentials, retries, atomic puts and clear errors.

Object stores: one client a process (a new S3 client costs about 140 ms), shared by its threads. A put is atomic for
readers everywhere: object stores make an object visible when it is complete; on a disk the bytes go to a hidden
neighbour first and are linked into place after an fsync.
"""

from __future__ import annotations

import contextlib
import errno
import os
import posixpath
import re
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast
from urllib.parse import urlsplit

import fsspec
from fsspec.core import split_protocol

from methods.errors import InputError, first_line
from methods.uris import StorageOptions

HIDDEN = ".partial-"
# A password may hold slashes (AWS secrets do), and then the URI's own grammar takes its rest for a path. What is left
# alone is `host:8080/photo@2x.jpg`.
_PASSWORD = re.compile(r"(://)[^/@:\s]+:(?!\d{2,5}/)[^@\s]*@")
_filesystems: dict[tuple[int, str, StorageOptions], Any] = {}
_opening = threading.Lock()


@dataclass(frozen=True)
class Entry:
    """One listed object: its path relative to the store's root, and its size in bytes."""

    path: str
    size: int


def protocol_of(uri: str) -> str:
    """``s3`` of ``s3://bucket/x``; ``file`` for plain paths."""
    return split_protocol(uri)[0] or "file"


def absolute(uri: str) -> str:
    """Local paths made absolute (workers run elsewhere); URIs left as they are, trailing slashes dropped.

    Raises InputError for a URI that carries a password: it would end up in logs and indexes.
    """
    if protocol_of(uri) == "file":
        path = uri.removeprefix("file://")
        return os.path.abspath(os.path.expanduser(path))
    if "@" in (urlsplit(uri).netloc or "") or _PASSWORD.search(uri):
        raise InputError(
            f"{redact(uri)}: a URI must not carry credentials; set them as environment variables "
            "(AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY) or name a profile under `storage:`"
        )
    return uri.rstrip("/")


def redact(text: str) -> str:
    """The text with anything that looks like ``user:password@`` in a URI removed."""
    return re.sub(r"(://)[^/@\s]+@", r"\1***@", _PASSWORD.sub(r"\1***@", text))


def _connect(protocol: str, options: StorageOptions) -> Any:
    keyword = options.arguments(protocol)
    if protocol in ("s3", "s3a"):
        keyword |= {
            "default_cache_type": "readahead",
            "config_kwargs": {"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 4}},
        }
    try:
        return fsspec.filesystem(protocol, use_listings_cache=False, skip_instance_cache=True, **keyword)
    except (ImportError, ValueError) as error:
        raise InputError(f"{protocol}://: no filesystem for this kind of URI ({error})") from None


def filesystem(uri: str, options: StorageOptions | None = None) -> Any:
    """The process's fsspec filesystem for this URI."""
    # fsspec caches instances per thread; a job wants one client per process.
    key = (os.getpid(), protocol_of(uri), options or StorageOptions())
    with _opening:
        if key not in _filesystems:
            _filesystems[key] = _connect(key[1], key[2])
        return _filesystems[key]


@contextlib.contextmanager
def explained(uri: str) -> Iterator[None]:
    """Turn what a store says about access, absence and reach into one clear InputError."""
    try:
        yield
    except InputError:
        raise
    except FileNotFoundError as error:
        what = "bucket does not exist" if "bucket" in str(error).lower() else "does not exist"
        raise InputError(f"{redact(uri)}: {what}; check the address") from error
    except PermissionError as error:
        raise InputError(
            f"{redact(uri)}: access denied ({_first_line(error)}); check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY "
            "or `storage: {profile: ...}`"
            if protocol_of(uri) != "file"
            else f"{uri}: no permission; check the owner and mode of the folder"
        ) from error
    except NotADirectoryError as error:
        raise InputError(f"{redact(uri)}: part of this path is a file, not a folder") from error
    except Exception as error:
        name = type(error).__name__
        if name in ("NoCredentialsError", "PartialCredentialsError"):
            raise InputError(
                f"{redact(uri)}: no credentials found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
                "or `storage: {anon: true}` for a public bucket"
            ) from error
        if name in ("ProfileNotFound", "InvalidRegionError", "ParamValidationError"):
            raise InputError(f"{redact(uri)}: {_first_line(error)}") from error
        if name in ("EndpointConnectionError", "ConnectTimeoutError", "ConnectionClosedError"):
            raise InputError(f"{redact(uri)}: the endpoint does not answer ({_first_line(error)})") from error
        if isinstance(error, ValueError) and "endpoint" in str(error).lower():
            raise InputError(f"{redact(uri)}: {_first_line(error)}; write it as http://host:port") from error
        if isinstance(error, OSError) and re.search("InvalidAccessKeyId|SignatureDoesNotMatch|Forbidden", str(error)):
            raise InputError(f"{redact(uri)}: the store refused the credentials ({_first_line(error)})") from error
        raise


def _first_line(error: Exception) -> str:
    return redact(first_line(error))


@dataclass(frozen=True)
class Store:
    """A folder or bucket prefix. Cheap to pickle: the client is opened where it is used.

    Paths given to the methods are relative to ``root`` and use forward slashes.
    """

    root: str
    options: StorageOptions = field(default_factory=StorageOptions)

    @property
    def fs(self) -> Any:
        """The fsspec filesystem of this process."""
        return filesystem(self.root, self.options)

    @property
    def local(self) -> bool:
        """Whether the store is a disk of this machine."""
        return protocol_of(self.root) == "file"

    def path(self, relative: str = "") -> str:
        """The filesystem's own name of a relative path."""
        base = self.fs._strip_protocol(self.root)
        return posixpath.join(base, relative) if relative else base

    def uri(self, relative: str = "") -> str:
        """The full URI of a relative path."""
        return posixpath.join(self.root, relative) if relative else self.root

    def require_bucket(self) -> None:
        """Raise InputError when the store lies in a bucket that is not there: listing it would just find nothing.

        Elsewhere folders are made on the way.
        """
        if protocol_of(self.root) in ("s3", "s3a"):
            bucket, _, prefix = self.path().partition("/")
            with explained(self.root):
                # With the prefix, for accounts that may list only that.
                self.fs.call_s3("list_objects_v2", Bucket=bucket, Prefix=prefix, MaxKeys=1)

    def list(self, prefix: str = "") -> list[Entry]:
        """Every object below ``prefix``, sorted; empty when there is none. Unfinished local puts are left out."""
        with explained(self.uri(prefix)):
            try:
                found = cast("dict[str, dict[str, Any]]", self.fs.find(self.path(prefix), detail=True))
            except FileNotFoundError:
                return []
        base = self.path().rstrip("/") + "/"
        return [
            Entry(name.removeprefix(base), int(detail.get("size") or 0))
            for name, detail in sorted(found.items())
            if detail.get("type", "file") == "file" and HIDDEN not in name
        ]

    def exists(self, relative: str) -> bool:
        """Whether the object is there."""
        with explained(self.uri(relative)):
            return bool(self.fs.exists(self.path(relative)))

    def read(self, relative: str) -> bytes:
        """The whole object. Raises InputError where it is missing or barred."""
        with explained(self.uri(relative)):
            return self.fs.cat_file(self.path(relative))

    def read_or_none(self, relative: str) -> bytes | None:
        """The whole object, or ``None`` where there is none."""
        with explained(self.uri(relative)):
            try:
                return self.fs.cat_file(self.path(relative))
            except FileNotFoundError:
                return None

    def open(self, relative: str, block_size: int = 8 << 20) -> BinaryIO:
        """A readable binary file that fetches ahead in blocks."""
        with explained(self.uri(relative)):
            return self.fs.open(self.path(relative), "rb", block_size=block_size)

    def put(self, relative: str, data: bytes) -> None:
        """Write the object in one atomic step, replacing what is there."""
        if self.local:
            self._put_local(relative, data, replace=True)
        else:
            with explained(self.uri(relative)):
                self.fs.pipe_file(self.path(relative), data)

    def put_new(self, relative: str, data: bytes) -> bool:
        """Write the object only if there is none; ``False`` when there is.

        On a disk and on S3 (If-None-Match) exactly one of several writers succeeds. Other stores have no such
        primitive in fsspec: there the check comes before the write.
        """
        if self.local:
            return self._put_local(relative, data, replace=False)
        with explained(self.uri(relative)):
            if protocol_of(self.root) not in ("s3", "s3a"):
                if self.fs.exists(self.path(relative)):
                    return False
                self.fs.pipe_file(self.path(relative), data)
                return True
            try:
                self.fs.pipe_file(self.path(relative), data, mode="create")
            except FileExistsError:
                return False
            except OSError as error:
                if "pre-condition" in str(error).lower() or "precondition" in str(error).lower():
                    return False
                raise
            return True

    def delete(self, relative: str) -> None:
        """Remove the object if it is there."""
        with explained(self.uri(relative)), contextlib.suppress(FileNotFoundError):
            self.fs.rm_file(self.path(relative))
        folder = os.path.dirname(relative)
        # Object stores have no folders; on a disk, one that is empty is not left lying about.
        while self.local and folder:
            try:
                os.rmdir(self.path(folder))
            except OSError:
                break
            folder = os.path.dirname(folder)

    def delete_all(self, prefix: str) -> None:
        """Remove every object below ``prefix``."""
        for entry in self.list(prefix):
            self.delete(entry.path)

    def _put_local(self, relative: str, data: bytes, *, replace: bool) -> bool:
        path = self.path(relative)
        folder = os.path.dirname(path)
        with explained(path):
            os.makedirs(folder, exist_ok=True)
            hidden = os.path.join(folder, f"{HIDDEN}{os.path.basename(path)}-{secrets.token_hex(4)}")
            try:
                with open(hidden, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                if replace:
                    os.replace(hidden, path)
                else:
                    try:
                        os.link(hidden, path)
                    except FileExistsError:
                        return False
            except OSError as error:
                if error.errno == errno.ENOSPC:
                    raise InputError(f"{path}: no space left on the disk; free some and run again") from error
                raise
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(hidden)
        return True
