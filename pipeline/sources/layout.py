"""Which member or column of a source plays which part; decided once a job, from the spec and one look at the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict

from methods.errors import InputError
from pipeline.spec import SourceSpec

Kind = Literal["string", "binary", "int64", "double", "bool"]

IMAGE_SUFFIXES = ("jpg", "jpeg", "png", "webp", "bmp", "tif", "tiff", "gif")
IMAGE_NAMES = ("image", *IMAGE_SUFFIXES, "img", "image_bytes", "bytes")
TARGET_NAMES = ("target", *(f"target.{suffix}" for suffix in IMAGE_SUFFIXES))
CAPTION_NAMES = ("caption", "txt", "text", "prompt", "caption.txt")
LABEL_NAMES = ("labels_raw", "json", "labels", "labels.json", "annotations")
_MASKS = ("seg", "semantic", "label", "mask", "panoptic", "instance", "depth", "edges", "sketch", "normal")
MASK_NAMES = (*_MASKS, *(f"{name}.png" for name in _MASKS))
KEY_NAMES = ("key", "__key__", "id", "image_id", "file_name", "filename", "name")


class Layout(BaseModel):
    """The parts of a source, by member suffix or column name.

    ``carry`` maps each passed-through name to the kind of its column in a Parquet output. The layout is stored with
    the job, so that source files added later are read, and written, in the same way.
    """

    model_config = ConfigDict(frozen=True)

    image: str
    target: str | None = None
    caption: str | None = None
    labels: str | None = None
    masks: tuple[str, ...] = ()
    carry: dict[str, Kind] = {}


def _pick(wanted: str | None, usual: Sequence[str], seen: Mapping[str, Kind], role: str, where: str) -> str | None:
    if wanted is None:
        return None
    if wanted != "auto":
        if wanted not in seen:
            raise InputError(f"{where}: source.{role} names '{wanted}', but there is only {', '.join(sorted(seen))}")
        return wanted
    return next((name for name in usual if name in seen), None)


def choose(spec: SourceSpec, seen: Mapping[str, Kind], where: str) -> Layout:
    """Settle the layout from the names ``seen`` in the first source file (name -> kind).

    Raises:
        InputError: a name in the spec that the data does not have, or no picture at all.
    """
    image = _pick(spec.image, IMAGE_NAMES, seen, "image", where)
    if image is None:
        raise InputError(
            f"{where}: no picture found among {', '.join(sorted(seen)) or 'nothing'}; name it with `source.image:`"
        )
    target = _pick(spec.target, TARGET_NAMES, seen, "target", where)
    caption = _pick(spec.caption, CAPTION_NAMES, seen, "caption", where)
    labels = next((name for name in LABEL_NAMES if seen.get(name) in ("string", "binary")), None)
    taken = {image, target, caption, labels}
    if spec.masks == "auto":
        masks = tuple(name for name in sorted(seen) if name in MASK_NAMES and name not in taken)
        masks = tuple(name for name in masks if seen[name] == "binary")
    else:
        for name in spec.masks:
            _pick(name, (), seen, "masks", where)
        masks = tuple(spec.masks)
    taken.update(masks)
    carry: dict[str, Kind]
    if spec.carry == "auto":
        carry = {name: kind for name, kind in sorted(seen.items()) if name not in taken}
    else:
        for name in spec.carry:
            _pick(name, (), seen, "carry", where)
        carry = {name: seen[name] for name in spec.carry}
    return Layout(image=image, target=target, caption=caption, labels=labels, masks=masks, carry=carry)
