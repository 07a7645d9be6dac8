"""The files of a label source: one file, a folder or a glob, on a disk or in a bucket."""

from __future__ import annotations

import hashlib
import posixpath
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

from methods.errors import InputError
from pipeline.labels.document import decoded
from pipeline.labels.names import IMAGE_ENDINGS
from pipeline.paths import OWN
from pipeline.storage import HIDDEN, StorageOptions, Store, explained, filesystem, protocol_of, redact

_MAGIC = "*?["
_MAX_SMALL = 16 << 20

UNREADABLE = "unreadable: "
"""What a record begins with in place of the text of a file that cannot be read; the reason follows."""


@dataclass(frozen=True)
class LabelFiles:
    """What was found under one URI.

    Attributes:
        base: folder that the names are relative to, as a full URI.
        sizes: name -> bytes, sorted.
        single: whether the URI named one file.
        stamp: stands for the content: changes when a file is replaced.
    """

    base: str
    sizes: Mapping[str, int]
    single: bool = False
    stamp: str = ""
    options: StorageOptions = field(default_factory=StorageOptions)

    @classmethod
    def under(cls, uri: str, options: StorageOptions) -> LabelFiles:
        """List them. Raises InputError when there is nothing."""
        fs = filesystem(uri, options)
        path = fs._strip_protocol(uri)
        single = False
        with explained(uri):
            if any(c in uri for c in _MAGIC):
                fixed = path.split("/")
                while any(c in "/".join(fixed) for c in _MAGIC):
                    fixed.pop()
                base, found = "/".join(fixed), cast("dict[str, Any]", fs.glob(path, detail=True))
            else:
                detail = fs.info(path)
                if detail["type"] == "directory":
                    base, found = path, cast("dict[str, Any]", fs.find(path, detail=True))
                else:
                    base, found, single = posixpath.dirname(path), {path: detail}, True
        prefix = base.rstrip("/") + "/"
        files = {
            name.removeprefix(prefix): detail
            for name, detail in sorted(found.items())
            if detail.get("type", "file") == "file" and not _hidden(name.removeprefix(prefix))
        }
        if not files:
            raise InputError(f"{redact(uri)}: no label file here; check source.labels.uri")
        stamp = hashlib.sha256(repr(sorted((n, _version(d)) for n, d in files.items())).encode()).hexdigest()
        scheme = "" if protocol_of(uri) == "file" else f"{protocol_of(uri)}://"
        return cls(scheme + base, {n: int(d.get("size") or 0) for n, d in files.items()}, single, stamp, options)

    def named(self, *endings: str) -> list[str]:
        """The files with one of these endings, sorted."""
        return [name for name in self.sizes if name.lower().endswith(endings)]

    def pictures(self) -> list[str]:
        """The files with the ending of a picture, sorted."""
        return [name for name in self.sizes if name.rpartition(".")[2].lower() in IMAGE_ENDINGS]

    def only(self, names: Iterable[str]) -> LabelFiles:
        """The same source with some of its files."""
        kept = set(names)
        sizes = {name: size for name, size in self.sizes.items() if name in kept}
        return LabelFiles(self.base, sizes, self.single, self.stamp, self.options)

    def where(self, name: str) -> str:
        """A file's URI, for people."""
        return redact(posixpath.join(self.base, name))

    def uri(self, name: str) -> str:
        """A file's URI."""
        return posixpath.join(self.base, name)

    def open(self, name: str) -> BinaryIO:
        """A file to be read forwards."""
        return Store(self.base, self.options).open(name)

    def text(self, name: str) -> str:
        """A whole small file. Raises ValueError when it is not UTF-8 or too large for a file of one picture."""
        if self.sizes.get(name, 0) > _MAX_SMALL:
            raise ValueError(f"larger than {_MAX_SMALL >> 20} MiB, too much for the labels of one picture")
        return decoded(Store(self.base, self.options).read(name))

    def record(self, name: str) -> str:
        """The text of the labels of one picture; of a file that cannot be read :data:`UNREADABLE` and the reason.

        As a record it makes its own picture say so.
        """
        try:
            return self.text(name)
        except ValueError as error:
            return f"{UNREADABLE}{error}"

    def beside(self, name: str, levels: int = 2) -> str | None:
        """The text of a file of this name in the base folder or up to ``levels`` above it; the nearest, or ``None``.

        Raises ValueError as :meth:`text` does.
        """
        base = self.base
        for _ in range(levels + 1):
            store = Store(base, self.options)
            if store.exists(name):
                with store.open(name) as file:
                    data = file.read(_MAX_SMALL + 1)
                if len(data) > _MAX_SMALL:
                    raise ValueError(f"{name}: larger than {_MAX_SMALL >> 20} MiB, too much for the names of classes")
                return decoded(data)
            above = posixpath.dirname(base.rstrip("/"))
            if not above or above.endswith((":", ":/")) or above == base:
                return None
            base = above
        return None


def _hidden(relative: str) -> bool:
    parts = relative.split("/")
    return HIDDEN in relative or any(part.startswith((".", OWN)) or part == "__MACOSX" for part in parts)


def _version(detail: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(detail.get(name, "")) for name in ("size", "mtime", "ETag", "LastModified", "etag", "md5"))
