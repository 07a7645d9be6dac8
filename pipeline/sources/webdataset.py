"""WebDataset tars: members with one base name are one sample."""

from __future__ import annotations

import contextlib
import tarfile
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from methods.errors import BadSample
from pipeline.findings import Finding
from pipeline.records import Rejection, Sample, Shard, SourceFile
from pipeline.sources.base import TRUNCATED, Wanted, assemble, broken_file, budget_of, cut_shards, every_part
from pipeline.sources.bounded_tar import BoundedTar, content, open_bounded
from pipeline.sources.endings import IMAGE_SUFFIXES, PACKED, UNREAD_PICTURES
from pipeline.sources.evidence import LOOKED_AT, holds_labels
from pipeline.sources.layout import LABEL_NAMES, Layout, Peeked
from pipeline.sources.listing import Survey, list_files
from pipeline.sources.members import Group, MemberWindow
from pipeline.sources.outputs import TAR_HEADER, from_members, layout_of
from pipeline.sources.pending import Fetched, Pending
from pipeline.sources.ranged import open_ranged
from pipeline.spec import SourceSpec
from pipeline.storage import Unreachable, protocol_of
from pipeline.uris import printable

SUFFIXES = (".tar", ".tar.gz", ".tgz")
_TEXT = ("txt", "json", "cls", "caption", "text")
_BROKEN = (tarfile.TarError, EOFError, zlib.error)
_GAP = (
    "zeros before it, as at the end of a tar: several tars in one file are read as one; if it was written as one, a "
    "part of it is lost"
)
_TAIL = (
    "more zeros at the end of the tar than an end mark has: if it was not written for a tape, it may not have been "
    "copied whole"
)
_PEEK = 64
_FEW = 6


@dataclass(frozen=True)
class WebDatasetSource:
    """Tars of samples. Member names are only names: nothing is ever unpacked to disk."""

    spec: SourceSpec

    def survey(self) -> Survey:
        """Every tar, sorted."""
        return list_files(self.spec, SUFFIXES)

    def plan(self) -> list[SourceFile]:
        """The files of the survey."""
        return self.survey().files

    def peek(self, file: SourceFile) -> Peeked:
        """Suffixes of the first samples; text-like ones are text, the rest bytes; whether they hold labels."""
        kinds: dict[str, str] = {}
        texts: dict[str, list[bytes]] = {}
        groups: list[frozenset[str]] = []
        with self._open(file) as (archive, _):
            own = layout_of(archive.pax_headers.get(TAR_HEADER))
            for group in self._groups(file, lambda number: number < _PEEK):
                if group.problem is not None and group.problem.error == TRUNCATED:
                    break
                groups.append(frozenset(group.members))
                for suffix, read in group.members.items():
                    kinds[suffix] = "text" if suffix.rsplit(".", 1)[-1] in _TEXT else "binary"
                    if suffix in LABEL_NAMES and len(texts.setdefault(suffix, [])) < LOOKED_AT:
                        texts[suffix].append(read())
                if len(groups) >= _PEEK:
                    break
        if own is not None:
            parts = [own.labels, own.target, own.caption, *own.masks]
            return Peeked({**kinds, **dict.fromkeys(filter(None, parts), "binary"), **own.carry}, own=own)
        labels = [name for name, found in texts.items() if holds_labels(found)]
        plain = [sum(suffix in IMAGE_SUFFIXES for suffix in group) for group in groups]
        return Peeked(kinds, labels, hint=_hint(groups), any_image=max(plain, default=0) <= 1)

    def count(self, file: SourceFile) -> int | None:
        """Counted from the headers; members are skipped over."""
        return sum(1 for _ in self._groups(file, lambda number: False))

    def read(self, file: SourceFile, layout: Layout, shard_size: int, wanted: Wanted = every_part) -> Iterator[Shard]:
        """Stream the tar once; members of parts that are not wanted are skipped, not read."""
        pending = self._pending(file, layout, lambda number: wanted(number // shard_size))
        return cut_shards(file, pending, shard_size, wanted, self.spec.limit, budget=budget_of(file))

    def _pending(self, file: SourceFile, layout: Layout, wanted: Callable[[int], bool]) -> Iterator[Pending]:
        try:
            for group in self._groups(file, wanted):
                fetch = partial(_fetch, group.key, file.uri, group.members, layout)
                yield Pending(group.key, fetch, group.problem, findings=tuple(group.findings))
        except _BROKEN as error:
            yield broken_file(file, "not_an_archive", f"not a readable tar: {error}")

    @contextlib.contextmanager
    def _open(self, file: SourceFile) -> Iterator[tuple[BoundedTar, bool]]:
        """The archive, and whether its members can be read in any order: on a disk and not compressed."""
        raw = open_ranged(file.uri, self.spec.storage)
        with raw, open_bounded(raw) as archive:
            yield archive, archive.fileobj is raw and protocol_of(file.uri) == "file"

    def _groups(self, file: SourceFile, wanted: Callable[[int], bool]) -> Iterator[Group]:
        """The samples in order. A tar that breaks off ends with a problem.

        Args:
            wanted: from the number of a sample to whether its members will be read.
        """
        window = MemberWindow("last_dot" if self.spec.key_from == "last_dot" else "first_dot")
        with self._open(file) as (archive, anyhow):

            def reader(member: tarfile.TarInfo, number: int) -> Callable[[], bytes]:
                if anyhow or not wanted(number):
                    return partial(content, archive, member)
                # Going back would mean another request, or unpacking from the start again.
                try:
                    data = content(archive, member)
                except BadSample as error:
                    return partial(_refuse, error)
                return lambda: data

            gaps, end = 0, broken_file(file, "", "").key
            while True:
                try:
                    member = archive.next()
                    if member is None:
                        break
                    # tarfile remembers every member; a tar of a million samples must not live in memory.
                    archive.members = []  # type: ignore[attr-defined]
                    if archive.gaps > gaps:
                        gaps = archive.gaps
                        window.note(Finding("member", "zeros", _GAP, 1, (printable(member.name),)))
                    yield from window.add(member, partial(reader, member))
                except Unreachable:
                    raise
                except Exception as error:
                    # A header that lies makes tarfile raise nearly anything; what came before it is whole.
                    message = f"the tar ends early or is damaged near byte {archive.offset}: {error}"
                    if archive.zeros or not window.waiting:
                        # behind its end mark, or before any sample
                        yield from window.end()
                        yield Group(end, -1, problem=Rejection("read", TRUNCATED, message))
                    else:
                        yield from window.end(Rejection("read", TRUNCATED, message))
                    return
            long = archive.zeros * tarfile.BLOCKSIZE > tarfile.RECORDSIZE
            if long:
                window.note(Finding("member", "zeros", _TAIL, 1, (printable(file.relative),)))
            yield from window.end()
            # Cut between two members it has no end mark.
            if not archive.zeros:
                message = f"the tar stops at byte {archive.offset} without an end mark: samples may be missing"
                yield Group(end, -1, problem=Rejection("read", TRUNCATED, message))
            elif window.loose:
                message = "the tar is empty but for zeros" if long else "nothing in the tar is data"
                problem = Rejection("read", TRUNCATED if long else "no_image", message)
                yield Group(end, -1, problem=problem, findings=window.loose)


def _refuse(error: BadSample) -> bytes:
    raise error


def _fetch(key: str, uri: str, members: Mapping[str, Callable[[], bytes]], layout: Layout) -> Fetched:
    try:
        values: dict[str, Any] = {suffix: content() for suffix, content in members.items()}
    except _BROKEN as error:
        problem = Rejection("read", TRUNCATED, f"the tar ends inside this sample: {error}")
        return Sample(key=key, source_uri=uri, problem=problem), ()
    if layout.variants is None:
        return assemble(key, uri, values, layout)
    found, values = from_members(values, layout)
    return assemble(found or key, uri, values, layout)


def _hint(groups: list[frozenset[str]]) -> str:
    """What may help where no picture is found: names that are cut at the wrong dot, or several pictures per sample."""
    pictures = Counter(suffix for group in groups for suffix in group if suffix.rpartition(".")[2] in IMAGE_SUFFIXES)
    dotted = sorted(suffix for suffix in pictures if "." in suffix)
    if not dotted:
        suffixes = {suffix for group in groups for suffix in group}
        if unread := sorted(suffixes & UNREAD_PICTURES):
            return f"{', '.join(unread)} pictures cannot be read"
        packed = any(f".{suffix}".endswith((*SUFFIXES, *PACKED)) for suffix in suffixes)
        return "archives inside it are not looked into; unpack them" if packed else "name it with `source.image:`"
    again = [suffix for suffix in dotted if pictures[suffix] > 1]
    if len(groups) > 1 and 0 < len(again) <= _FEW:
        several = ", ".join(again)
        return f"a sample has several ({several}): choose one with `source.image: {again[0]}`, the others pass through"
    return (
        "the names have several dots and are cut at the first; if the key goes up to the last one, say "
        f"`source.key_from: last_dot`, if '{dotted[0]}' is the picture of every sample, `source.image: {dotted[0]}`"
    )
