"""A small labelled dataset with everything that makes exports stumble."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.labels import rle
from tests.support.datasets import encoded, picture

WIDTH, HEIGHT = 64, 48
CATEGORIES: list[dict[str, Any]] = [
    {"id": 3, "name": "person", "supercategory": "human", "keypoints": ["head", "foot"], "skeleton": [[1, 2]]},
    {"id": 7, "name": "véhicule 車", "supercategory": "vehicle"},
    {"id": 44, "name": "unused"},
]


def ring() -> np.ndarray:
    """A mask of two parts, one with a hole."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[10:30, 5:25] = 1
    mask[15:20, 10:15] = 0
    mask[35:40, 40:50] = 1
    return mask


def coco_document() -> dict[str, Any]:
    """Six pictures: polygons, a mask with a hole, a crowd, keypoints, none at all, and a name that is not ASCII."""
    names = ["a.png", "b.jpg", "folder/c.JPG", "empty.png", "ünï 車.png", "d.v2.jpg"]
    images = [{"id": n, "file_name": name, "width": WIDTH, "height": HEIGHT} for n, name in enumerate(names)]
    crowd = np.zeros((HEIGHT, WIDTH), np.uint8)
    crowd[0:8, 30:60] = 1
    triangle = [1.25, 2.5, 31.75, 43.25, 1.25, 43.25]
    annotations: list[dict[str, Any]] = [
        {"image_id": 0, "category_id": 7, **_box(4, 6, 20, 10)},
        {"image_id": 0, "category_id": 3, "bbox": [5, 10, 45, 30], "segmentation": rle.encode(ring())},
        {"image_id": 1, "category_id": 3, "bbox": [30, 0, 30, 8], "segmentation": rle.encode(crowd), "iscrowd": 1},
        {"image_id": 2, "category_id": 7, "bbox": [1.25, 2.5, 30.5, 40.75], "segmentation": [triangle]},
        {
            "image_id": 2,
            "category_id": 3,
            **_box(40, 20, 10, 20),
            "keypoints": [45, 22, 2, 0, 0, 0],
            "num_keypoints": 1,
        },
        {"image_id": 4, "category_id": 7, **_box(0, 0, 64, 48)},
        {"image_id": 5, "category_id": 7, **_box(10, 10, 8, 8)},
    ]
    for number, each in enumerate(annotations, start=1):
        each |= {"id": number, "area": each["bbox"][2] * each["bbox"][3], "iscrowd": each.get("iscrowd", 0)}
    return {"images": images, "annotations": annotations, "categories": CATEGORIES}


def _box(x: int, y: int, w: int, h: int) -> dict[str, Any]:
    return {"bbox": [x, y, w, h], "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]]}


def write_labelled(root: Path) -> tuple[Path, Path]:
    """(picture folder, label file) of the dataset."""
    document = coco_document()
    folder = root / "pictures"
    for number, image in enumerate(document["images"]):
        path = folder / image["file_name"]
        path.parent.mkdir(parents=True, exist_ok=True)
        format = "PNG" if path.suffix.lower() == ".png" else "JPEG"
        path.write_bytes(encoded(picture(number, (WIDTH, HEIGHT)), format))
    labels = root / "labels.json"
    labels.write_text(json.dumps(document))
    return folder, labels
