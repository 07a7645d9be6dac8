"""Hugging Face: a folder of pictures with ``metadata.parquet`` per split, as `datasets`' imagefolder reads it."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, ClassVar, cast

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from pipeline.labels.export import closed_polygons, coco_box
from pipeline.labels.records import Annotation
from pipeline.markdown import cell
from pipeline.output.export.shapes import has_shape
from pipeline.output.export.writers import ExportPlan, Picture, mask_file

_BATCH = 1024
_BOXLESS = "annotations without a box or an area (lines, tags)"
_SPLITS = {"val": "validation"}
Feature = dict[str, Any]


class HuggingFaceWriter:
    """``load_dataset(folder)`` gives ``image``, ``objects`` (a list of structs, with class names), caption, metrics."""

    flat: ClassVar[bool] = False
    image_format: ClassVar[str | None] = None

    def __init__(self, plan: ExportPlan) -> None:
        self._plan = plan
        names = plan.categories.names
        # `datasets` has no two classes of one name; then the names are text, and `category_id` tells them apart.
        self._class_labels = bool(names) and len(set(names)) == len(names)
        self._features = self._describe(names)
        self._schema = _schema(self._features).with_metadata(
            {"huggingface": json.dumps({"info": {"features": self._features}})}
        )
        self._files: dict[str, tuple[BinaryIO, pq.ParquetWriter]] = {}
        self._rows: dict[str, list[dict[str, Any]]] = {split: [] for split in plan.splits}

    def image_path(self, picture: Picture) -> str:
        """``<split>/<name>``."""
        return f"{picture.split}/{picture.name}"

    def mask_path(self, picture: Picture, mask: str) -> str:
        """``masks/<split>/<mask>/<name>.png``, outside the folders that `datasets` looks into."""
        return mask_file(picture, mask)

    def add(self, picture: Picture, masks: Mapping[str, bytes]) -> Iterator[tuple[str, bytes]]:
        """Nothing yet: metadata are one table per split."""
        objects = [self._object(found) for found in picture.labels.annotations if coco_box(found) is not None]
        self._plan.left_out[_BOXLESS] += len(picture.labels.annotations) - len(objects)
        attributes = picture.labels.attributes
        rows = self._rows[picture.split]
        rows.append(
            {
                "file_name": picture.name,
                "key": picture.key,
                "width": picture.width,
                "height": picture.height,
                "caption": picture.caption,
                "attributes": json.dumps(attributes, ensure_ascii=False) if attributes else None,
                "objects": objects,
                **{name: picture.metrics.get(name) for name in self._plan.metrics},
            }
        )
        if len(rows) >= _BATCH:
            self._flush(picture.split)
        return iter(())

    def finish(self) -> Iterator[tuple[str, bytes | BinaryIO]]:
        """The tables, and a card that names the splits."""
        filled = []
        for split in self._plan.splits:
            self._flush(split)
            if split not in self._files:
                continue
            file, writer = self._files[split]
            writer.close()
            file.seek(0)
            filled.append(split)
            yield f"{split}/metadata.parquet", file
        files = [{"split": _SPLITS.get(split, split), "path": f"{split}/**"} for split in filled]
        configs = {"configs": [{"config_name": "default", "data_files": files}]} if filled else {}
        matter = yaml.safe_dump({"pretty_name": self._plan.name, **configs}, sort_keys=False, allow_unicode=True)
        text = (
            f"---\n{matter}---\n\n# {cell(self._plan.name)}\n\nPictures with labels, written by `sceneshift export`.\n"
        )
        yield "README.md", text.encode()

    def _flush(self, split: str) -> None:
        rows = self._rows[split]
        if not rows:
            return
        if split not in self._files:
            file = cast("BinaryIO", tempfile.TemporaryFile())  # noqa: SIM115 - handed on by `finish`
            self._files[split] = (file, pq.ParquetWriter(file, self._schema, compression="zstd"))
        self._files[split][1].write_table(pa.Table.from_pylist(rows, schema=self._schema))
        rows.clear()

    def _object(self, found: Annotation) -> dict[str, Any]:
        box = coco_box(found)
        index = self._plan.categories.index_of(found)
        extra = {name: value for name, value in found.attributes.items() if name != "poly2d"}
        return {
            "id": found.id,
            "bbox": box,
            "category": index if self._class_labels else found.category,
            "category_id": self._plan.categories.id_of(found),
            "area": box[2] * box[3] if found.area is None and box is not None else found.area,
            "iscrowd": found.iscrowd,
            "segmentation": closed_polygons(found) if has_shape(found) and found.rle is None else None,
            "rle": None if found.rle is None else json.dumps(found.rle),
            "attributes": json.dumps(extra, ensure_ascii=False) if extra else None,
        }

    def _describe(self, names: list[str]) -> Feature:
        category = {"names": names, "_type": "ClassLabel"} if self._class_labels else _value("string")
        numbers = {"feature": _value("float64"), "_type": "List"}
        objects = {
            "id": _value("string"),
            "bbox": {"feature": _value("float64"), "length": 4, "_type": "List"},
            "category": category,
            "category_id": _value("int64"),
            "area": _value("float64"),
            "iscrowd": _value("bool"),
            "segmentation": {"feature": numbers, "_type": "List"},
            "rle": _value("string"),
            "attributes": _value("string"),
        }
        return {
            "file_name": _value("string"),
            "key": _value("string"),
            "width": _value("int32"),
            "height": _value("int32"),
            "caption": _value("string"),
            "attributes": _value("string"),
            "objects": {"feature": objects, "_type": "List"},
            **{name: _value("float64") for name in self._plan.metrics},
        }


def _value(dtype: str) -> Feature:
    return {"dtype": dtype, "_type": "Value"}


_TYPES = {
    "string": pa.string(),
    "bool": pa.bool_(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "float64": pa.float64(),
}


def _schema(features: Feature) -> pa.Schema:
    return pa.schema([(name, _arrow(feature)) for name, feature in features.items()])


def _arrow(feature: Feature) -> pa.DataType:
    kind = feature.get("_type")
    if kind == "ClassLabel":
        return pa.int64()
    if kind == "Value":
        return _TYPES[feature["dtype"]]
    if kind == "List":
        return pa.list_(_arrow(feature["feature"]), feature.get("length", -1))
    return pa.struct([(name, _arrow(each)) for name, each in feature.items()])
