"""Maps of class ids to the colour maps that PITI's mask models read."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np

from methods.counting import counted, does
from methods.errors import BadSample
from methods.piti.conditions.tables import COCO_STUFF_CLASSES

MOST_COLOURS = 256
"""A colour mask with more distinct colours than this is a photo."""


@cache
def palette() -> np.ndarray:
    """(256, 3) uint8: the colour of each COCO-Stuff id. Ids from 182 on, 255 (unlabelled) among them, are black.

    The colours are Pascal VOC's, shifted by one class and with seven rounds of three bits.
    """
    colours = np.zeros((256, 3), np.uint8)
    for number in range(COCO_STUFF_CLASSES):
        rest = number + 1
        for round_ in range(7):
            for channel in range(3):
                colours[number, channel] ^= (rest >> channel & 1) << (7 - round_)
            rest >>= 3
    colours.setflags(write=False)
    return colours


def to_coco_stuff(ids: np.ndarray, table: Mapping[int, int], what: str) -> np.ndarray:
    """(H, W) ids of a dataset -> (H, W) uint8 COCO-Stuff ids by ``table``.

    Raises:
        BadSample: ``not_a_label_map`` for a picture with channels, ``unknown_label`` for ids that the table lacks.
    """
    if ids.ndim != 2:
        raise BadSample(
            "not_a_label_map",
            f"found a colour picture with {count_colours(ids)} colours, expected a map of {what} ids in one channel "
            "(source.condition colour takes colour masks)",
        )
    size = 1 << 16 if ids.dtype == np.uint16 else 256
    lookup = np.full(size, -1, np.int16)
    lookup[[number for number in table if number < size]] = [table[number] for number in table if number < size]
    mapped = lookup[ids]
    if mapped.min() < 0:
        wrong = ids[mapped < 0]
        numbers = np.unique(wrong)
        known = sorted(table)
        raise BadSample(
            "unknown_label",
            f"{counted(len(numbers), 'id')} on {wrong.size} of {counted(ids.size, 'pixel')} "
            f"{does(len(numbers), 'is/are')} not in the table of {what} "
            f"({known[0]} to {known[-1]}, {len(known)} ids), the first is {numbers[0]}",
        )
    return mapped.astype(np.uint8)


def colour_mask(pixels: np.ndarray) -> np.ndarray:
    """A colour mask (H, W, 3) as it is.

    Raises:
        BadSample: ``not_a_label_map``, for what has so many colours that it must be a photo.
    """
    found = count_colours(pixels)
    if found > MOST_COLOURS:
        raise BadSample(
            "not_a_label_map",
            f"found a picture with {found} colours, expected a colour mask with at most {MOST_COLOURS} (PNG, not JPEG)",
        )
    return pixels


def count_colours(pixels: np.ndarray) -> int:
    """Distinct colours of (H, W, 3) uint8."""
    wide = pixels.astype(np.uint32)
    return len(np.unique(wide[..., 0] << 16 | wide[..., 1] << 8 | wide[..., 2]))
