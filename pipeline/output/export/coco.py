"""COCO: ``images/<split>/...`` beside ``annotations/instances_<split>.json`` (and captions)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import BinaryIO, ClassVar

from pipeline.labels.export import CocoRecords
from pipeline.output.export.spool import JsonList, document
from pipeline.output.export.writers import ExportPlan, Picture, mask_file

_BOXLESS = "annotations without a box or an area (lines, tags): COCO has no place for them"


class CocoWriter:
    """One document per split, loaded by pycocotools, torchvision's CocoDetection, detectron2 and FiftyOne."""

    flat: ClassVar[bool] = False
    image_format: ClassVar[str | None] = None

    def __init__(self, plan: ExportPlan) -> None:
        self._plan = plan
        self._records = CocoRecords(plan.categories)
        names = ("images", "annotations", "captions")
        self._lists = {split: {name: JsonList() for name in names} for split in plan.splits}

    def image_path(self, picture: Picture) -> str:
        """``images/<split>/<name>``."""
        return f"images/{picture.split}/{picture.name}"

    def mask_path(self, picture: Picture, mask: str) -> str:
        """``masks/<split>/<mask>/<name>.png``."""
        return mask_file(picture, mask)

    def add(self, picture: Picture, masks: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
        """Nothing yet: the documents are of whole splits."""
        row = (picture.key, picture.name, picture.width, picture.height, picture.labels)
        image, annotations = self._records.of(row)
        lists = self._lists[picture.split]
        lists["images"].add(image)
        for each in annotations:
            lists["annotations"].add(each)
        if missing := len(picture.labels.annotations) - len(annotations):
            self._plan.left_out[_BOXLESS] += missing
        if picture.caption is not None:
            lists["captions"].add({"id": image["id"], "image_id": image["id"], "caption": picture.caption})
        return iter(())

    def finish(self) -> Iterator[tuple[str, bytes | BinaryIO]]:
        """The documents, each with the whole category list."""
        info = {"description": self._plan.name}
        for split, lists in self._lists.items():
            head = {"info": info, "images": lists["images"]}
            declared = self._plan.categories.declared
            instances = document({**head, "annotations": lists["annotations"], "categories": declared})
            yield f"annotations/instances_{split}.json", instances
            if lists["captions"].count:
                yield f"annotations/captions_{split}.json", document({**head, "annotations": lists["captions"]})
