"""Listing source files: files, folders and globs of one spec, sorted, with names relative to where they were found.

Symbolic links are followed. Where an output of an earlier job is listed, its data files are what is found: only those
that are committed, and never its index.
"""

from __future__ import annotations

import os
import posixpath
import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, cast

from fsspec.utils import glob_translate, stringify_path

from methods.counting import counted
from methods.errors import InputError
from pipeline.findings import Finding, merge
from pipeline.paths import CARD_FILE, DATA, INDEX, JOB_FILE, MERGED_INDEX, METRICS_FILE, OWN, REPORT, part_path
from pipeline.records import SourceFile
from pipeline.sources.endings import PACKED, is_picture, system_file
from pipeline.sources.label_files import label_files
from pipeline.spec import SourceSpec
from pipeline.storage import HIDDEN, Store, explained, filesystem, modified_of, protocol_of, redact
from pipeline.uris import has_query, without_query
from pipeline.window import window_start

_MAGIC = "*?["


@dataclass(frozen=True)
class Listing:
    """What lies under one URI.

    Attributes:
        base: a full URI without its wildcards; of an output, its data folder.
        sizes: path relative to ``base`` -> bytes.
        findings: files that are not data and not read: what systems leave behind, hidden pictures, links to nothing.
        passed_over: of ``sizes``, those that were last changed before ``source.modified_after``.
    """

    base: str
    sizes: dict[str, int]
    findings: tuple[Finding, ...]
    passed_over: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Survey:
    """The files of a source, sorted by relative name, and what beside them is not read.

    ``passed_over`` names what was last changed before ``source.modified_after``: files, or loose images in no group.
    ``gone`` names loose images of earlier groups that are not there any more.
    """

    files: list[SourceFile]
    findings: tuple[Finding, ...]
    passed_over: frozenset[str] = frozenset()
    gone: frozenset[str] = frozenset()


def found_under(uri: str, spec: SourceSpec) -> Listing:
    """What lies under a file, folder or glob. Raises InputError when there is nothing."""
    local = protocol_of(uri) == "file"
    fs = filesystem(uri, spec.storage)
    path = stringify_path(fs._strip_protocol(uri))
    broken: dict[str, Finding] = {}
    cased: list[str] = []
    times: dict[str, float] = {}
    with explained(uri):
        if any(c in path for c in _MAGIC) and not has_query(uri) and not (local and os.path.exists(path)):
            base = _fixed(path)
            # A glob in a bucket that is not there gives an empty list; say which of the two it is.
            Store(uri, spec.storage).require_bucket()
            sizes = {}
            for pattern in (path, f"{path}/**"):
                sizes = sizes or (
                    _glob_local(base, pattern, broken, cased, times)
                    if local
                    else _glob_remote(fs, base, pattern, times)
                )
            if not sizes:
                near = f"; {len(cased)} differ in letter case alone ({cased[0]})" if cased else ""
                raise InputError(f"{redact(uri)}: the pattern matches no file{near}; check it with `sceneshift plan`")
            sizes = _without_indexes(fs, base, sizes)
        elif os.path.isdir(path) if local else fs.info(path)["type"] == "directory":
            base = path
            sizes = _data_only(
                _walk(path, broken, times) if local else _relative(path, fs.find(path, detail=True), times)
            )
            if any(name.startswith(f"{DATA}/") for name in sizes) and fs.exists(f"{path}/{JOB_FILE}"):
                base, sizes = f"{path}/{DATA}", {name.removeprefix(f"{DATA}/"): size for name, size in sizes.items()}
                times = {name.removeprefix(f"{DATA}/"): changed for name, changed in times.items()}
        else:
            base = path.rpartition("/")[0]
            name = path.rpartition("/")[2]
            sizes = _relative(base, {f"{base}/{name}": {**fs.info(path), "type": "file"}}, times)
            if local:
                detail = os.stat(path)
                sizes, times = {name: detail.st_size}, {name: detail.st_mtime}
    kept, findings = _sifted({name: size for name, size in sizes.items() if _wanted(name, spec.folders)}, broken, cased)
    passed_over: frozenset[str] = frozenset()
    if spec.modified_after is not None:
        start = window_start(spec.modified_after, time.time())
        passed_over = frozenset(name for name in kept if times.get(name, start) < start)
    return Listing(("" if local else f"{protocol_of(uri)}://") + base, kept, findings, passed_over)


def _wanted(relative: str, folders: list[str]) -> bool:
    """Whether a file lies below one of the folders; without any, all do."""
    return not folders or any(relative.startswith(f"{folder.strip('/')}/") for folder in folders)


def _fixed(pattern: str) -> str:
    """The folders of a pattern before its first wildcard."""
    parts = pattern.split("/")
    while any(c in "/".join(parts) for c in _MAGIC):
        parts.pop()
    return "/".join(parts)


def _walk(root: str, broken: dict[str, Finding], times: dict[str, float], depth: int | None = None) -> dict[str, int]:
    """Relative path -> bytes of every file below a local folder, links followed.

    ``broken`` gets links to nothing and what is no file (pipes, sockets, devices), ``times`` when each file was last
    changed.

    A folder that is reached again from inside itself is not entered a second time.
    """
    sizes: dict[str, int] = {}
    here = os.stat(root)
    open_folders = [(root, "", frozenset([(here.st_dev, here.st_ino)]))]
    while open_folders:
        folder, prefix, inside = open_folders.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                name = prefix + entry.name
                try:
                    detail = entry.stat()
                except OSError:
                    broken[name] = Finding("file", "link", "linked to nothing", 1, (name,))
                    continue
                if entry.is_file():
                    sizes[name] = detail.st_size
                    times[name] = detail.st_mtime
                elif entry.is_dir():
                    identity = (detail.st_dev, detail.st_ino)
                    deep = prefix.count("/") + 1
                    if identity not in inside and (depth is None or deep < depth):
                        open_folders.append((entry.path, f"{name}/", inside | {identity}))
                else:
                    broken[name] = Finding("file", "special", "not read: pipe, socket or device", 1, (name,))
    return sizes


def _glob_local(
    base: str, pattern: str, broken: dict[str, Finding], cased: list[str], times: dict[str, float]
) -> dict[str, int]:
    """As :func:`_walk`, of the files that fit; ``cased`` gets those that differ from it in letter case alone."""
    if not os.path.isdir(base or "/"):
        return {}
    depth = None if "**" in pattern else pattern.count("/") - base.count("/")
    fits, near = (re.compile(glob_translate(pattern), flags).match for flags in (0, re.IGNORECASE))
    found = {name: size for name, size in _walk(base or "/", broken, times, depth).items() if near(f"{base}/{name}")}
    fitting = {name: size for name, size in found.items() if fits(f"{base}/{name}")}
    cased += sorted(found.keys() - fitting.keys())
    return fitting


def _glob_remote(fs: Any, base: str, pattern: str, times: dict[str, float]) -> dict[str, int]:
    return _relative(base, cast("dict[str, Any]", fs.glob(pattern, detail=True)), times)


def _relative(base: str, found: dict[str, Any], times: dict[str, float]) -> dict[str, int]:
    prefix = base.rstrip("/") + "/"
    sizes: dict[str, int] = {}
    for path, detail in found.items():
        if detail.get("type") == "file":
            name = path.removeprefix(prefix)
            sizes[name] = int(detail.get("size") or 0)
            if (changed := modified_of(detail)) is not None:
                times[name] = changed
    return sizes


def _data_only(sizes: dict[str, int]) -> dict[str, int]:
    """Of every output in the listing only the data files whose shard is committed."""
    outputs = {name.removesuffix(f"{JOB_FILE}") for name in sizes if f"/{name}".endswith(f"/{JOB_FILE}")}
    return {name: size for name, size in sizes.items() if _is_data(name, outputs, sizes)} if outputs else sizes


def _is_data(name: str, outputs: set[str], sizes: dict[str, int]) -> bool:
    parts = name.split("/")
    for cut in range(len(parts)):
        root = "".join(f"{part}/" for part in parts[:cut])
        if root in outputs:
            shard = parts[-1].rpartition(".")[0]
            return parts[cut] == DATA and f"{root}{part_path(shard)}" in sizes
    return True


def _without_indexes(fs: Any, base: str, sizes: dict[str, int]) -> dict[str, int]:
    """Without the indexes and reports of outputs that a pattern happens to reach."""
    beside: dict[str, str] = {}
    for name in sizes:
        folder, _, file = f"{base}/{name}".rpartition("/")
        above, _, last = folder.rpartition("/")
        if last in (INDEX, REPORT, OWN):
            beside[name] = above
        elif file in (MERGED_INDEX, METRICS_FILE, CARD_FILE):
            beside[name] = folder
    outputs = {root for root in set(beside.values()) if fs.exists(f"{root}/{JOB_FILE}")}
    return {name: size for name, size in sizes.items() if beside.get(name) not in outputs}


def _sifted(
    sizes: dict[str, int], broken: Mapping[str, Finding], cased: Iterable[str]
) -> tuple[dict[str, int], tuple[Finding, ...]]:
    """The files to look at, and findings of those that are none: hidden ones are data for nobody."""
    kept: dict[str, int] = {}
    findings = [broken[name] for name in sorted(broken)]
    reason = "not read: another letter case than the pattern of source.uri; [jJ][pP][gG] matches both, as does a folder"
    findings += [Finding("file", f".{name.rpartition('.')[2]}", reason, 1, (name,)) for name in cased]
    for name, size in sizes.items():
        system = system_file(name)
        if system is not None:
            findings.append(Finding("file", system, "left by macOS or Windows, not data", 1, (name,)))
        elif HIDDEN in name or any(part.startswith((".", OWN)) for part in name.split("/")):
            if is_picture(name) and HIDDEN not in name:
                findings.append(Finding("file", "hidden", "not read: a part of the path begins with a dot", 1, (name,)))
        else:
            kept[name] = size
    return kept, merge(sorted(findings, key=lambda finding: finding.examples))


def list_files(spec: SourceSpec, suffixes: tuple[str, ...]) -> Survey:
    """Every file with one of the suffixes; pictures and tables beside them are reported as not read.

    Raises:
        InputError: nothing found, or two files that share a relative name (their shards would share ids).
    """
    files: dict[str, SourceFile] = {}
    findings: list[Finding] = []
    passed_over: set[str] = set()
    for uri in spec.uris:
        found = found_under(uri, spec)
        matching = {n: size for n, size in found.sizes.items() if without_query(uri, n).lower().endswith(suffixes)}
        if not matching:
            raise InputError(
                f"{redact(uri)}: no {' or '.join(suffixes)} file here ({counted(len(found.sizes), 'other file')})"
            )
        beside = found.sizes.keys() - matching.keys()
        findings += [*found.findings, *_beside(beside, suffixes), *label_files(found.base, beside, spec).findings]
        for listed, size in matching.items():
            address, name = f"{found.base}/{listed}", without_query(uri, listed)
            if listed in found.passed_over:
                passed_over.add(name)
                continue
            # A presigned address is opened as it is, and named without what is secret in it.
            file = SourceFile(uri=address, relative=name, size=size)
            if name in files and files[name].uri != file.uri:
                raise InputError(
                    f"{files[name].uri} and {file.uri} share the name '{name}' relative to their folders; "
                    "list them through one common folder or glob"
                )
            files[name] = file
    return Survey([files[name] for name in sorted(files)], merge(findings), frozenset(passed_over))


_TABLES = (".parquet", ".pq", ".csv", ".tsv", ".jsonl", ".ndjson", ".tar", ".tar.gz", ".tgz")


def _beside(names: Iterable[str], read: tuple[str, ...]) -> Iterable[Finding]:
    """Pictures, tables and archives that lie among the files that are read."""
    for name in sorted(names):
        if is_picture(name) or name.lower().endswith(_TABLES):
            kind = posixpath.splitext(name)[1].lower()
            yield Finding(
                "file", kind, f"this source reads {', '.join(read)} files; `source.format` chooses", 1, (name,)
            )
        elif packed := next((each for each in PACKED if name.lower().endswith(each)), None):
            yield Finding("file", packed, "packed in a way that is not read; unpack first", 1, (name,))
