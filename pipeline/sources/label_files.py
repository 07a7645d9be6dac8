"""Label files that belong to no picture by their place: ``ann/a.json`` of ``img/a.jpg``, ``labels.json`` of all."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from pipeline.findings import EXAMPLES, Finding
from pipeline.labels.formats import FORMATS
from pipeline.labels.unread import HEAD, advice, in_form_of, label_format
from pipeline.sources.endings import IMAGE_SUFFIXES, ending
from pipeline.sources.loose import head_of
from pipeline.spec import LabelsSpec, SourceSpec
from pipeline.storage import protocol_of

_ENDINGS = ("json", "txt", "xml")
_LOOKED_AT = 8
"""Files of each folder and ending that are looked into."""
_FOLDERS, _FOLDERS_AFAR = 100, 2
"""Folders that are looked into, on a disk and elsewhere."""


@dataclass(frozen=True)
class LabelFilesFound:
    """What of the files that belong to no picture is labels.

    Attributes:
        findings: those that nothing reads.
        paths: those, and those that the job reads its labels from.
    """

    findings: list[Finding]
    paths: frozenset[str]


def label_files(base: str, rest: Iterable[str], spec: SourceSpec, pictures: Collection[str] = ()) -> LabelFilesFound:
    """Find them, by their place and by the beginning of a few.

    The files of a folder that are called like pictures elsewhere are taken for labels if most of those looked at are.
    Of others only JSON files, which may hold the labels of a whole data set.

    Args:
        base: the folder that all paths are relative to, as a full URI.
        rest: files that belong to no picture.
        pictures: files that belong to one.
    """
    stems = {_stem(path) for path in pictures}
    read: set[str] = set()
    groups: dict[tuple[str, str], tuple[list[str], list[str]]] = {}
    for path in rest:
        if _read_with_labels(base, path, spec.labels):
            read.add(path)
        elif (suffix := ending(path)) in _ENDINGS:
            group = groups.setdefault((posixpath.dirname(path), suffix), ([], []))
            group[_stem(path) not in stems].append(path)
    found: list[tuple[str, str, list[str]]] = []
    for (folder, suffix), (called, others) in sorted(groups.items())[: _most(base)]:
        name = folder or f".{suffix}"
        heads = [head for path in called[:_LOOKED_AT] if (head := head_of(base, path, HEAD, spec.storage))]
        formats = [label_format(head) for head in heads]
        found += [(name, each, called) for each in {*formats} if each and 2 * formats.count(each) > len(formats)]
        for path in others[:_LOOKED_AT] if suffix == "json" else ():
            if (format := label_format(head_of(base, path, HEAD, spec.storage))) is not None:
                found.append((name, format, [path]))
    unread = [each for each in found if not _all_named(base, each[2], spec.labels)]
    named = [each for each in found if each not in unread]
    formats = {format for _, format, _ in named}
    if spec.labels.format != "auto":
        unread += [each for each in named if each[1] != spec.labels.format]
    elif read or len(formats) > 1 or not formats <= FORMATS.keys():
        # of several formats in one place one is read, and here nobody knows yet which
        unread += named
    findings = [
        Finding("labels", name, _reason(format), len(paths), tuple(paths[:EXAMPLES])) for name, format, paths in unread
    ]
    return LabelFilesFound(findings, frozenset(read.union(*(paths for _, _, paths in found))))


def _most(base: str) -> int:
    return _FOLDERS if protocol_of(base) == "file" else _FOLDERS_AFAR


def _reason(format: str) -> str:
    return f"{in_form_of(format)}, but not read: {advice(format)} with source.labels.uri"


def _all_named(base: str, paths: Iterable[str], labels: LabelsSpec) -> bool:
    """Whether all of these files lie where the job names its labels."""
    if labels.uri is None:
        return False
    place = f"{labels.uri.rstrip('/')}/"
    uris = [posixpath.join(base, path) for path in paths]
    return all(uri.startswith(place) or fnmatchcase(uri, labels.uri) for uri in uris)


def _stem(path: str) -> str:
    """The name without ending; of ``a.png.json`` too."""
    stem = posixpath.splitext(posixpath.basename(path))[0]
    return posixpath.splitext(stem)[0] if ending(stem) in IMAGE_SUFFIXES else stem


def _read_with_labels(base: str, path: str, labels: LabelsSpec) -> bool:
    """Whether a file is one that the labels are read from."""
    uri = posixpath.join(base, path)
    if labels.uri is None or uri == labels.uri:
        return labels.uri is not None
    folder, _, name = uri.rpartition("/")
    known = [FORMATS[labels.format]] if labels.format != "auto" else list(FORMATS.values())
    place = f"{labels.uri.rstrip('/')}/"
    if uri.startswith(place) or fnmatchcase(uri, labels.uri):
        # Among the pictures themselves a text without one is no label of any; elsewhere the table counts it.
        elsewhere = place != f"{base.rstrip('/')}/" and ending(path) not in IMAGE_SUFFIXES
        if elsewhere or any(each.documents and name.lower().endswith(each.documents) for each in known):
            return True
    return labels.format != "auto" and place.startswith(f"{folder}/") and name in FORMATS[labels.format].beside
