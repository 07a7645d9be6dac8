"""Hostile input, made from a seed: archives, tables, pictures, labels, specs, expressions and weights that lie.

``python -m tests.support.hostile KIND CASES SEED`` feeds so many cases of one kind to the code that reads them, in a
process of its own, and prints how many were refused and the peak of its memory in MiB. Whatever escapes ends it with a
traceback that names the case.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import pickle
import random
import resource
import struct
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from methods.errors import BadSample, InputError
from pipeline import codec
from pipeline.sources import open_source
from pipeline.sources.peek import resolve_layout
from pipeline.spec import SourceSpec
from tests.support.datasets import encoded, picture

MOST_MIB = 1536
SHARD = 8
NAMES = (
    *("../../etc/passwd", "/etc/shadow", "a/../../b", "C:\\windows\\x", "~/.ssh/id", "con", "", ".", "..", "a" * 5000),
    *("<script>alert(1)</script>", "a\x00b", "a\nb", "=cmd|'/c calc'!A1", "{{7*7}}", "%s%n", "\u202egpj.a", "é" * 300),
    *("$(reboot)", "`id`", "a;b", "'\"", "file:///etc/passwd", "s3://x/y", "\x1b[2J"),
)


def one_line(error: Exception) -> int:
    """1, for one case that was refused, in one line."""
    if "\n" in str(error):
        raise AssertionError(f"not one line: {error}")
    return 1


def broken(data: bytes, rng: random.Random, most: int = 4) -> bytes:
    """A copy with bytes flipped, cut out, repeated, moved or put in."""
    made = bytearray(data)
    for _ in range(rng.randint(1, most)):
        at = rng.randrange(len(made) + 1)
        size = min(len(made) - at, rng.choice((1, 1, 2, 8, 64, 512, len(made))))
        how = rng.random()
        if how < 0.4 and size:
            made[at] = rng.randrange(256)
        elif how < 0.55:
            del made[at : at + size]
        elif how < 0.7:
            made[at:at] = made[at : at + size]
        elif how < 0.85:
            made[at : at + size] = rng.choice((b"\xff", b"\x00", b"\x7f")) * size
        else:
            made[at:at] = rng.randbytes(min(size, 64))
    return bytes(made)


def read_source(path: Path, format: str, files: Collection[Path] = ()) -> int:
    """Read a source as a job does: look, settle the layout, go through every shard; how many rows were rejected."""
    spec = SourceSpec(uri=str(path))
    layout = resolve_layout(spec, format, SHARD)
    source = open_source(spec, format, SHARD)
    rejected = 0
    for file in source.plan():
        for shard in source.read(file, layout, SHARD):
            for sample in shard.samples:
                if sample.problem is not None:
                    rejected += 1
                    assert "\n" not in sample.problem.message, sample.problem.message
                    continue
                assert sample.image is not None
                try:
                    codec.decode(sample.image, max_pixels=1 << 22)
                except BadSample:
                    rejected += 1
            del shard
    return rejected


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


def label_case(folder: Path, rng: random.Random) -> int:
    """As the fuzz of the label readers, and documents that are deep, long, or full of numbers that are none."""
    from pipeline.labels import parse_sample
    from tests.pipeline.labels import test_fuzz

    if rng.random() < 0.9:
        return 1 - test_fuzz.fuzz(folder, 1, rng.randrange(2**31))
    deep = rng.choice((100, 990, 5000, 100_000))
    text = rng.choice(
        (
            "[" * deep + "]" * deep,
            '{"annotations":' + "[" * deep,
            '{"a":' * deep + "1" + "}" * deep,
            json.dumps({"annotations": [{"bbox": [0, 0, 1, 1], "category_id": 10**deep if deep < 4000 else 7}]}),
            json.dumps({"annotations": [{"segmentation": {"size": [2**31, 2**31], "counts": [2**62]}}]}),
            '{"annotations":[{"bbox":[NaN,Infinity,-Infinity,1]}],"width":NaN}',
            json.dumps({"annotations": [{"segmentation": [[float(n) for n in range(deep * 2)]]}]}),
            "<annotation>" + "<object>" * deep,
        )
    )
    try:
        parse_sample(text)
    except BadSample as error:
        return one_line(error)
    return 0


_SPEC = """name: a
source: {uri: IN, labels: {format: coco, uri: L}, types: {a: int64}}
method: {name: cyclegan_turbo, preset: day_to_night, params: {}}
output: {uri: OUT, format: parquet, image: {format: jpeg, quality: 95}}
metrics: [ssim]
keep: "ssim > 0.5"
compute: {workers: [1, 2], gpus: 0}
seed: 0
"""
_YAML = (
    *(
        "&a [*a]",
        "*a",
        "<<: *b",
        "!!python/object/apply:os.system [id]",
        "2020-13-45",
        "1e999",
        ".nan",
        "0x",
        "0o9",
        "~",
    ),
    *(
        "{" * 200,
        "[" * 5000,
        "- " * 50,
        "? ",
        "|\n  x",
        ">-",
        "%YAML 9.9",
        "---",
        "\ud7ff",
        "\x00",
        "\x85",
        "$HOME",
        "${X",
    ),
    *('"\\ud800"', "'", '"', ": ", "#", "@", "\t", "http://u:p@h:99999/x?y", "s3://", "file://", "::1", "2**64", "[1,"),
)


def spec_case(folder: Path, rng: random.Random) -> int:
    """Job files with pieces of YAML put in, lines swapped and values of other kinds."""
    from pipeline.spec import JobSpec

    text = _SPEC.replace("IN", str(folder)).replace("OUT", str(folder / "out"))
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(text) + 1)
        end = min(len(text), at + rng.choice((0, 0, 1, 5, 30)))
        text = text[:at] + rng.choice((*_YAML, *NAMES, text[at:end] * 2, "")) + text[end:]
    if rng.random() < 0.03:
        text = (
            "a: &a [x,x]\n"
            + "".join(f"b{n}: &b{n} [*{'a' if not n else f'b{n - 1}'},{'*a'}]\n" for n in range(60))
            + text
        )
    path = folder / "job.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        JobSpec.load(
            path, [f"{rng.choice(('seed', 'a.b', 'output.uri', ''))}={rng.choice(_YAML)}"] if rng.random() < 0.2 else []
        )
    except InputError as error:
        return one_line(error)
    return 0


_WORDS = (
    *(
        "ssim",
        "psnr",
        "and",
        "or",
        "not",
        "<",
        ">",
        "==",
        "0.5",
        "1e999",
        "(",
        ")",
        "in",
        "is",
        "None",
        "__import__",
        ".",
    ),
    *(
        "lambda",
        ":",
        "[",
        "]",
        "{",
        "}",
        "**",
        "*",
        "-",
        "%",
        "'a'",
        "for",
        "x",
        "if",
        "else",
        ":=",
        "@",
        "~",
        "0x",
        "\x00",
    ),
    *("os", "system", "9" * 400, "True", "await", "f'{1}'", "...", ",", "#", "é", "(" * 120, "-" * 300, "not " * 90),
)


def keep_case(folder: Path, rng: random.Random) -> int:
    """Words of the keep language, of Python and of neither, in any order."""
    from pipeline.keep import KeepExpression

    text = " ".join(rng.choice(_WORDS) for _ in range(rng.randint(0, 12)))
    if rng.random() < 0.5:
        parts = [f"{rng.choice(('ssim', 'psnr'))} {rng.choice(('<', '>=', '!='))} {rng.random():.3g}" for _ in range(3)]
        text = f" {rng.choice(('and', 'or'))} ".join(rng.sample(parts, rng.randint(1, 3)))
        text = text if rng.random() < 0.5 else broken(text.encode(), rng, 1).decode("latin-1")
    try:
        found = KeepExpression.parse(text, {"ssim", "psnr"})
        found.keeps({"ssim": rng.choice((0.5, float("nan"), 1e308)), "psnr": rng.choice((0.0, -1.0, 1e-320))})
    except InputError as error:
        return one_line(error)
    return 0


class _Runs:
    """What a pickle of it would do, were it loaded."""

    def __reduce__(self) -> Any:
        return os.mkdir, ("ran-by-a-pickle",)


def weights_case(folder: Path, rng: random.Random) -> int:
    """safetensors whose headers lie, pickles that hold code, zip files of all kinds."""
    from methods.nn import tensor_file

    path = folder / "w.bin"
    how = rng.randrange(4)
    if how == 0:
        header: Any = {"a": {"dtype": rng.choice(("F32", "F64", "X")), "shape": [2, rng.choice((2, -1, 2**40))]}}
        header["a"]["data_offsets"] = rng.choice(([0, 16], [0, 2**40], [8, 0], [-1, 4], "x"))
        text = json.dumps(header).encode()
        claimed = rng.choice((len(text), 2**31, 2**63 - 1, 0, len(text) * 1000))
        data = struct.pack("<Q", claimed) + text + bytes(16)
    elif how == 1:
        data = pickle.dumps(rng.choice((_Runs(), {"a": _Runs()}, [1] * 100, "x" * 50)), protocol=rng.randint(0, 5))
    elif how == 2:
        out = io.BytesIO()
        with zipfile.ZipFile(out, "w", rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))) as archive:
            for name in rng.sample(
                ("archive/data.pkl", "archive/data/0", "archive/version", "../x", "archive/byteorder"), 3
            ):
                archive.writestr(name, rng.choice((pickle.dumps(_Runs()), b"3\n", bytes(1 << 16), b"")))
        data = out.getvalue()
    else:
        data = _TENSORS
    path.write_bytes(broken(data, rng) if rng.random() < 0.5 else data)
    refused = 0
    for read in (
        tensor_file.read_pickle,
        tensor_file.read_safetensors,
        tensor_file.read_tensors,
        tensor_file.read_metadata,
    ):
        try:
            read(path)
        except InputError as error:
            refused = one_line(error)
    assert not Path("ran-by-a-pickle").exists()
    return refused


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


def _tensors() -> bytes:
    import torch

    out = io.BytesIO()
    torch.save({"a": torch.arange(64.0), "b": {"c": torch.zeros(3)}}, out)
    return out.getvalue()


KINDS: dict[str, Callable[[Path, random.Random], int]] = {
    "tar": tar_case,
    "parquet": parquet_case,
    "image": image_case,
    "label": label_case,
    "spec": spec_case,
    "keep": keep_case,
    "weights": weights_case,
}
_SMALL = encoded(picture(1, (16, 16)), "PNG")
_PICTURES = _pictures() if "image" in sys.argv else {}
_TENSORS = _tensors() if "weights" in sys.argv else b""


def main(kind: str, cases: int, seed: int) -> None:
    """Feed the cases; print (refused, peak in MiB)."""
    refused = 0
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        for case in range(cases):
            folder = Path(name) / "case"
            folder.mkdir(exist_ok=True)
            for old in folder.rglob("*"):
                if old.is_file():
                    old.unlink()
            try:
                refused += bool(KINDS[kind](folder, random.Random(f"{kind} {seed} {case}")))
            except InputError as error:
                refused += one_line(error)
            except Exception as error:
                raise AssertionError(f"{kind}: case {case} of seed {seed}") from error
    print(json.dumps([refused, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024]))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
