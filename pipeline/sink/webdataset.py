"""A shard as one WebDataset tar whose bytes depend on its rows alone (no clock, no user, fixed order)."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Sequence
from typing import Any

from pipeline.records import Row
from pipeline.sources.layout import IMAGE_SUFFIXES, Layout


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
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for number, row in enumerate(rows):
            stem = member_stem(row.key, row.variant, variants)
            assert row.image is not None
            offset = _add(archive, f"{stem}.{suffix}", row.image)
            places.append({"row": number, "offset": offset, "size": len(row.image)})
            if row.caption is not None:
                _add(archive, f"{stem}.txt", row.caption.encode())
            if pairs and row.source_image is not None:
                _add(archive, f"{stem}.source.{image_suffix(row.source_image)}", row.source_image)
            for name, data in row.masks.items():
                _add(archive, f"{stem}.{_with_suffix(name, data)}", data)
            scalars = {}
            for name, value in row.passthrough.items():
                if isinstance(value, bytes):
                    _add(archive, f"{stem}.{name}", value)
                elif value is not None:
                    scalars[name] = value
            _add(archive, f"{stem}.json", _description(row, scalars))
    return file.getvalue(), places


def _description(row: Row, scalars: dict[str, Any]) -> bytes:
    tree: dict[str, Any] = {"key": row.key, "variant": row.variant, "seed": row.seed}
    tree |= {"width": row.width, "height": row.height}
    if row.labels is not None:
        tree |= {k: v for k, v in row.labels.items() if k not in ("width", "height")}
    if scalars:
        tree["columns"] = scalars
    return json.dumps(tree, sort_keys=True, ensure_ascii=False).encode()


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
    return "gif" if data[:3] == b"GIF" else "bmp"


def _with_suffix(name: str, data: bytes) -> str:
    return name if name.rsplit(".", 1)[-1] in IMAGE_SUFFIXES else f"{name}.{image_suffix(data)}"
