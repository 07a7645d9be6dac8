"""COCO's run-length masks, without its C library.

A mask is read column by column; the runs alternate between 0 and 1 and begin with 0. The compressed form writes each
run, from the fourth on as the difference to the run two before, in groups of 5 bits with a continuation bit, as
characters from code 48 on (https://github.com/cocodataset/cocoapi, common/maskApi.c, rleToString and rleFrString).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pipeline.labels.records import Rle

MAX_PIXELS = 1024**3 // 12
"""The largest mask that is read, the bound of pictures: a hundred bytes of runs may claim billions of pixels."""


def decode(rle: Rle) -> np.ndarray:
    """(H, W) uint8 mask of 0 and 1. Raises ValueError when the runs do not fill it, or it has over MAX_PIXELS."""
    height, width = rle["size"]
    if height * width > MAX_PIXELS:
        raise ValueError(f"a mask of {width} x {height} pixels is larger than any picture that is read")
    lengths = np.asarray(runs(rle["counts"]), dtype=np.int64)
    if (lengths < 0).any() or lengths.sum() != height * width:
        raise ValueError(f"the runs do not add up to {height} x {width} pixels")
    values = np.arange(len(lengths), dtype=np.int64) % 2
    return np.repeat(values.astype(np.uint8), lengths).reshape(width, height).T


def encode(mask: np.ndarray) -> Rle:
    """The compressed form of an (H, W) mask; anything but 0 counts as 1."""
    height, width = mask.shape
    flat = (mask != 0).T.ravel()
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    lengths = np.diff(np.concatenate([[0], edges, [flat.size]])).tolist()
    if flat.size and flat[0]:
        lengths.insert(0, 0)
    return {"size": [height, width], "counts": compress(lengths)}


def compress(lengths: Sequence[int]) -> str:
    """Run lengths to COCO's string."""
    out: list[int] = []
    for at, length in enumerate(lengths):
        value = length - lengths[at - 2] if at > 2 else length
        more = True
        while more:
            group = value & 0x1F
            value >>= 5
            more = value != -1 if group & 0x10 else value != 0
            out.append((group | 0x20 if more else group) + 48)
    return bytes(out).decode("ascii")


def runs(counts: str) -> list[int]:
    """COCO's string to run lengths. Raises ValueError for a string that is none."""
    lengths: list[int] = []
    value = shift = 0
    for character in counts:
        group = ord(character) - 48
        if not 0 <= group < 64 or shift > 60:
            raise ValueError("not a COCO run-length string")
        value |= (group & 0x1F) << shift
        shift += 5
        if group & 0x20:
            continue
        if group & 0x10:
            value -= 1 << shift
        lengths.append(value + lengths[-2] if len(lengths) > 2 else value)
        value = shift = 0
    if shift:
        raise ValueError("a COCO run-length string that ends within a number")
    return lengths
