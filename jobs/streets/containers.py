"""Where samples go: tars, Parquet files or loose files. All bytes depend on the samples alone."""

import io
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from jobs.streets.whole_file import whole_file

FORMATS = ("webdataset", "parquet", "folder")
COLUMNS = {
    "jpg": "image",
    "png": "image",
    "txt": "caption",
    "json": "labels",
    "seg.png": "seg",
    "instance.png": "instance",
    "depth.png": "depth",
    "edges.png": "edges",
    "target.jpg": "target",
    "target.png": "target",
}
"""Parquet column of each member; captions and labels are text, the rest bytes."""
_TEXT = ("caption", "labels")


class Container(Protocol):
    """Takes the samples of one condition in order."""

    files: int

    def add(self, key: str, members: Mapping[str, bytes]) -> None:
        """Append a sample; ``members`` map suffixes to bytes, the same suffixes for every sample."""

    def close(self) -> None:
        """Finish the last file."""


class Folder:
    """``images/<key>.<suffix>``: pictures with all that belongs to them beside them."""

    def __init__(self, folder: Path, scenes_per_file: int) -> None:
        """Write below ``folder``; every member is a file of its own."""
        self._folder = folder / "images"
        self._folder.mkdir(parents=True, exist_ok=True)
        self.files = 0

    def add(self, key: str, members: Mapping[str, bytes]) -> None:
        """Write a sample's files."""
        for suffix, data in members.items():
            with whole_file(self._folder / f"{key}.{suffix}") as file:
                file.write(data)
            self.files += 1

    def close(self) -> None:
        """Nothing is open."""


class _Sequence(ABC):
    """Files ``<condition>-000000.<ending>`` of ``scenes_per_file`` samples each, in memory until complete."""

    ending = ""

    def __init__(self, folder: Path, scenes_per_file: int) -> None:
        """Write into ``folder``, whose name begins the file names."""
        self._folder, self._scenes_per_file = folder, scenes_per_file
        self._samples: list[tuple[str, Mapping[str, bytes]]] = []
        self.files = 0

    def add(self, key: str, members: Mapping[str, bytes]) -> None:
        """Append a sample; writes a file when it is full."""
        self._samples.append((key, members))
        if len(self._samples) == self._scenes_per_file:
            self.close()

    def close(self) -> None:
        """Write the samples that wait."""
        if self._samples:
            name = f"{self._folder.name}-{self.files:06d}.{self.ending}"
            with whole_file(self._folder / name) as file:
                file.write(self._pack(self._samples))
            self._samples = []
            self.files += 1

    @abstractmethod
    def _pack(self, samples: list[tuple[str, Mapping[str, bytes]]]) -> bytes:
        """The content of one file."""


class WebDataset(_Sequence):
    """Tars whose members are ``<key>.<suffix>``; times, owners and modes are fixed."""

    ending = "tar"

    def _pack(self, samples: list[tuple[str, Mapping[str, bytes]]]) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
            for key, members in samples:
                for suffix, data in members.items():
                    entry = tarfile.TarInfo(f"{key}.{suffix}")
                    entry.size, entry.mtime, entry.mode = len(data), 0, 0o644
                    archive.addfile(entry, io.BytesIO(data))
        return buffer.getvalue()


class Parquet(_Sequence):
    """Parquet files with one row per sample: ``key`` and the columns of :data:`COLUMNS` that there are."""

    ending = "parquet"

    def _pack(self, samples: list[tuple[str, Mapping[str, bytes]]]) -> bytes:
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns: dict[str, Any] = {"key": pa.array([key for key, _ in samples], pa.string())}
        for suffix in samples[0][1]:
            name = COLUMNS[suffix]
            values: list[Any] = [members[suffix] for _, members in samples]
            if name in _TEXT:
                columns[name] = pa.array([value.decode() for value in values], pa.string())
            else:
                columns[name] = pa.array(values, pa.binary())
        buffer = io.BytesIO()
        pq.write_table(pa.table(columns), buffer, compression="zstd")
        return buffer.getvalue()


_CONTAINERS: dict[str, type[WebDataset] | type[Parquet] | type[Folder]] = {
    "webdataset": WebDataset,
    "parquet": Parquet,
    "folder": Folder,
}


def open_container(format: str, folder: Path, scenes_per_file: int) -> Container:
    """A container of one of :data:`FORMATS` for the condition that ``folder`` is named after."""
    return _CONTAINERS[format](folder, scenes_per_file)
