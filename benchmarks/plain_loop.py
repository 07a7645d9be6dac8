"""What the pipeline is measured against: the script that one would write by hand, one sample after another.

Same decoder, same method, same batch size, same metrics, same encoder, and tars out; no threads, no index, no
checksums, no resume.
"""

from __future__ import annotations

import io
import os
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from methods.base import Batch, Inputs, Method, sample_seed, to_uint8
from pipeline import codec
from pipeline.metrics.base import Metric, Pictures


def read(tars: list[Path]) -> Iterator[tuple[str, bytes]]:
    """(key, JPEG) of every sample."""
    for path in tars:
        with tarfile.open(path) as archive:
            for member in archive:
                file = archive.extractfile(member)
                assert file is not None
                yield member.name.partition(".")[0], file.read()


def plain_loop(
    tars: list[Path], out: Path, method: Method, metrics: list[Metric], batch_size: int, shard: int
) -> float:
    """Translate the tars into tars of ``shard`` samples; the images it did a second."""
    out.mkdir(parents=True)
    began = time.perf_counter()
    done = 0
    finished: list[tuple[str, bytes]] = []
    waiting: list[tuple[str, bytes]] = []

    def flush(last: bool) -> None:
        nonlocal waiting, finished, done
        if waiting:
            finished += translate(waiting, method, metrics)
            done += len(waiting)
            waiting = []
        if len(finished) >= shard or (last and finished):
            write(out / f"{done:08d}.tar", finished)
            finished = []

    for sample in read(tars):
        waiting.append(sample)
        if len(waiting) == batch_size:
            flush(last=False)
    flush(last=True)
    return done / (time.perf_counter() - began)


def translate(samples: list[tuple[str, bytes]], method: Method, metrics: list[Metric]) -> list[tuple[str, bytes]]:
    """One batch, from JPEG to JPEG."""
    decoded = [codec.decode(data).pixels for _, data in samples]
    keys = [key for key, _ in samples]
    tensors = [method.prepare(Inputs(key, pixels)) for key, pixels in zip(keys, decoded, strict=True)]
    batch = Batch(torch.stack(tensors).to(method.device), [sample_seed(0, key) for key in keys], keys)
    with torch.inference_mode():
        pictures = to_uint8(method.translate(batch))
    sized = [
        codec.resize(picture, (pixels.shape[1], pixels.shape[0]))
        for picture, pixels in zip(pictures, decoded, strict=True)
    ]
    for metric in metrics:
        metric.measure(Pictures(source=decoded, output=sized, target=[None] * len(sized)))
    return [(key, codec.encode(picture, "jpeg", 95)) for key, picture in zip(keys, sized, strict=True)]


def write(path: Path, pictures: list[tuple[str, bytes]]) -> None:
    """One tar, safely on the disk as the pipeline's are."""
    with open(path, "wb") as file:
        with tarfile.open(fileobj=file, mode="w") as archive:
            for key, data in pictures:
                info = tarfile.TarInfo(f"{key}.jpg")
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        file.flush()
        os.fsync(file.fileno())
