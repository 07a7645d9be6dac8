"""The one place that turns a URI into a filesystem, with credentials, retries, atomic puts and clear errors.

Object stores: one client per process (a new S3 client costs about 140 ms), shared by its threads. A put is atomic for
readers everywhere: object stores make an object visible when it is complete; on a disk the bytes go to a hidden
neighbour first and are linked into place after an fsync.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import os
import posixpath
import re
import secrets
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, BinaryIO, cast

import fsspec

from methods.errors import InputError, first_line
from methods.uris import StorageOptions
from pipeline.uris import absolute, printable, protocol_of, redact

__all__ = [
    "HIDDEN",
    "Entry",
    "StorageOptions",
    "Store",
    "Unreachable",
    "absolute",
    "explained",
    "filesystem",
    "modified_of",
    "protocol_of",
    "redact",
    "short_version",
    "version_of",
]

HIDDEN = ".partial-"
_filesystems: dict[tuple[int, str, StorageOptions], Any] = {}
_opening = threading.Lock()
_NEVER = "KeyTooLong|InvalidURI|InvalidBucketName|InvalidObjectState|Invalid(Object|Resource)Name|MethodNotAllowed"
"""What S3 servers say of an object that they will not give out however often it is asked for."""
_EXPIRED = "ExpiredToken|TokenRefreshRequired|InvalidToken"
# Packages whose errors are about reaching a store, never about what an object holds.
_CLIENTS = ("aiobotocore", "aiohttp", "botocore", "fsspec", "gcsfs", "adlfs", "s3fs", "urllib3")


@dataclass(frozen=True)
class Entry:
    """One listed object: its path relative to the store's root, and its size in bytes."""

    path: str
    size: int


def _connect(protocol: str, options: StorageOptions) -> Any:
    try:
        if protocol in ("s3", "s3a"):
            from methods.s3 import connect

            return connect(options)
    except (ImportError, ValueError) as error:
        raise InputError(f"{protocol}://: no filesystem for this kind of URI ({error})") from None
    try:
        return fsspec.filesystem(protocol, use_listings_cache=False, skip_instance_cache=True)
    except Exception as error:
        # Whatever a protocol that somebody wrote into a table wants: a host, a Java machine, another protocol.
        raise InputError(f"{protocol}://: no filesystem for this kind of URI ({first_line(error)})") from None


def filesystem(uri: str, options: StorageOptions | None = None) -> Any:
    """The process's fsspec filesystem for this URI."""
    # fsspec caches instances per thread; a job wants one client per process.
    key = (os.getpid(), protocol_of(uri), options or StorageOptions())
    with _opening:
        if key not in _filesystems:
            _filesystems[key] = _connect(key[1], key[2])
        return _filesystems[key]


class Unreachable(InputError):
    """A store does not answer, or not to us: nothing is said about the object that was asked for."""


@contextlib.contextmanager
def explained(uri: str) -> Iterator[None]:
    """Turn what a store says about access, absence and reach into one clear InputError.

    What the store itself is to blame for is an :class:`Unreachable`. Errors that no store raises pass through.
    """
    try:
        yield
    except (InputError, KeyboardInterrupt):
        raise
    except Exception as error:
        local = protocol_of(uri) == "file"
        message = (_local_message if local else _remote_message)(printable(redact(uri)), error)
        if message is None:
            raise
        absent = isinstance(error, (FileNotFoundError, NotADirectoryError, IsADirectoryError))
        raise (InputError if local or absent or _refused(error) else Unreachable)(message) from error


def _refused(error: Exception) -> str | None:
    """Why a store refuses one object for good, a wrong address or an archived object; ``None`` for another error."""
    if type(error).__name__ == "ParamValidationError":
        return " ".join(str(error).split())
    answer = getattr(error.__cause__, "response", None)
    code = str(answer.get("Error", {}).get("Code", "")) if isinstance(answer, dict) else ""
    return code if re.search(_NEVER, code) else None


def _local_message(where: str, error: Exception) -> str | None:
    if isinstance(error, FileNotFoundError):
        return f"{where}: does not exist; check the address"
    if isinstance(error, PermissionError):
        return f"{where}: no permission; check the owner and mode of the folder"
    if isinstance(error, NotADirectoryError):
        return f"{where}: part of this path is a file, not a folder"
    if isinstance(error, OSError) and error.errno == errno.EROFS:
        return f"{where}: the file system is read-only; choose a place that can be written"
    if isinstance(error, OSError) and error.errno is not None:
        return f"{where}: {os.strerror(error.errno).lower()}; check the path and its disk"
    return None


def _remote_message(where: str, error: Exception) -> str | None:
    name, said = type(error).__name__, _first_line(error)
    if isinstance(error, FileNotFoundError):
        what = "bucket does not exist" if "bucket" in str(error).lower() else "does not exist"
        return f"{where}: {what}; check the address"
    if (refused := _refused(error)) is not None:
        return f"{where}: the store does not give out such an object ({redact(refused)[:300]}); check the address"
    # The store's code is in the cause: s3fs makes a plain PermissionError of it.
    if isinstance(error, OSError) and re.search(_EXPIRED, f"{error} {error.__cause__}"):
        return f"{where}: the credentials have expired ({said}); get new ones and run again"
    if isinstance(error, PermissionError):
        return (
            f"{where}: access denied ({said}); check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY "
            "or `storage: {profile: ...}`"
        )
    if isinstance(error, NotADirectoryError):
        return f"{where}: part of this path is a file, not a folder"
    if name in ("NoCredentialsError", "PartialCredentialsError"):
        return (
            f"{where}: no credentials found; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "or `storage: {anon: true}` for a public bucket"
        )
    if name in ("ProfileNotFound", "InvalidRegionError"):
        return f"{where}: {said}"
    if isinstance(error, ConnectionError) or name == "ClientConnectorError":
        return f"{where}: the endpoint does not answer ({said})"
    if isinstance(error, ValueError) and "endpoint" in str(error).lower():
        return f"{where}: {said}; write it as http://host:port"
    if isinstance(error, OSError) and re.search("InvalidAccessKeyId|SignatureDoesNotMatch|Forbidden", str(error)):
        return f"{where}: the store refused the credentials ({said})"
    if isinstance(error, (OSError, TimeoutError)) or type(error).__module__.partition(".")[0] in _CLIENTS:
        return f"{where}: the store does not answer as it should ({said}); try again later"
    return None


def short_version(version: str) -> str:
    """A few characters that stand for a version; empty for none."""
    return hashlib.blake2s(version.encode(), digest_size=5).hexdigest() if version else ""


def _first_line(error: Exception) -> str:
    return redact(first_line(error))


def version_of(detail: dict[str, Any]) -> str:
    """What changes whenever an object's content does, of an entry that fsspec lists: the store's own version or
    checksum, on a disk the time of the last change; with the size. Empty where the store says neither.
    """
    for name in ("VersionId", "ETag", "etag", "generation", "md5Hash", "Content-MD5", "Last-Modified", "LastModified"):
        value = detail.get(name)
        if value not in (None, "", "null"):
            return f"{detail.get('size')}:{str(value).strip(chr(34))}"
    if "mtime" in detail:
        # fsspec gives seconds as a float, which holds microseconds exactly for another century.
        return f"{detail.get('size')}:{round(float(detail['mtime']) * 1e6)}"
    return ""


def modified_of(detail: dict[str, Any]) -> float | None:
    """When an entry that fsspec lists was last changed, as Unix time; ``None`` where its store does not say."""
    for name in ("LastModified", "Last-Modified", "last_modified", "mtime", "updated"):
        value = detail.get(name)
        if isinstance(value, datetime):
            return value.timestamp()
        if isinstance(value, (int, float)):
            return float(value)
        if isinstance(value, str):
            with contextlib.suppress(ValueError):
                return datetime.fromisoformat(value).timestamp()
    return None


class _Explained(io.BufferedIOBase):
    """An open object whose errors say that the store failed, not that the content is damaged."""

    def __init__(self, file: Any, uri: str) -> None:
        self._file, self._uri = file, uri

    def read(self, size: int | None = -1, /) -> bytes:
        with explained(self._uri):
            return self._file.read(-1 if size is None else size)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._file.seekable()

    def close(self) -> None:
        self._file.close()
        super().close()


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

    def version(self, relative: str = "") -> str:
        """What changes whenever the object's content does (see :func:`version_of`). Raises InputError."""
        with explained(self.uri(relative)):
            return version_of(self.fs.info(self.path(relative)))

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

    def unfinished(self, prefix: str) -> dict[str, str]:
        """What puts that a process did not live to end left below ``prefix`` on a disk: file -> object it was to be.

        Puts that are going on right now are among them. Object stores leave nothing of the kind that can be seen.
        """
        found: dict[str, str] = {}
        root = self.path(prefix)
        for folder, _, names in os.walk(root) if self.local else ():
            for name in names:
                if name.startswith(HIDDEN):
                    place = posixpath.join(prefix, os.path.relpath(folder, root)).removesuffix("/.")
                    # Behind the name stands a dash with eight digits that tell two puts apart.
                    found[f"{place}/{name}"] = f"{place}/{name[len(HIDDEN) : -9]}"
        return found

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
        """A readable binary file that fetches ahead in blocks; a store that fails later says so by ``Unreachable``."""
        with explained(self.uri(relative)):
            file = self.fs.open(self.path(relative), "rb", block_size=block_size)
        return file if self.local else cast("BinaryIO", _Explained(file, self.uri(relative)))

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

    def tag(self, relative: str) -> str | None:
        """The ETag of an object in a bucket, for ``put_if``; ``None`` where there is no object or no such thing."""
        if protocol_of(self.root) not in ("s3", "s3a"):
            return None
        with explained(self.uri(relative)):
            try:
                return self.fs.info(self.path(relative)).get("ETag")
            except FileNotFoundError:
                return None

    def put_if(self, relative: str, data: bytes, tag: str | None) -> bool:
        """Write the object only if it is still the one with this ETag; ``False`` when it is another by now.

        Without a tag, or on a server that knows no conditions, it is written.
        """
        if tag is None or protocol_of(self.root) not in ("s3", "s3a"):
            self.put(relative, data)
            return True
        bucket, _, key = self.path(relative).partition("/")
        with explained(self.uri(relative)):
            try:
                self.fs.call_s3("put_object", Bucket=bucket, Key=key, Body=data, IfMatch=tag)
            except OSError as error:
                said = str(error).lower()
                if "precondition" in said or "pre-condition" in said:
                    return False
                if "notimplemented" not in said and "not implemented" not in said:
                    raise
                self.fs.pipe_file(self.path(relative), data)
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
