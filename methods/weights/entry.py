"""What is noted of fetched or mirrored weights: the sizes and checksums of their files."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class FileSum:
    """One file: its size in bytes and its SHA-256 in hex."""

    size: int
    sha256: str

    @classmethod
    def of(cls, path: Path) -> FileSum:
        """That of a local file, read now."""
        with path.open("rb") as file:
            return cls(path.stat().st_size, sum_of(file))


def sum_of(file: Any) -> str:
    """The SHA-256, in hex, of what an open binary file still holds."""
    return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class WeightsEntry:
    """The weights of one URI.

    Attributes:
        uri: where they came from, fit to be shown.
        files: by name relative to the folder; "" alone for a single file.
        commit: of the hub's repository, for weights that came from there.
    """

    uri: str
    files: Mapping[str, FileSum]
    commit: str | None = None

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(each.size for each in self.files.values())

    def as_record(self) -> dict[str, Any]:
        """As plain data; :meth:`from_record` reads it."""
        files = {name: {"size": each.size, "sha256": each.sha256} for name, each in self.files.items()}
        return {"uri": self.uri, "files": files} | ({"commit": self.commit} if self.commit else {})

    @classmethod
    def from_record(cls, tree: Mapping[str, Any]) -> WeightsEntry:
        """Raises KeyError, TypeError, ValueError or AttributeError for what is no record."""
        files = {str(name): FileSum(int(each["size"]), str(each["sha256"])) for name, each in tree["files"].items()}
        if any(name.startswith("/") or ".." in name.split("/") for name in files):
            raise ValueError("a file name that leaves its folder")
        return cls(str(tree["uri"]), files, tree.get("commit"))
