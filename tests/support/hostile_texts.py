"""Labels, specs, expressions and weights that lie, made from a seed."""

from __future__ import annotations

import io
import json
import os
import pickle
import random
import struct
import sys
import zipfile
from pathlib import Path
from typing import Any

from methods.errors import BadSample, InputError
from tests.support.datasets import encoded, picture
from tests.support.hostile_tools import NAMES, broken, one_line


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


def _tensors() -> bytes:
    import torch

    out = io.BytesIO()
    torch.save({"a": torch.arange(64.0), "b": {"c": torch.zeros(3)}}, out)
    return out.getvalue()


_SMALL = encoded(picture(1, (16, 16)), "PNG")
_TENSORS = _tensors() if "weights" in sys.argv else b""
