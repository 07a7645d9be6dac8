"""Archives, tables and pictures that lie, made from a seed."""

from __future__ import annotations

import contextlib
import gzip
import io
import random
import struct
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from methods.errors import BadSample
from pipeline import codec
from tests.support.datasets import encoded, picture
from tests.support.hostile_tools import NAMES, broken, one_line, read_source


def tar_case(folder: Path, rng: random.Random) -> int:
    """Members whose headers lie in every field, with their checksum right or wrong; links, devices, PAX, gzip."""
    out = io.BytesIO()
    form = rng.choice((tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT))
    with tarfile.open(fileobj=out, mode="w", format=form, errors="replace") as archive:
        for number in range(rng.randint(1, 6)):
            name = rng.choice(NAMES).replace("\x00", "") if rng.random() < 0.3 else f"{number:03d}"
            data = _SMALL if rng.random() < 0.8 else rng.randbytes(rng.randrange(200))
            info = tarfile.TarInfo(f"{name}.{rng.choice(('jpg', 'jpg', 'json', 'seg.png', 'txt'))}"[:90])
            info.size = len(data)
            if rng.random() < 0.2:
                info.type = rng.choice((tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE))
                info.type = rng.choice((info.type, tarfile.FIFOTYPE, tarfile.DIRTYPE, tarfile.CONTTYPE))
                info.linkname, info.size = rng.choice(NAMES).replace("\x00", "")[:90], 0
            if rng.random() < 0.2 and form == tarfile.PAX_FORMAT:
                key = rng.choice(("size", "path", "GNU.sparse.size", "GNU.sparse.map", "mtime", "charset"))
                info.pax_headers = {key: rng.choice(("-1", "9" * 30, "x", "1e999", "0," * 50, "../x"))}
            with contextlib.suppress(ValueError):
                # Some of the names do not fit into the format, which is no matter of the reader.
                archive.addfile(info, io.BytesIO(data))
    made = bytearray(out.getvalue())
    for at in range(0, len(made) - 512, 512):
        if made[at + 257 : at + 262] == b"ustar" and rng.random() < 0.4:
            _lie(made, at, rng)
    data = broken(bytes(made), rng) if rng.random() < 0.3 else bytes(made)
    if rng.random() < 0.25:
        data = gzip.compress(data)
        data = broken(data, rng) if rng.random() < 0.6 else data
    path = folder / ("a.tar.gz" if data[:2] == b"\x1f\x8b" else "a.tar")
    path.write_bytes(data)
    return read_source(path, "webdataset")


def _lie(made: bytearray, at: int, rng: random.Random) -> None:
    """One field of the header at this place, and the checksum set right again."""
    field, size = rng.choice(((0, 100), (100, 8), (108, 8), (124, 12), (136, 12), (156, 1), (157, 100), (345, 155)))
    if field == 124:
        value = rng.choice((b"77777777777\0", b"\x80" + (2**60).to_bytes(11, "big"), b"\xff" * 12, b"-1\0".ljust(12)))
    elif field == 156:
        value = rng.choice((b"S", b"x", b"g", b"L", b"K", b"5", b"1", b"2", b"V", b"\xff"))
    else:
        value = rng.choice((rng.randbytes(size), b"\xff" * size, b"9" * size, b"/" * size))
    made[at + field : at + field + size] = value[:size].ljust(size, b"\0")
    made[at + 148 : at + 156] = b" " * 8
    made[at + 148 : at + 156] = b"%06o\0 " % sum(made[at : at + 512])


def parquet_case(folder: Path, rng: random.Random) -> int:
    """Schemas of any shape, values that unpack a thousandfold, footers that claim 2**31 rows, damage anywhere."""
    rows = rng.randint(1, 12)
    columns: dict[str, Any] = {"image": [_SMALL] * rows}
    if rng.random() < 0.01:
        bomb = pa.array([bytes(rng.choice((1 << 20, 48 << 20)))])
        columns["image"] = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int8()), bomb)
    if rng.random() < 0.5:
        columns[rng.choice(("key", "id", "name"))] = [
            rng.choice((*NAMES, str(n))).replace("\x00", "") for n in range(rows)
        ]
    for _ in range(rng.randint(0, 3)):
        name = rng.choice(("objects", "labels", "caption", "json", "variant", "a b", "width", "__index_level_0__"))
        columns[name] = rng.choice(_VALUES)(rows)
    metadata = {
        rng.choice((b"huggingface", b"sceneshift", b"pandas")): rng.choice((b"{}", b"[", b"\xff\xfe", b'{"info":3}'))
    }
    try:
        table = pa.table(columns).replace_schema_metadata(metadata if rng.random() < 0.4 else None)
        out = io.BytesIO()
        packed = pa.types.is_dictionary(table.schema.field("image").type)
        compression = rng.choice(("zstd", "gzip") if packed else ("snappy", "zstd", "gzip", "none"))
        pq.write_table(table, out, row_group_size=rng.randint(1, rows), compression=compression)
    except (pa.ArrowException, OverflowError):
        return 0
    data = out.getvalue()
    how = rng.random()
    if how < 0.35:
        data = _footer_lie(data, rng)
    elif how < 0.7 and len(data) < 1 << 20:
        data = broken(data, rng)
    path = folder / "a.parquet"
    path.write_bytes(data)
    return read_source(path, "parquet")


def _footer_lie(data: bytes, rng: random.Random) -> bytes:
    """A footer with numbers of its own, its length right: rows, sizes and places that are not there."""
    (size,) = struct.unpack("<I", data[-8:-4])
    body, footer = data[: -8 - size], bytearray(data[-8 - size : -8])
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(footer))
        value = rng.choice((2**31, 2**31 - 1, 2**33, 2**62, 0, 1, 3)) << 1
        varint = bytearray()
        while value > 127:
            varint.append(value & 127 | 128)
            value >>= 7
        varint.append(value)
        footer[at : at + rng.randint(0, 3)] = varint
    return body + bytes(footer) + struct.pack("<I", len(footer)) + b"PAR1"


_VALUES: tuple[Callable[[int], Any], ...] = (
    lambda rows: pa.array([{"bbox": [[1.0, float("nan"), -1.0, 1e308]], "category": [2**40]}] * rows),
    lambda rows: pa.array([[{"bbox": [1.0, 2.0]}]] * rows),
    lambda rows: pa.array(['{"annotations": [{"bbox": [1e999]}]}'] * rows),
    lambda rows: pa.array([b"\xff\xfe"] * rows),
    lambda rows: pa.array([2**64 - 1] * rows, pa.uint64()),
    lambda rows: pa.array([None] * rows),
    lambda rows: pa.array([-(2**62)] * rows, pa.timestamp("ns")),
    lambda rows: pa.array([[(1, 2)]] * rows, pa.map_(pa.int8(), pa.int8())),
    lambda rows: pa.array(["\U0010ffff<b>"] * rows).dictionary_encode(),
)


def image_case(folder: Path, rng: random.Random) -> int:
    """Damaged pictures of every format that is read, cut, spliced and joined to each other."""
    kind = rng.choice(list(_PICTURES))
    data = _PICTURES[kind]
    how = rng.random()
    if how < 0.15:
        data = data[: rng.randrange(len(data) + 1)]
    elif how < 0.3:
        other = _PICTURES[rng.choice(list(_PICTURES))]
        data = data[: rng.randrange(40)] + other[rng.randrange(40) :]
    else:
        data = broken(data, rng)
    try:
        found = codec.decode(data, max_pixels=1 << 22).pixels
        assert found.ndim == 3
        assert found.dtype == np.uint8
        codec.decode_mask(data, max_pixels=1 << 22)
    except BadSample as error:
        return one_line(error)
    return 0


def _pictures() -> dict[str, bytes]:
    rgb = Image.fromarray(picture(1))
    made = {}
    for kind, options in (("JPEG", {}), ("PNG", {}), ("WEBP", {}), ("BMP", {}), ("TIFF", {"compression": "tiff_lzw"})):
        out = io.BytesIO()
        rgb.save(out, kind, **options)
        made[kind] = out.getvalue()
    for kind in ("GIF", "PPM", "AVIF"):
        out = io.BytesIO()
        rgb.convert("P" if kind == "GIF" else "RGB").save(out, kind)
        made[kind] = out.getvalue()
    made["PNG16"] = codec.encode_mask(np.arange(48 * 32, dtype=np.uint16).reshape(32, 48))
    exif = Image.Exif()
    exif[0x112], exif[0x10E] = 6, "x" * 300
    out = io.BytesIO()
    rgb.save(out, "JPEG", exif=exif.tobytes(), progressive=True)
    made["EXIF"] = out.getvalue()
    return made


_SMALL = encoded(picture(1, (16, 16)), "PNG")
_PICTURES = _pictures() if "image" in sys.argv else {}
