"""Folders of loose images, with sidecars of the same base name (``0001.jpg``, ``0001.json``, ``0001.seg.png``)."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from methods.errors import BadSample, InputError
from pipeline import codec
from pipeline.findings import Finding, merge
from pipeline.labels.box_table import ADVICE, HEAD, is_box_table
from pipeline.records import Rejection, Sample, Shard, SourceFile
from pipeline.sources.base import Wanted, assemble, cut_shards, every_part
from pipeline.sources.endings import IMAGE_SUFFIXES, PACKED, UNREAD_PICTURES, ending, is_known
from pipeline.sources.evidence import LOOKED_AT, holds_labels
from pipeline.sources.grouping import SIDECARS, Groups, group_by_key, picture_of
from pipeline.sources.label_files import label_files
from pipeline.sources.label_maps import HEAD as PNG_HEAD
from pipeline.sources.label_maps import label_maps
from pipeline.sources.layout import LABEL_NAMES, Layout, Peeked
from pipeline.sources.listing import Listing, Survey, found_under
from pipeline.sources.loose import fetch, head_of
from pipeline.sources.pending import Fetched, Pending
from pipeline.spec import SourceSpec
from pipeline.storage import explained, protocol_of, redact

_TEXT = ("txt", "json", "cls", "caption", "text")
_TABLES = ("csv", "tsv", "jsonl", "parquet")
"""What Hugging Face's image folders have beside their pictures, as ``metadata.csv``."""
_SNIFFED, _SNIFFED_AFAR = 1000, 8

_CASED = "not read: but for letter case called like another file of the same sample"
_ALONE = "not read: called like no picture"


@dataclass(frozen=True)
class FolderSource:
    """Loose images. ``known`` are the groups of an earlier plan: they stay as they were, new images form new groups."""

    spec: SourceSpec
    group_size: int
    known: tuple[SourceFile, ...] = ()

    def survey(self) -> Survey:
        """Groups of ``group_size`` images, named after the first; old groups first kept, then the whole sorted."""
        groups = list(self.known)
        taken = {path for group in groups for path in group.members}
        listed = 0
        names: set[str] = set()
        findings: list[Finding] = []
        passed_over: set[str] = set()
        gone = set(taken)
        for uri in self.spec.uris:
            found = found_under(uri, self.spec)
            gone -= found.sizes.keys()
            grouped = self._groups(found.sizes)
            samples = grouped.samples
            listed += len(samples)
            findings += found.findings
            if self.spec.condition is None:
                pictures = [parts[picture_of(parts, self.spec.image)] for parts in samples.values()]
                head = partial(head_of, found.base, most=PNG_HEAD, storage=self.spec.storage)
                findings += label_maps(pictures, head)
            called = [path for parts in samples.values() for path in parts.values()]
            labels = label_files(found.base, grouped.rest, self.spec, called)
            findings += labels.findings
            findings += self._unread(found, [path for path in grouped.rest if path not in labels.paths])
            if names & samples.keys():
                clash = min(names & samples.keys())
                raise InputError(
                    f"{redact(uri)}: '{clash}' is also in another source folder; list both through one folder"
                )
            names.update(samples)
            fresh = [key for key, parts in samples.items() if not taken & set(parts.values())]
            findings += _late(samples, taken)
            passed_over.update(key for key in fresh if found.passed_over >= set(samples[key].values()))
            fresh = [key for key in fresh if key not in passed_over]
            for first in range(0, len(fresh), self.group_size):
                keys = fresh[first : first + self.group_size]
                members = tuple(path for key in keys for path in samples[key].values())
                size = sum(found.sizes[path] for path in members)
                groups.append(SourceFile(found.base, keys[0], size, len(keys), members))
        if not listed:
            raise InputError(f"{', '.join(map(redact, self.spec.uris))}: no image found ({', '.join(IMAGE_SUFFIXES)})")
        ordered = sorted(groups, key=lambda group: group.relative)
        return Survey(ordered, merge(findings), frozenset(passed_over), frozenset(gone))

    def plan(self) -> list[SourceFile]:
        """The files of the survey."""
        return self.survey().files

    def peek(self, file: SourceFile) -> Peeked:
        """Endings of the files of the whole folder; ``image`` stands for whatever ending each picture has."""
        kinds = {"image": "binary"}
        texts: dict[str, list[tuple[str, str]]] = {}
        for uri in self.spec.uris:
            found = found_under(uri, self.spec)
            for parts in self._groups(found.sizes).samples.values():
                picture = picture_of(parts, self.spec.image)
                for suffix, path in parts.items():
                    if suffix == self.spec.image:
                        kinds[suffix] = "binary"
                    elif suffix not in (picture, path) and suffix not in IMAGE_SUFFIXES:
                        kinds[suffix] = "text" if suffix.rsplit(".", 1)[-1] in _TEXT else "binary"
                        if suffix in LABEL_NAMES and len(texts.setdefault(suffix, [])) < LOOKED_AT:
                            texts[suffix].append((found.base, path))
        labels = [name for name, places in texts.items() if holds_labels(self._read(*place) for place in places)]
        return Peeked(kinds, labels)

    def keys(self, file: SourceFile) -> list[str]:
        """The keys of a group's samples, from the names of its files."""
        return list(self._groups(file.members).samples)

    def all_keys(self) -> list[str]:
        """The keys of all samples that there are now, from the names of the files."""
        found = (found_under(uri, self.spec) for uri in self.spec.uris)
        return [key for listing in found for key in self._groups(listing.sizes).samples]

    def count(self, file: SourceFile) -> int | None:
        """Known from the listing."""
        return file.samples

    def read(self, file: SourceFile, layout: Layout, shard_size: int, wanted: Wanted = every_part) -> Iterator[Shard]:
        """The group's one shard, with a row also for each file that is refused as a second picture of a key."""
        pending = list(self._pending(file, layout))
        return cut_shards(file, pending, max(shard_size, len(pending)), wanted, self.spec.limit)

    def _groups(self, paths: Iterable[str]) -> Groups:
        spec = self.spec
        named = [
            *(spec.masks if isinstance(spec.masks, list) else []),
            *(spec.carry if isinstance(spec.carry, list) else []),
        ]
        sidecars = {*SIDECARS, *named, *([spec.target] if spec.target else [])}
        return group_by_key(paths, sidecars, spec.key_from, spec.image)

    def _pending(self, file: SourceFile, layout: Layout) -> Iterator[Pending]:
        for key, parts in self._groups(file.members).samples.items():
            picture = picture_of(parts, self.spec.image)
            again = [path for suffix, path in parts.items() if suffix == path]
            spare = [s for s in parts if s in IMAGE_SUFFIXES and s != picture]
            spare += [path for path in again if ending(path) == ending(parts[picture])]
            cased = tuple(
                Finding("file", f".{ending(path)}", _CASED, 1, (path,)) for path in again if path not in spare
            )
            fetch_it = partial(self._fetch, key, file.uri, parts, picture, layout)
            yield Pending(key, fetch_it, findings=cased, remote=protocol_of(file.uri) != "file")
            for suffix in spare:
                message = f"'{parts[suffix]}' has the same key as '{parts[picture]}'"
                yield Pending(parts[suffix], None, Rejection("read", "duplicate_key", message))

    def _fetch(self, key: str, base: str, parts: Mapping[str, str], picture: str, layout: Layout) -> Fetched:
        uri = posixpath.join(base, parts[picture])
        values = {}
        for suffix, path in parts.items():
            if suffix == path or (suffix in IMAGE_SUFFIXES and suffix != picture):
                continue
            try:
                values[layout.image if suffix == picture else suffix] = self._read(base, path)
            except BadSample as error:
                gone = f"'{path}' was listed but is gone"
                problem = Rejection("read", error.reason, gone if error.reason == "missing" else str(error))
                return Sample(key=key, source_uri=uri, problem=problem), ()
        return assemble(key, uri, values, layout)

    def _read(self, base: str, path: str) -> bytes:
        return fetch(posixpath.join(base, path), self.spec.storage, f"'{path}'")

    def _unread(self, found: Listing, rest: Iterable[str]) -> Iterator[Finding]:
        """What of a folder is not read: pictures of other kinds, and files that belong to no picture."""
        looked = tables = 0
        most = _SNIFFED if protocol_of(found.base) == "file" else _SNIFFED_AFAR
        for path in rest:
            kind = f".{ending(path)}" if ending(path) else "no ending"
            if path.lower().endswith(PACKED):
                yield Finding("file", kind, "packed, and not read; unpack first", 1, (path,))
            elif posixpath.basename(path).startswith("metadata.") and ending(path) in _TABLES:
                reason = "not read; captions and labels in here are read where source.uri names the file"
                yield Finding("file", kind, reason, 1, (path,))
            elif ending(path) in UNREAD_PICTURES:
                yield Finding("file", kind, "pictures of this kind cannot be read", 1, (path,))
            elif ending(path) in IMAGE_SUFFIXES:
                yield Finding("file", kind, f"not what source.image names ({self.spec.image})", 1, (path,))
            elif ending(path) in ("csv", "tsv") and tables < most:
                tables += 1
                boxes = is_box_table(head_of(found.base, path, HEAD, self.spec.storage))
                reason = f"{ADVICE}, and name that file with source.labels.uri" if boxes else _ALONE
                yield Finding("labels" if boxes else "file", kind, reason, 1, (path,))
            elif is_known(path):
                yield Finding("file", kind, _ALONE, 1, (path,))
            elif protocol_of(found.base) != "file" or looked >= _SNIFFED:
                yield Finding("file", kind, "not looked into, with an ending that says nothing", 1, (path,))
            else:
                looked += 1
                with explained(path), open(posixpath.join(found.base, path), "rb") as file:
                    picture = codec.kind_of(file.read(32))
                reason = _ALONE
                if picture is not None:
                    reason = f"in the form of {picture} pictures, but with an ending that says nothing; rename"
                yield Finding("file", kind, reason, 1, (path,))


def _late(samples: Mapping[str, Mapping[str, str]], taken: Collection[str]) -> Iterator[Finding]:
    """Files that came to a picture of an earlier plan: its group stays as it was, so nothing of theirs is read."""
    reason = "not read: came after the picture of the same name was planned; --fresh begins anew"
    for parts in samples.values():
        late = [path for path in parts.values() if path not in taken]
        if len(late) < len(parts):
            yield from (Finding("file", f".{ending(path)}", reason, 1, (path,)) for path in late)
