"""Where torchvision's detectors and segmenters publish their weights, trained on COCO; imports no torch."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Annotated

from methods.uris import UriMark, WeightsUri

_PLACE = "https://download.pytorch.org/models"
TORCHVISION = {
    "fasterrcnn_mobilenet_v3_large_320_fpn": f"{_PLACE}/fasterrcnn_mobilenet_v3_large_320_fpn-907ea3f9.pth",
    "fasterrcnn_mobilenet_v3_large_fpn": f"{_PLACE}/fasterrcnn_mobilenet_v3_large_fpn-fb6a3cc7.pth",
    "fasterrcnn_resnet50_fpn": f"{_PLACE}/fasterrcnn_resnet50_fpn_coco-258fb6c6.pth",
    "fasterrcnn_resnet50_fpn_v2": f"{_PLACE}/fasterrcnn_resnet50_fpn_v2_coco-dd69338a.pth",
    "deeplabv3_mobilenet_v3_large": f"{_PLACE}/deeplabv3_mobilenet_v3_large-fc3c493d.pth",
    "deeplabv3_resnet50": f"{_PLACE}/deeplabv3_resnet50_coco-cd0a2569.pth",
    "fcos_resnet50_fpn": f"{_PLACE}/fcos_resnet50_fpn_coco-99b0c9b7.pth",
    "lraspp_mobilenet_v3_large": f"{_PLACE}/lraspp_mobilenet_v3_large-d234d4ea.pth",
    "maskrcnn_resnet50_fpn": f"{_PLACE}/maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth",
    "maskrcnn_resnet50_fpn_v2": f"{_PLACE}/maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth",
    "retinanet_resnet50_fpn": f"{_PLACE}/retinanet_resnet50_fpn_coco-eeacb38b.pth",
    "retinanet_resnet50_fpn_v2": f"{_PLACE}/retinanet_resnet50_fpn_v2_coco-5905b1c5.pth",
    "ssd300_vgg16": f"{_PLACE}/ssd300_vgg16_coco-b556d3b4.pth",
    "ssdlite320_mobilenet_v3_large": f"{_PLACE}/ssdlite320_mobilenet_v3_large_coco-a79551df.pth",
}
"""Weights by the name of the network."""

SAME = (
    ("person", "pedestrian"),
    ("motorcycle", "motorbike", "motor", "minibike"),
    ("bicycle", "bike"),
    ("train", "tram"),
    ("airplane", "aeroplane"),
    ("couch", "sofa"),
    ("dining table", "diningtable"),
    ("potted plant", "pottedplant"),
    ("tv", "tvmonitor", "television receiver"),
)
"""What one class is called in COCO, VOC, BDD100K, Cityscapes, KITTI and ADE20K."""

PART_OF = {"rider": "person", "person sitting": "person"}
"""Classes that other label sets do not separate from a wider one."""

STUFF = frozenset(
    {
        "background",
        "unlabeled",
        "road",
        "sidewalk",
        "building",
        "wall",
        "fence",
        "vegetation",
        "terrain",
        "sky",
        "ground",
        "parking",
        "bridge",
        "tunnel",
    }
)
"""Classes of segmenters that are no objects: what lies there has no box that could be lost or invented."""

DetectorUri = Annotated[WeightsUri, UriMark(frozenset(TORCHVISION))]
"""One of torchvision's detectors or segmenters by name, or a URI."""


@lru_cache(maxsize=4096)
def known_as(label: str, classes: tuple[str, ...]) -> str | None:
    """What a model calls a class of labels; ``None`` for one that it does not know.

    The same name counts first, then the same without regard to case, ``_`` and ``-``, then what :data:`SAME` and
    :data:`PART_OF` say. A name of ADE20K is a list of synonyms (``car, auto, automobile``), each of which counts.
    """
    if label in classes:
        return label
    names = {plain: each for each in reversed(classes) for plain in map(_plain, re.split(r"[,;]", each)) if plain}
    plain = _plain(label)
    same = next((group for group in SAME if plain in group), (plain,))
    for name in (plain, *same, PART_OF.get(plain, "")):
        if name in names:
            return names[name]
    return None


def _plain(name: str) -> str:
    return " ".join(re.split(r"[\s_-]+", name.casefold())).strip()


def released_uri(name: str) -> str:
    """The URI of a released detector's weights; anything else is a URI already."""
    return TORCHVISION.get(name, name)
