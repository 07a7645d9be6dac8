"""BDD100K's bitmasks (https://doc.bdd100k.com/format.html#bitmask): a PNG per picture that holds all its objects.

Of each pixel R is the category (0: background), G the flags truncated, occluded, crowd and ignored as its bits 3 to 0,
and B and A together the number of the object: ``(B << 8) + A``.
"""

from __future__ import annotations

import numpy as np

from pipeline import codec
from pipeline.labels import rle
from pipeline.labels.records import Annotation

INSTANCES = ("pedestrian", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle")
"""Categories 1 to 8 of instance segmentation and of segmentation tracking."""

PANOPTIC = (
    *("dynamic", "ego vehicle", "ground", "static", "parking", "rail track", "road", "sidewalk", "bridge", "building"),
    *("fence", "garage", "guard rail", "tunnel", "wall", "banner", "billboard", "lane divider", "parking sign", "pole"),
    *("polegroup", "street light", "traffic cone", "traffic device", "traffic light", "traffic sign"),
    *("traffic sign frame", "terrain", "vegetation", "sky", "person", "rider", "bicycle", "bus", "car", "caravan"),
    *("motorcycle", "trailer", "train", "truck"),
)
"""Categories 1 to 40 of panoptic segmentation."""

_FLAGS = (("truncated", 8), ("occluded", 4), ("ignored", 1))
_CROWD = 2


def read_bitmask(data: bytes, size: tuple[int, int] | None, names: tuple[str, ...]) -> list[Annotation]:
    """One annotation per object, by its number: box, mask, area, category, flags.

    Args:
        data: a PNG of four channels.
        size: (width, height) of the upright picture it belongs to.
        names: of the categories from 1 on.

    Raises:
        BadSample: no picture.
        ValueError: a picture of another size, or not of four channels.
    """
    pixels = codec.decode_rgba(data)
    height, width = pixels.shape[:2]
    if size is not None and (width, height) != size:
        raise ValueError(f"the bitmask has {width}x{height} pixels, its picture {size[0]}x{size[1]}")
    # (category, flags, number) of each pixel as one number, in the order of number and category.
    values = pixels.astype(np.uint32)
    keys = (values[..., 2] << 24) | (values[..., 3] << 16) | (values[..., 0] << 8) | values[..., 1]
    found = []
    for key in np.unique(keys).tolist():
        number, category, flags = key >> 16, key >> 8 & 255, key & 255
        if category == 0:
            continue
        mask = keys == key
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        left, top = float(columns[0]), float(rows[0])
        found.append(
            Annotation(
                category=names[category - 1] if category <= len(names) else str(category),
                category_id=category,
                bbox=(left, top, columns[-1] + 1.0 - left, rows[-1] + 1.0 - top),
                rle=rle.encode(mask),
                area=float(mask.sum()),
                iscrowd=bool(flags & _CROWD),
                id=str(number),
                attributes={name: bool(flags & bit) for name, bit in _FLAGS},
            )
        )
    return found
