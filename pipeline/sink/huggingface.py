"""What Hugging Face `datasets` needs in a dataset card's front matter to open an output as it is meant.

Pictures are plain binary columns in our Parquet files, which every reader understands. `datasets` turns a binary column
into pictures when the card declares it an ``image``. (Its own metadata in the Parquet file would not do: it is ignored
unless the column is stored as its struct of bytes and path.) For tars the declaration replaces a guess from the first
five samples, which fails as soon as a sample lacks a caption.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import pyarrow as pa

from pipeline.picture_files import usual_ending
from pipeline.sink.schema import data_schema, passthrough_columns
from pipeline.sink.webdataset import tar_names
from pipeline.sources.endings import IMAGE_SUFFIXES
from pipeline.sources.layout import Layout

Feature = dict[str, Any]
_DTYPES = {"double": "float64", "float": "float32", "halffloat": "float16"}
_DTYPES |= {"date32[day]": "date32", "date64[ms]": "date64"}


def parquet_features(layout: Layout, pairs: bool, *, loose: bool = False) -> list[Feature]:
    """The ``dataset_info.features`` of Parquet data files; empty where a column has a type that `datasets` lacks.

    ``loose`` pictures are paths there.
    """
    schema = data_schema(layout, pairs, loose=loose)
    if any(_lacking(field.type) for field in schema):
        return []
    passthrough = passthrough_columns(layout, pairs)
    shown = [column for name, column in passthrough.items() if name not in layout.carry]
    pictures = {*([] if loose else ["image"]), *(["source_image"] if pairs else []), *shown}
    return _fields(schema, pictures)


def webdataset_features(layout: Layout, suffix: str, pairs: bool) -> list[Feature]:
    """The ``dataset_info.features`` of tars. ``json`` needs `datasets` 4.7 or newer."""
    called = tar_names(layout, suffix)
    names = {suffix: "image"}
    if layout.caption is not None:
        names[called.caption] = "string"
    if pairs:
        # Kept as it came, in its own format, unless it had to be resized or turned upright.
        one = layout.image in IMAGE_SUFFIXES and not layout.any_image
        came = [usual_ending(layout.image)] if one else ["jpg", "png"]
        names |= {f"source.{each}": "image" for each in [*came, suffix]}
    for name in [*([layout.target] if layout.target else []), *layout.masks]:
        endings = [""] if name.rsplit(".", 1)[-1] in IMAGE_SUFFIXES else [".png", ".jpg"]
        names |= {name + ending: "image" for ending in endings}
    names |= {member: _decoded(member, layout.carry[name]) for name, member in called.members.items()}
    names |= {called.record: "json", "__key__": "string", "__url__": "string"}
    return [{"name": name, "dtype": dtype} for name, dtype in names.items()]


def _fields(fields: pa.Schema | pa.StructType, images: Collection[str] = ()) -> list[Feature]:
    return [
        {"name": field.name, "dtype": "image"} if field.name in images else {"name": field.name, **_feature(field.type)}
        for field in fields
    ]


def _decoded(member: str, kind: str) -> str:
    """What `datasets` makes of a member by its ending."""
    suffix = member.rsplit(".", 1)[-1]
    return {"json": "json", "cls": "int64"}.get(suffix, "string" if kind == "text" else "binary")


def _lacking(kind: pa.DataType) -> bool:
    if pa.types.is_map(kind) or pa.types.is_fixed_size_binary(kind):
        return True
    return any(_lacking(kind.field(n).type) for n in range(kind.num_fields))


def _feature(kind: pa.DataType) -> Feature:
    if isinstance(kind, pa.DictionaryType):
        return _feature(kind.value_type)
    if isinstance(kind, pa.FixedSizeListType):
        return {**_feature(pa.list_(kind.value_type)), "length": kind.list_size}
    if isinstance(kind, pa.StructType):
        return {"struct": _fields(kind)}
    if isinstance(kind, pa.ListType):
        inner = _feature(kind.value_type)
        # Written short where the item is of one plain type or a struct.
        return {"list": next(iter(inner.values())) if inner.keys() <= {"dtype", "struct"} else inner}
    return {"dtype": _DTYPES.get(str(kind), str(kind))}
