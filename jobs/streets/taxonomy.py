"""Classes of a street scene: Cityscapes train ids, their colours, and the category names of BDD100K and COCO files."""

from enum import IntEnum

import numpy as np

from jobs.streets.texture import Array


class Label(IntEnum):
    """Cityscapes train ids, the values of every semantic map (all pixels have a class, 255 does not occur)."""

    ROAD = 0
    SIDEWALK = 1
    BUILDING = 2
    WALL = 3
    FENCE = 4
    POLE = 5
    TRAFFIC_LIGHT = 6
    TRAFFIC_SIGN = 7
    VEGETATION = 8
    TERRAIN = 9
    SKY = 10
    PERSON = 11
    RIDER = 12
    CAR = 13
    TRUCK = 14
    BUS = 15
    TRAIN = 16
    MOTORCYCLE = 17
    BICYCLE = 18


PALETTE: Array = np.array(
    [
        [128, 64, 128], [244, 35, 232], [70, 70, 70], [102, 102, 156], [190, 153, 153], [153, 153, 153],
        [250, 170, 30], [220, 220, 0], [107, 142, 35], [152, 251, 152], [70, 130, 180], [220, 20, 60], [255, 0, 0],
        [0, 0, 142], [0, 0, 70], [0, 60, 100], [0, 80, 100], [0, 0, 230], [119, 11, 32],
    ],
    np.uint8,
)  # fmt: skip
"""Cityscapes colours, uint8 (19, 3), indexed by train id."""

CATEGORIES: dict[Label, str] = {
    Label.PERSON: "pedestrian",
    Label.RIDER: "rider",
    Label.CAR: "car",
    Label.TRUCK: "truck",
    Label.BUS: "bus",
    Label.TRAIN: "train",
    Label.MOTORCYCLE: "motorcycle",
    Label.BICYCLE: "bicycle",
    Label.TRAFFIC_LIGHT: "traffic light",
    Label.TRAFFIC_SIGN: "traffic sign",
}
"""Classes that have instances, with their BDD100K detection names, in BDD100K's order (COCO ids count from 1)."""
