"""What two small jobs gave when they were recorded, in a form that another machine gives as well.

    python -m tests.support.recorded    # records anew, after a change that is meant to change outputs

Of the exact method (integers in, integers out, PNG) that is a checksum of all rows of data/ and index/, with pixels in
place of compressed pictures: versions of an encoder do not count, everything else does. Of the bundled network it is
the mean of blocks of pixels, because float arithmetic differs by a grey level between processors.
"""

from __future__ import annotations

import hashlib
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from jobs.streets.dataset import write_dataset
from pipeline.run.driver import run_job
from pipeline.spec import JobSpec
from tests.support.datasets import encoded, label_map, picture, write_tar
from tests.support.jobs import job

RECORD = Path(__file__).resolve().parents[1] / "golden" / "outputs" / "case.json"
BLOCK = 8
_OF_A_PLACE = ("source_uri", "sha256", "fingerprint", "offset", "size")
"""Columns that hold a path of this machine, or depend on an encoder or on the list of settings."""


def exact_job(folder: Path, out: Path) -> JobSpec:
    """Eleven pictures with labels, captions and a label map through ``invert``, two variants each, in small shards."""
    samples = {}
    for number in range(11):
        box = {"bbox": [2.0 + number, 3.0, 10.5, 12.0], "category_id": 1, "area": 126.0, "iscrowd": 0}
        samples[f"town/{number:02d}"] = {
            "png": encoded(picture(number), "PNG"),
            "txt": f"street {number}".encode(),
            "seg.png": label_map(number),
            "json": json.dumps({"annotations": [box]}).encode(),
        }
    write_tar(folder / "streets.tar", samples)
    return job(folder, out, variants=2, output__shard_size=4, metrics=["psnr"], seed=7)


def network_job(folder: Path, out: Path) -> JobSpec:
    """Three rendered scenes by day through the bundled model."""
    if not (folder / "day").exists():
        write_dataset(str(folder), 3, (64, 64), ["day"], 88_000, "webdataset", workers=1, lossless=True)
    method = {"name": "cyclegan_turbo", "preset": "street_day_to_night"}
    return job(folder / "day", out, method=method, output__shard_size=2)


def content_digest(out: Path) -> str:
    """SHA-256 of every row of data/ and index/, in the order of shards and rows, pictures as their pixels."""
    digest = hashlib.sha256()
    for path in sorted([*(out / "data").glob("*.parquet"), *(out / "index").glob("*.parquet")]):
        digest.update(f"{path.parent.name}/{path.name}\n".encode())
        for row in pq.read_table(path).to_pylist():
            plain = {name: _plain(value) for name, value in row.items() if name not in _OF_A_PLACE}
            digest.update(json.dumps(plain, sort_keys=True).encode() + b"\n")
    return digest.hexdigest()


def block_means(out: Path) -> dict[str, list[float]]:
    """Per picture the mean grey levels of its 8x8 blocks, row by row, colour by colour."""
    found = {}
    for path in sorted((out / "data").glob("*.parquet")):
        for row in pq.read_table(path, columns=["key", "image"]).to_pylist():
            pixels = np.asarray(Image.open(io.BytesIO(row["image"])).convert("RGB")).astype(float)
            height, width = (side // BLOCK for side in pixels.shape[:2])
            means = pixels.reshape(height, BLOCK, width, BLOCK, 3).mean((1, 3))
            found[row["key"]] = [round(float(value), 1) for value in means.ravel()]
    return found


def _plain(value: Any) -> Any:
    if not isinstance(value, bytes):
        return value
    pixels = np.asarray(Image.open(io.BytesIO(value)))
    return [list(pixels.shape), hashlib.sha256(pixels.tobytes()).hexdigest()]


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        run_job(exact_job(folder / "exact", folder / "exact-out"), local=True)
        run_job(network_job(folder / "network", folder / "network-out"), local=True)
        about = "Outputs of two small jobs; how they are made and compared stands in tests/support/recorded.py."
        record = {
            "about": about,
            "exact": content_digest(folder / "exact-out"),
            "tolerance": 1.5,
            "network": block_means(folder / "network-out"),
        }
    RECORD.parent.mkdir(parents=True, exist_ok=True)
    RECORD.write_text(json.dumps(record) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
