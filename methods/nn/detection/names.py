"""Where torchvision's detectors and segmenters publish their weights, trained on COCO; imports no torch."""

from __future__ import annotations

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

COCO_ALIASES = {
    "pedestrian": "person",
    "rider": "person",
    "motor": "motorcycle",
    "bike": "bicycle",
}
"""Classes of BDD100K and Cityscapes under COCO's names, where they differ."""

VOC_ALIASES = {
    "pedestrian": "person",
    "rider": "person",
    "motor": "motorbike",
    "motorcycle": "motorbike",
    "bike": "bicycle",
    "airplane": "aeroplane",
}
"""The same for the names of VOC, which torchvision's segmenters have."""

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


def released_uri(name: str) -> str:
    """The URI of a released detector's weights; anything else is a URI already."""
    return TORCHVISION.get(name, name)
