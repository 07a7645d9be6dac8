"""Listing source files: files, folders and globs of one spec, sorted, with names relative to where they were found."""

from __future__ import annotations

from typing import Any, cast

from fsspec.utils import stringify_path

from methods.errors import InputError
from pipeline.records import SourceFile
from pipeline.spec import SourceSpec
from pipeline.storage import HIDDEN, Store, explained, filesystem, protocol_of, redact

_MAGIC = "*?["


def found_under(uri: str, spec: SourceSpec) -> tuple[str, dict[str, int]]:
    """(base, {path relative to base: bytes}) of a file, folder or glob; base is a full URI without its wildcards.

    Raises InputError when there is nothing.
    """
    fs = filesystem(uri, spec.storage)
    path = stringify_path(fs._strip_protocol(uri))
    with explained(uri):
        if any(c in uri for c in _MAGIC):
            fixed = path.split("/")
            while any(c in "/".join(fixed) for c in _MAGIC):
                fixed.pop()
            base = "/".join(fixed)
            # A glob in a bucket that is not there gives an empty list; say which of the two it is.
            Store(uri, spec.storage).require_bucket()
            found = cast("dict[str, Any]", fs.glob(path, detail=True))
            if not found:
                raise InputError(f"{redact(uri)}: the pattern matches no file; check it with `sceneshift plan`")
        else:
            detail = fs.info(path)
            if detail["type"] == "directory":
                base, found = path, cast("dict[str, Any]", fs.find(path, detail=True))
            else:
                base, found = path.rpartition("/")[0], {path: detail}
    prefix = base.rstrip("/") + "/"
    sizes = {
        name.removeprefix(prefix): int(detail.get("size") or 0)
        for name, detail in found.items()
        if detail.get("type") == "file"
        and not _hidden(name.removeprefix(prefix))
        and _wanted(name.removeprefix(prefix), spec.folders)
    }
    scheme = "" if protocol_of(uri) == "file" else f"{protocol_of(uri)}://"
    return scheme + base, sizes


def _hidden(relative: str) -> bool:
    return HIDDEN in relative or any(part.startswith((".", "_sceneshift")) for part in relative.split("/"))


def _wanted(relative: str, folders: list[str]) -> bool:
    """Whether a file lies below one of the folders; without any, all do."""
    return not folders or any(relative.startswith(f"{folder.strip('/')}/") for folder in folders)


def list_files(spec: SourceSpec, suffixes: tuple[str, ...]) -> list[SourceFile]:
    """Every file with one of the suffixes, sorted by relative name.

    Raises:
        InputError: nothing found, or two files that share a relative name (their shards would share ids).
    """
    files: dict[str, SourceFile] = {}
    for uri in spec.uris:
        base, sizes = found_under(uri, spec)
        matching = {name: size for name, size in sizes.items() if name.lower().endswith(suffixes)}
        if not matching:
            raise InputError(f"{redact(uri)}: no {' or '.join(suffixes)} file here ({len(sizes)} other files)")
        for name, size in matching.items():
            file = SourceFile(uri=f"{base}/{name}", relative=name, size=size)
            if name in files and files[name].uri != file.uri:
                raise InputError(
                    f"{files[name].uri} and {file.uri} share the name '{name}' relative to their folders; "
                    "list them through one common folder or glob"
                )
            files[name] = file
    return [files[name] for name in sorted(files)]
