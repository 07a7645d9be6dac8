"""Which member or column of a source plays which part; decided once per job, from the spec and one look at the data."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import BaseModel, ConfigDict

from methods.errors import InputError
from pipeline.findings import Finding
from pipeline.labels.fields import listed
from pipeline.records import Kind
from pipeline.sources.endings import IMAGE_SUFFIXES, ending
from pipeline.spec import SourceSpec

MOST_NAMES = 24
"""Names of members or columns that a message lists."""

IMAGE_NAMES = ("image", *IMAGE_SUFFIXES, "img", "image_bytes", "bytes")
TARGET_NAMES = ("target", *(f"target.{suffix}" for suffix in IMAGE_SUFFIXES))
CAPTION_NAMES = ("caption", "txt", "text", "prompt", "caption.txt")
LABEL_NAMES = ("labels_raw", "json", "labels", "labels.json", "annotations", "objects")
_MASKS = ("seg", "semantic", "label", "mask", "panoptic", "instance", "depth", "edges", "sketch", "normal")
MASK_NAMES = (*_MASKS, *(f"{name}.{suffix}" for name in _MASKS for suffix in ("png", "tif", "tiff", "bmp")))
KEY_NAMES = ("key", "__key__", "id", "image_id", "file_name", "filename", "name")


class Layout(BaseModel):
    """The parts of a source, by member suffix or column name.

    The layout is stored with the job, so that source files added later are read, and written, in the same way.
    """

    model_config = ConfigDict(frozen=True)

    image: str
    any_image: bool = False
    """A sample without ``image`` may have its picture under another of the usual endings."""
    target: str | None = None
    caption: str | None = None
    labels: str | None = None
    labels_source: str | None = None
    """The column with the original label text of an output of an earlier job."""
    masks: tuple[str, ...] = ()
    carry: dict[str, Kind] = {}
    """Passed-through names, with the kind of their column in a Parquet output."""
    key: str | None = None
    """The column that holds keys; none gives every row a name of its own."""
    variants: int | None = None
    """Of an output of an earlier job: how many variants a sample has there."""
    record: str = ""
    """Of a tar of an earlier job: the member with its labels and columns."""
    delimiter: str = ""
    """Of a CSV manifest: what is between its columns, in words."""
    left_out: dict[str, str] = {}
    """Names that the source has and that cannot pass, with the reason."""

    def findings(self) -> tuple[Finding, ...]:
        """What the source has and no output will hold, and pictures that will not be translated."""
        lost = [Finding("column", name, reason) for name, reason in sorted(self.left_out.items())]
        pictures = [name for name in self.carry if ending(f"x.{name}") in IMAGE_SUFFIXES]
        reason = "a picture that passes through as it is, not translated (source.key_from, source.masks, source.image)"
        return (*lost, *(Finding("member", name, reason) for name in pictures))


@dataclass(frozen=True)
class Peeked:
    """What one look at a source file shows.

    Attributes:
        kinds: names of members or columns -> how they pass.
        labels: those whose content was looked at and holds labels.
        left_out: those that cannot pass -> why.
        key: the column that can serve as key.
        own: the layout that an output of an earlier job says of itself.
        hint: what may help where no picture is found.
        any_image: samples may have their pictures under different endings.
        delimiter: the delimiter of a CSV file, in words.
    """

    kinds: Mapping[str, Kind]
    labels: Collection[str] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    key: str | None = None
    own: Layout | None = None
    hint: str = "name it with `source.image:`"
    any_image: bool = False
    delimiter: str = ""


def _pick(wanted: str | None, usual: Sequence[str], seen: Collection[str], role: str, where: str) -> str | None:
    if wanted is None:
        return None
    if wanted != "auto":
        if wanted not in seen:
            raise InputError(
                f"{where}: source.{role} names '{wanted}', but there is only {listed(sorted(seen), MOST_NAMES)}"
            )
        return wanted
    return next((name for name in usual if name in seen), None)


def choose(spec: SourceSpec, seen: Peeked, where: str) -> Layout:
    """Settle the layout from what was ``seen`` in the first source file.

    Raises:
        InputError: a name in the spec that the data does not have, or no picture at all.
    """
    kinds, own = seen.kinds, seen.own
    image = _pick(spec.image, [own.image] if own else IMAGE_NAMES, kinds, "image", where)
    if image is None:
        raise InputError(f"{where}: no picture found among {listed(sorted(kinds), MOST_NAMES)}; {seen.hint}")
    target = _pick(spec.target, [own.target or ""] if own else TARGET_NAMES, kinds, "target", where)
    usual = [own.caption or ""] if own else [name for name in CAPTION_NAMES if _is_text(kinds.get(name, ""))]
    caption = _pick(spec.caption, usual, kinds, "caption", where)
    labels = None if spec.labels.uri else _labels(spec, seen)
    beside = own.labels_source if own and labels else None
    # Of a list of captions the first is taken for the caption, and the list passes through.
    taken = {image, target, None if caption and kinds[caption].startswith("list<") else caption, labels, beside}
    if spec.masks == "auto":
        usual = own.masks if own else [name for name in sorted(kinds) if name in MASK_NAMES and kinds[name] == "binary"]
        masks = tuple(name for name in usual if name not in taken)
    else:
        for name in spec.masks:
            _pick(name, (), kinds, "masks", where)
        masks = tuple(spec.masks)
    taken.update(masks)
    carry: dict[str, Kind]
    if spec.carry == "auto":
        wanted = own.carry if own else dict(sorted(kinds.items()))
        # Where samples have one picture under any of the usual endings, the other endings are no members beside it.
        taken.update(IMAGE_SUFFIXES if seen.any_image and spec.image == "auto" else ())
        carry = {name: kind for name, kind in wanted.items() if name not in taken}
    else:
        for name in spec.carry:
            _pick(name, (), kinds, "carry", where)
        carry = {name: kinds[name] for name in spec.carry}
    return Layout(
        image=image,
        any_image=seen.any_image and spec.image == "auto",
        target=target,
        caption=caption,
        labels=labels,
        labels_source=beside,
        masks=masks,
        carry=carry,
        key=seen.key,
        variants=own.variants if own else None,
        record=own.record if own else "",
        delimiter=seen.delimiter,
        left_out=dict(sorted(seen.left_out.items())),
    )


def _is_text(kind: Kind) -> bool:
    """Whether a member or column of this kind may be a caption, or a list of them."""
    inner = kind.removeprefix("list<").removeprefix("dictionary<")
    return inner.startswith(("string", "text", "binary"))


def _labels(spec: SourceSpec, seen: Peeked) -> str | None:
    """The member or column with labels: one that was seen to hold some, or the usual one where the spec declares it."""
    if seen.own is not None:
        return seen.own.labels
    declared = [name for name in LABEL_NAMES if name in seen.kinds] if spec.labels.format != "auto" else []
    return next((name for name in [*LABEL_NAMES, *declared] if name in seen.labels or name in declared), None)
