"""Which COCO-Stuff class stands for a class of another dataset. Ids count from 0 (``person``); 255 is unlabelled."""

from __future__ import annotations

UNLABELLED = 255
COCO_STUFF_CLASSES = 182

_COCO = {
    "person": 0,
    "bicycle": 1,
    "car": 2,
    "motorcycle": 3,
    "bus": 5,
    "train": 6,
    "truck": 7,
    "traffic light": 9,
    "stop sign": 12,
    "bridge": 94,
    "building": 95,
    "cabinet": 97,
    "ceiling": 101,
    "dirt": 110,
    "fence": 112,
    "floor": 114,
    "food": 120,
    "grass": 123,
    "ground": 125,
    "mountain": 134,
    "paper": 138,
    "pavement": 139,
    "railing": 145,
    "railroad": 146,
    "road": 148,
    "rock": 149,
    "rug": 151,
    "sky": 156,
    "structure": 163,
    "table": 164,
    "tree": 168,
    "wall": 172,
    "concrete wall": 171,
}

_TRAIN_ORDER = (
    "road",
    "pavement",
    "building",
    "concrete wall",
    "fence",
    "structure",  # pole
    "traffic light",
    "stop sign",  # any traffic sign
    "tree",
    "grass",  # terrain
    "sky",
    "person",
    "person",  # rider
    "car",
    "truck",
    "bus",
    "train",
    "motorcycle",
    "bicycle",
)

TRAIN_IDS: dict[int, int] = {number: _COCO[name] for number, name in enumerate(_TRAIN_ORDER)} | {255: UNLABELLED}
"""The 19 train ids that Cityscapes and BDD100K share (files ``*_labelTrainIds.png`` and BDD100K's masks)."""

_CITYSCAPES_TRAINED = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)

CITYSCAPES_IDS: dict[int, int] = {
    # unlabelled, ego vehicle, rectification border, out of roi, static, dynamic
    **dict.fromkeys(range(6), UNLABELLED),
    **{number: TRAIN_IDS[train] for train, number in enumerate(_CITYSCAPES_TRAINED)},
    6: _COCO["ground"],
    9: _COCO["road"],  # parking
    10: _COCO["railroad"],
    14: _COCO["railing"],  # guard rail
    15: _COCO["bridge"],
    16: _COCO["structure"],  # tunnel
    18: _COCO["structure"],  # group of poles
    29: _COCO["truck"],  # caravan
    30: _COCO["truck"],  # trailer
    255: UNLABELLED,  # licence plate, -1 in the list
}
"""Cityscapes' own ids (files ``*_labelIds.png``)."""

COCO_STUFF_OTHER = 182
"""The id beyond COCO-Stuff's classes ("other") that some pixel maps hold. The release paints it black."""

COCO_STUFF_IDS: dict[int, int] = {
    **{number: number for number in range(COCO_STUFF_CLASSES)},
    COCO_STUFF_OTHER: UNLABELLED,
    UNLABELLED: UNLABELLED,
}
"""The ids of COCO-Stuff's pixel maps (``stuffthingmaps``)."""

_MERGED = (
    "tree",
    "fence",
    "ceiling",
    "sky",
    "cabinet",
    "table",
    "floor",
    "pavement",
    "mountain",
    "grass",
    "dirt",
    "paper",
    "food",
    "building",
    "rock",
    "wall",
    "rug",
)

PANOPTIC_CATEGORIES: dict[int, int] = {
    # things and unmerged stuff are COCO-Stuff's classes, counted from 1
    **{number: number - 1 for number in range(1, COCO_STUFF_CLASSES + 1)},
    **{number: _COCO[name] for number, name in enumerate(_MERGED, start=184)},
}
"""COCO panoptic category ids; the merged ones (184 to 200) become the most general of the classes they merge."""
