"""Small datasets for tests: pictures with known content, packed in every source format."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image


def picture(seed: int, size: tuple[int, int] = (48, 32)) -> np.ndarray:
    """(H, W, 3) uint8: smooth colour and a few boxes, so that JPEG keeps it close."""
    rng = np.random.default_rng(seed)
    width, height = size
    y, x = np.mgrid[0:height, 0:width]
    base = np.stack([x * 200 / width, y * 200 / height, (x + y) * 100 / (width + height)], -1) + rng.integers(0, 40)
    for _ in range(3):
        left, top = rng.integers(0, width - 8), rng.integers(0, height - 8)
        base[top : top + 8, left : left + 8] = rng.integers(0, 255, 3)
    return base.clip(0, 255).astype(np.uint8)


def encoded(pixels: np.ndarray, format: str = "JPEG", **options) -> bytes:
    """The picture as an image file."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format, **({"quality": 95} if format == "JPEG" else {}), **options)
    return out.getvalue()


def label_map(seed: int, size: tuple[int, int] = (48, 32)) -> bytes:
    """A label map PNG with ids 0 to 18."""
    rng = np.random.default_rng(seed)
    return encoded(rng.integers(0, 19, (size[1], size[0])).astype(np.uint8), "PNG")


def write_tar(path: Path, samples: Mapping[str, Mapping[str, bytes]]) -> Path:
    """A WebDataset tar: key -> suffix -> bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as archive:
        for key, members in samples.items():
            for suffix, data in members.items():
                info = tarfile.TarInfo(f"{key}.{suffix}")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
    return path


def street_samples(names: Sequence[str], size: tuple[int, int] = (48, 32)) -> dict[str, dict[str, bytes]]:
    """Samples with picture, caption and label map; the picture depends on the name alone."""
    return {
        name: {
            "jpg": encoded(picture(sum(name.encode()), size)),
            "txt": f"a street called {name}".encode(),
            "seg.png": label_map(sum(name.encode()), size),
        }
        for name in names
    }


def write_tars(folder: Path, files: int, samples: int, size: tuple[int, int] = (48, 32)) -> list[str]:
    """``files`` tars of ``samples`` each; returns all keys in order."""
    keys: list[str] = []
    for number in range(files):
        names = [f"s{number}{n:03d}" for n in range(samples)]
        write_tar(folder / f"part-{number:02d}.tar", street_samples(names, size))
        keys += names
    return keys


def write_parquet(path: Path, samples: Mapping[str, Mapping[str, bytes]], row_group_size: int = 5) -> Path:
    """The same samples as a Parquet file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(
        {
            "key": list(samples),
            "image": [each["jpg"] for each in samples.values()],
            "caption": [each["txt"].decode() for each in samples.values()],
            "seg": [each["seg.png"] for each in samples.values()],
            "city": [f"city {n % 3}" for n in range(len(samples))],
            "frame": list(range(len(samples))),
        }
    )
    pq.write_table(table, path, row_group_size=row_group_size)
    return path


def read_tree(root: Path, *folders: str) -> dict[str, bytes]:
    """Every file below some folders of an output, by relative path."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for folder in folders
        for path in sorted((root / folder).rglob("*"))
        if path.is_file()
    }


def index_parts(root: Path) -> list[str]:
    """Names of the committed index parts of an output; what a killed process left half-written is none."""
    return sorted(path.name for path in (root / "index").glob("[!.]*"))
