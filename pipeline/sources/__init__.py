"""Where samples come from: one file per format, all with the same `plan`, `peek`, `count` and `read`."""

from __future__ import annotations

from methods.counting import counted
from methods.errors import InputError
from pipeline.records import SourceFile
from pipeline.sources.base import Source
from pipeline.sources.endings import IMAGE_SUFFIXES, PACKED
from pipeline.sources.folder import FolderSource
from pipeline.sources.layout import Layout, choose
from pipeline.sources.listing import found_under
from pipeline.sources.manifest import LINE_SUFFIXES, TEXT_SUFFIXES, ManifestSource, uri_column
from pipeline.sources.parquet import ParquetSource
from pipeline.sources.webdataset import WebDatasetSource
from pipeline.spec import SourceSpec
from pipeline.storage import redact

__all__ = ["Layout", "Source", "choose", "detect", "open_source"]


def detect(spec: SourceSpec) -> str:
    """The format of a source: as the spec says, else by the names that most files have.

    Raises InputError where nothing is found or nothing is recognised.
    """
    if spec.format != "auto":
        return spec.format
    found = found_under(spec.uris[0], spec)
    names = [name.lower() for name in found.sizes]
    if any(name.endswith((".tar", ".tar.gz", ".tgz")) for name in names):
        return "webdataset"
    if any(name.endswith(tuple(f".{suffix}" for suffix in IMAGE_SUFFIXES)) for name in names):
        return "folder"
    parquet = next((name for name in sorted(found.sizes) if name.lower().endswith((".parquet", ".pq"))), None)
    if parquet is not None:
        try:
            seen = ParquetSource(spec).peek(SourceFile(f"{found.base}/{parquet}", parquet))
        except InputError:
            raise
        except Exception:
            # Damaged; whether another file is whole will be seen when the layout is resolved.
            return "parquet"
        # A column of another type called ``image`` holds the pictures, or what an output of ours says of them.
        texts = [name for name, kind in seen.kinds.items() if kind == "string"]
        pictures = seen.own is not None or "binary" in seen.kinds.values()
        return "manifest" if not pictures and uri_column(texts) else "parquet"
    if any(name.endswith((*TEXT_SUFFIXES, *LINE_SUFFIXES)) for name in names):
        return "manifest"
    what = (
        f"{counted(len(names), 'file')}, none of them a tar, Parquet, CSV, JSON Lines or image file"
        if names
        else "nothing here"
    )
    archives = [name for name in found.sizes if name.lower().endswith(PACKED)]
    if archives:
        what += f" ({archives[0]} is an archive that is not read: unpack it)"
    raise InputError(f"{redact(spec.uris[0])}: {what}; check `source.uri`")


def open_source(spec: SourceSpec, format: str, shard_size: int, known: tuple[SourceFile, ...] = ()) -> Source:
    """The source of a known format. ``known`` are the groups of loose images that an earlier plan has fixed."""
    if format == "folder":
        return FolderSource(spec, shard_size, known)
    return {"webdataset": WebDatasetSource, "parquet": ParquetSource, "manifest": ManifestSource}[format](spec)
