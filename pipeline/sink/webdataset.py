"""A shard as one WebDataset tar whose bytes depend on its rows alone (no clock, no user, fixed order)."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pipeline.labels.record import to_record
from pipeline.records import Kind, Row
from pipeline.sources.columns import type_of
from pipeline.sources.endings import IMAGE_SUFFIXES
from pipeline.sources.jsonable import to_json
from pipeline.sources.layout import Layout
from pipeline.sources.outputs import TAR_HEADER, note_of


@dataclass(frozen=True)
class TarNames:
    """Suffixes of the members of a sample in an output.

    Attributes:
        image, caption: of the translated picture, and of its caption.
        record: of the JSON with key, seed, size, labels and the columns that are no members. It is ``json``, unless the
            source has a member of this name that passes through.
        members: passed-through name -> suffix of the member that it is.
        columns: passed-through name -> kind of those that stand in the record.
    """

    image: str
    caption: str
    record: str
    members: dict[str, str]
    columns: dict[str, Kind]


def tar_names(layout: Layout, suffix: str) -> TarNames:
    """What the members of an output's samples are called. Members of the source keep their names.

    Only a member that is called like the translated picture, or like a mask, gets ``carried.`` in front.
    """
    members = [name for name, kind in layout.carry.items() if kind in ("binary", "text") and "/" not in name]
    record = "json" if "json" not in members else "sceneshift.json"
    caption = next(name for name in ("txt", "caption.txt", "sceneshift.txt") if name not in members)
    taken = {suffix, record, caption, layout.target, *layout.masks}
    return TarNames(
        suffix,
        caption,
        record,
        {name: f"carried.{name}" if name in taken else name for name in members},
        {name: kind for name, kind in layout.carry.items() if name not in members},
    )


def tar_layout(layout: Layout, suffix: str, pairs: bool, variants: int) -> Layout:
    """The layout that a tar says of itself, for a job that takes it as its source."""
    names = tar_names(layout, suffix)
    members = {names.members[name]: layout.carry[name] for name in names.members}
    return Layout(
        image=suffix,
        target=layout.target,
        caption=names.caption,
        labels=names.record,
        masks=layout.masks,
        carry=members | names.columns | ({"source": "binary"} if pairs else {}),
        variants=variants,
        record=names.record,
    )


def member_stem(key: str, variant: int, variants: int) -> str:
    """The base name of a sample's members. Readers cut names at the first dot, so dots in a key are replaced."""
    folder, slash, base = key.rpartition("/")
    if "." in base:
        base = f"{base.replace('.', '_')}-{hashlib.sha256(key.encode()).hexdigest()[:6]}"
    return f"{folder}{slash}{base}" + (f"_v{variant}" if variants > 1 else "")


def write_webdataset(
    rows: Sequence[Row], layout: Layout, suffix: str, pairs: bool, variants: int = 1
) -> tuple[bytes, list[dict[str, int]]]:
    """(tar bytes, {row, offset, size} of each picture); ``rows`` are the ok ones, in order."""
    file = io.BytesIO()
    places: list[dict[str, int]] = []
    names = tar_names(layout, suffix)
    header = {TAR_HEADER: note_of(tar_layout(layout, suffix, pairs, variants))}
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT, pax_headers=header) as archive:
        for number, row in enumerate(rows):
            stem = member_stem(row.key, row.variant, variants)
            assert row.image is not None
            offset = _add(archive, f"{stem}.{suffix}", row.image)
            places.append({"row": number, "offset": offset, "size": len(row.image)})
            for name, data in _others(row, names, pairs):
                _add(archive, f"{stem}.{name}", data)
    return file.getvalue(), places


def _others(row: Row, names: TarNames, pairs: bool) -> Iterator[tuple[str, bytes]]:
    """(suffix, bytes) of a sample's members beside its picture."""
    if row.caption is not None:
        yield names.caption, row.caption.encode()
    if pairs and row.source_image is not None:
        yield f"source.{image_suffix(row.source_image)}", row.source_image
    for name, data in row.masks.items():
        yield _with_suffix(name, data), data
    for name, member in names.members.items():
        value = row.passthrough.get(name)
        if value is not None:
            yield member, value if isinstance(value, bytes) else str(value).encode()
    yield names.record, json.dumps(record_of(row, names.columns), ensure_ascii=False).encode()


def record_of(row: Row, columns: dict[str, Kind]) -> dict[str, Any]:
    """The record of one sample; ``columns`` are the passed-through ones that it holds."""
    tree: dict[str, Any] = {} if row.labels is None else to_record(row.labels)
    tree |= {"key": row.key, "variant": row.variant, "seed": row.seed, "width": row.width, "height": row.height}
    if row.labels_raw is not None:
        tree["labels_raw"] = row.labels_raw
    values = {name: to_json(row.passthrough.get(name), type_of(kind)) for name, kind in columns.items()}
    values = {name: value for name, value in values.items() if value is not None}
    return tree | ({"columns": values} if values else {})


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> int:
    info = tarfile.TarInfo(name)
    info.size, info.mtime, info.mode = len(data), 0, 0o644
    header = len(info.tobuf(archive.format or tarfile.PAX_FORMAT, archive.encoding or "utf-8", "surrogateescape"))
    offset = archive.offset + header
    archive.addfile(info, io.BytesIO(data))
    return offset


def image_suffix(data: bytes) -> str:
    """File ending by the first bytes of an image file."""
    if data.startswith(b"\xff\xd8"):
        return "jpg"
    if data.startswith(b"\x89PNG"):
        return "png"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[:2] in (b"II", b"MM"):
        return "tif"
    if data[4:8] == b"ftyp":
        return "avif" if b"avif" in data[8:32] else "heic"
    if data[:1] == b"P":
        return "ppm"
    return "gif" if data[:3] == b"GIF" else "bmp"


def _with_suffix(name: str, data: bytes) -> str:
    return name if name.rsplit(".", 1)[-1] in IMAGE_SUFFIXES else f"{name}.{image_suffix(data)}"
