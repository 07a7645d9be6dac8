"""WebDataset tars: neighbouring members with one base name are one sample."""

from __future__ import annotations

import io
import tarfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from pipeline.records import Rejection, Sample, Shard, SourceFile
from pipeline.sources.base import Pending, assemble, broken_file, cut_shards
from pipeline.sources.layout import Kind, Layout
from pipeline.sources.listing import list_files
from pipeline.spec import SourceSpec
from pipeline.storage import Store, explained

SUFFIXES = (".tar", ".tar.gz", ".tgz")
_TEXT = ("txt", "json", "cls", "caption", "text")
_BROKEN = (tarfile.TarError, EOFError, zlib.error)
_PEEK = 64


@dataclass(frozen=True)
class WebDatasetSource:
    """Tars of samples. Member names are only names: nothing is ever unpacked to disk."""

    spec: SourceSpec

    def plan(self) -> list[SourceFile]:
        """Every tar, sorted."""
        return list_files(self.spec, SUFFIXES)

    def peek(self, file: SourceFile) -> Mapping[str, Kind]:
        """Suffixes of the first samples; text-like ones are strings, the rest bytes."""
        seen: dict[str, Kind] = {}
        for number, (_, members, _) in enumerate(self._groups(file)):
            for suffix in members:
                seen[suffix] = "string" if suffix.rsplit(".", 1)[-1] in _TEXT else "binary"
            if number + 1 >= _PEEK:
                break
        return seen

    def count(self, file: SourceFile) -> int | None:
        """Counted from the headers; members are skipped over."""
        return sum(1 for _ in self._groups(file))

    def read(self, file: SourceFile, layout: Layout, shard_size: int, done: Collection[int]) -> Iterator[Shard]:
        """Stream the tar once; members of finished parts are skipped, not read."""
        return cut_shards(file, self._pending(file, layout), shard_size, done, self.spec.limit)

    def _pending(self, file: SourceFile, layout: Layout) -> Iterator[Pending]:
        try:
            for key, members, problem in self._groups(file):
                yield Pending(key, partial(_fetch, key, file.uri, members, layout), problem)
        except _BROKEN as error:
            yield broken_file(file, "not_an_archive", f"not a readable tar: {error}")

    def _groups(self, file: SourceFile) -> Iterator[tuple[str, dict[str, Any], Rejection | None]]:
        """(key, {suffix: read function}, problem) of each sample. A tar that breaks off ends with a problem."""
        store = Store(file.uri, self.spec.storage)
        raw = store.open("")
        with raw, _tar(raw, file.uri) as archive:
            key: str | None = None
            members: dict[str, Any] = {}
            problem: Rejection | None = None
            while True:
                try:
                    member = archive.next()
                except _BROKEN as error:
                    offset = archive.offset
                    message = f"the tar ends early or is damaged near byte {offset}: {error}"
                    yield key or broken_file(file, "", "").key, members, Rejection("read", "truncated_archive", message)
                    return
                if member is None:
                    break
                # tarfile remembers every member; a tar of a million samples must not live in memory.
                archive.members = []  # type: ignore[attr-defined]
                if not member.isfile():
                    continue
                name = member.name.removeprefix("./")
                folder, slash, base = name.rpartition("/")
                stem, dot, suffix = base.partition(".")
                this = f"{folder}{slash}{stem}" if dot else name
                if this != key:
                    if key is not None:
                        yield key, members, problem
                    key, members, problem = this, {}, None
                suffix = suffix.lower()
                if suffix in members:
                    problem = Rejection("read", "duplicate_member", f"two '{suffix}' members in one sample")
                members[suffix] = partial(_content, archive, member)
            if key is not None:
                yield key, members, problem
            if _no_end_mark(archive):
                message = f"the tar stops at byte {archive.offset} without an end mark: samples may be missing"
                yield broken_file(file, "", "").key, {}, Rejection("read", "truncated_archive", message)


def _no_end_mark(archive: tarfile.TarFile) -> bool:
    """Whether a tar was cut between two members: then the block of zeros that ends every tar is not there."""
    assert archive.fileobj is not None
    archive.fileobj.seek(archive.offset)
    return len(archive.fileobj.read(tarfile.BLOCKSIZE)) < tarfile.BLOCKSIZE


def _tar(raw: Any, uri: str) -> tarfile.TarFile:
    with explained(uri):
        try:
            return tarfile.open(fileobj=raw, mode="r:*")
        except tarfile.ReadError as error:
            if raw.seek(0, io.SEEK_END) == 0:
                raise tarfile.ReadError("the file is empty") from error
            raise


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = archive.extractfile(member)
    data = file.read() if file else b""
    if len(data) != member.size:
        raise tarfile.ReadError(f"member {member.name} has {len(data)} of {member.size} bytes")
    return data


def _fetch(key: str, uri: str, members: Mapping[str, Any], layout: Layout) -> tuple[Sample, tuple[str, ...]]:
    try:
        return assemble(key, uri, {suffix: content() for suffix, content in members.items()}, layout)
    except _BROKEN as error:
        problem = Rejection("read", "truncated_archive", f"the tar ends inside this sample: {error}")
        return Sample(key=key, source_uri=uri, problem=problem), ()
