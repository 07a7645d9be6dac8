"""Folders of loose images, with sidecars of the same base name (``0001.jpg``, ``0001.json``, ``0001.seg.png``)."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from methods.errors import InputError
from pipeline.records import Rejection, Sample, Shard, SourceFile
from pipeline.sources.base import Pending, assemble, cut_shards
from pipeline.sources.layout import IMAGE_SUFFIXES, Kind, Layout
from pipeline.sources.listing import found_under
from pipeline.spec import SourceSpec
from pipeline.storage import filesystem, redact

_TEXT = ("txt", "json", "cls")


def group_by_key(paths: Iterable[str]) -> dict[str, dict[str, str]]:
    """key -> {suffix: path}. An image's key is its path without ending; ``key.anything`` is its sidecar.

    ``a.seg.png`` belongs to ``a`` when there is an ``a.jpg``; alone it is the image ``a.seg``. Of ``a.jpg`` and
    ``a.png`` both are images with key ``a``: the second is listed under its full name and refused as a duplicate.
    """
    images: dict[str, dict[str, str]] = {}
    others: list[str] = []
    for path in sorted(paths):
        folder, slash, base = path.rpartition("/")
        stem, _, suffix = base.rpartition(".")
        if suffix.lower() in IMAGE_SUFFIXES and stem and "." not in stem:
            images.setdefault(f"{folder}{slash}{stem}", {})[suffix.lower()] = path
        else:
            others.append(path)
    for path in others:
        folder, slash, base = path.rpartition("/")
        stem, _, suffix = base.partition(".")
        owner = images.get(f"{folder}{slash}{stem}")
        if owner is not None:
            owner[suffix.lower()] = path
            continue
        stem, _, suffix = base.rpartition(".")
        if suffix.lower() in IMAGE_SUFFIXES and stem:
            images.setdefault(f"{folder}{slash}{stem}", {})[suffix.lower()] = path
    return dict(sorted(images.items()))


@dataclass(frozen=True)
class FolderSource:
    """Loose images. ``known`` are the groups of an earlier plan: they stay as they were, new images form new groups."""

    spec: SourceSpec
    group_size: int
    known: tuple[SourceFile, ...] = ()

    def plan(self) -> list[SourceFile]:
        """Groups of ``group_size`` images, named after the first; old groups first kept, then the whole sorted."""
        groups = list(self.known)
        taken = {path for group in groups for path in group.members}
        listed = 0
        names: set[str] = set()
        for uri in self.spec.uris:
            base, sizes = found_under(uri, self.spec)
            samples = group_by_key(sizes)
            listed += len(samples)
            if names & samples.keys():
                clash = min(names & samples.keys())
                raise InputError(
                    f"{redact(uri)}: '{clash}' is also in another source folder; list both through one folder"
                )
            names.update(samples)
            fresh = [key for key, parts in samples.items() if not taken & set(parts.values())]
            for first in range(0, len(fresh), self.group_size):
                keys = fresh[first : first + self.group_size]
                members = tuple(path for key in keys for path in samples[key].values())
                size = sum(sizes[path] for path in members)
                groups.append(SourceFile(base, keys[0], size, len(keys), members))
        if not listed:
            raise InputError(f"{', '.join(map(redact, self.spec.uris))}: no image found ({', '.join(IMAGE_SUFFIXES)})")
        return sorted(groups, key=lambda group: group.relative)

    def peek(self, file: SourceFile) -> Mapping[str, Kind]:
        """Endings of the group's files; ``image`` stands for whatever ending each picture has."""
        seen: dict[str, Kind] = {"image": "binary"}
        for parts in group_by_key(file.members).values():
            picture = _picture(parts)
            for suffix in parts:
                if suffix != picture:
                    seen[suffix] = "string" if suffix.rsplit(".", 1)[-1] in _TEXT else "binary"
        return seen

    def count(self, file: SourceFile) -> int | None:
        """Known from the listing."""
        return file.samples

    def read(self, file: SourceFile, layout: Layout, shard_size: int, done: Collection[int]) -> Iterator[Shard]:
        """The group's one shard."""
        return cut_shards(file, self._pending(file, layout), max(shard_size, file.samples or 0), done, self.spec.limit)

    def _pending(self, file: SourceFile, layout: Layout) -> Iterator[Pending]:
        for key, parts in group_by_key(file.members).items():
            picture = _picture(parts)
            spare = [s for s in parts if s in IMAGE_SUFFIXES and s != picture]
            yield Pending(key, partial(self._fetch, key, file.uri, parts, picture, layout))
            for suffix in spare:
                message = f"'{parts[suffix]}' has the same key as '{parts[picture]}'"
                yield Pending(parts[suffix], None, Rejection("read", "duplicate_key", message))

    def _fetch(
        self, key: str, base: str, parts: Mapping[str, str], picture: str, layout: Layout
    ) -> tuple[Sample, tuple[str, ...]]:
        uri = posixpath.join(base, parts[picture])
        fs = filesystem(base, self.spec.storage)
        values = {}
        for suffix, path in parts.items():
            if suffix in IMAGE_SUFFIXES and suffix != picture:
                continue
            try:
                values["image" if suffix == picture else suffix] = fs.cat_file(posixpath.join(base, path))
            except FileNotFoundError:
                problem = Rejection("read", "missing", f"'{path}' was listed but is gone")
                return Sample(key=key, source_uri=uri, problem=problem), ()
        return assemble(key, uri, values, layout)


def _picture(parts: Mapping[str, str]) -> str:
    """The ending of the picture itself: the first of the usual image endings that is there."""
    return next(suffix for suffix in (*IMAGE_SUFFIXES, *parts) if suffix in parts)
