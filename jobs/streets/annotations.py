"""Labels in the two formats detectors are trained from: BDD100K frames and COCO."""

from collections.abc import Sequence
from typing import Any

from jobs.streets.conditions import Condition
from jobs.streets.instances import Instance
from jobs.streets.scene import Scene
from jobs.streets.taxonomy import CATEGORIES
from jobs.streets.truth import Thing, Truth

_SCENES = {"downtown": "city street", "residential": "residential", "avenue": "city street", "suburb": "residential"}
_COCO_IDS = {label: number for number, label in enumerate(CATEGORIES, 1)}


def bdd100k_frame(scene: Scene, truth: Truth, condition: Condition, name: str, size: tuple[int, int]) -> dict[str, Any]:
    """One image's entry of a BDD100K ``det_20`` label file; ``name`` is the image's file name, ``size`` its pixels."""
    return {
        "name": name,
        "size": {"width": size[0], "height": size[1]},
        "attributes": {
            "weather": condition.weather.bdd100k,
            "scene": _SCENES[scene.district_name],
            "timeofday": "daytime" if condition.time == "day" else "night",
        },
        "labels": [_bdd100k_label(name, thing) for thing in truth.things],
    }


def _bdd100k_label(name: str, thing: Thing) -> dict[str, Any]:
    x1, y1, x2, y2 = thing.box
    return {
        "id": f"{name.rsplit('.', 1)[0]}-{thing.instance.number:03d}",
        "category": CATEGORIES[thing.instance.label],
        "box2d": {"x1": x1, "y1": y1, "x2": x2, "y2": y2},
        "attributes": {
            "occluded": thing.occluded,
            "truncated": thing.truncated,
            "trafficLightColor": _signal_colour(thing.instance),
        },
    }


def _signal_colour(instance: Instance) -> str:
    """BDD100K's letter: G, Y, R, and NA for what is no traffic light."""
    return "NA" if instance.colour == "none" else instance.colour[0].upper()


def coco_annotations(things: Sequence[Thing], image_id: int, first_id: int) -> list[dict[str, Any]]:
    """COCO annotations of one image; ids count up from ``first_id``. ``instance`` is the value in the instance map."""
    out = []
    for number, thing in enumerate(things, first_id):
        x1, y1, x2, y2 = thing.box
        out.append(
            {
                "id": number,
                "image_id": image_id,
                "category_id": _COCO_IDS[thing.instance.label],
                "bbox": [x1, y1, x2 - x1, y2 - y1],
                "area": thing.area,
                "iscrowd": 0,
                "instance": thing.instance.number,
                "visibility": round(thing.visibility, 4),
                "occluded": thing.occluded,
                "truncated": thing.truncated,
            }
        )
    return out


def coco_categories() -> list[dict[str, Any]]:
    """The ``categories`` of a COCO file."""
    return [{"id": _COCO_IDS[label], "name": name, "supercategory": "street"} for label, name in CATEGORIES.items()]
