"""The gallery: chosen samples with their pictures as small JPEGs, metrics, and label outlines."""

from __future__ import annotations

import base64
import math
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import pyarrow.parquet as pq

from methods.errors import BadSample
from pipeline import codec
from pipeline.job_record import JobRecord
from pipeline.labels.arrow import from_arrow_value
from pipeline.output.report.choose import Choice
from pipeline.output.report.originals import Place, place_of, read_originals
from pipeline.paths import data_path
from pipeline.sink.files import to_path
from pipeline.sink.schema import METRIC, passthrough_columns
from pipeline.sink.webdataset import member_stem
from pipeline.storage import Store

THUMBNAIL = 360
COLOURS = 10
_SHAPES = 300
MOST_BYTES = 9_000_000
"""What pictures and outlines may take of the page."""
_LONGEST_MEMBER = 64 << 20


@dataclass(frozen=True)
class Outline:
    """One labelled object in output pixels: SVG points, whether they close, its category and colour number."""

    points: str
    closed: bool
    category: str
    colour: int = COLOURS - 1


@dataclass(frozen=True)
class GalleryPicture:
    """One picture of a pair: its role (``source``, ``output``, ``true target``), and a data URI or why it has none."""

    role: str
    uri: str | None
    missing: str = ""


@dataclass(frozen=True)
class Pair:
    """One sample of the gallery.

    Attributes:
        groups: the galleries it stands in, as in :class:`pipeline.output.report.choose.Choice`.
        message: why it was not kept; empty for one that was.
        width, height: of the translated picture; 0 where there is none.
    """

    key: str
    variant: int
    groups: tuple[str, ...]
    status: str
    message: str
    caption: str
    width: int
    height: int
    pictures: tuple[GalleryPicture, ...]
    metrics: tuple[tuple[str, float], ...]
    outlines: tuple[Outline, ...]


@dataclass(frozen=True)
class Gallery:
    """Pairs, and the categories outlined in them as (name, colour number, objects).

    ``left_out`` pairs had no room: the page has an upper size.
    """

    pairs: tuple[Pair, ...]
    legend: tuple[tuple[str, int, int], ...]
    left_out: int = 0


@dataclass
class _Stored:
    """Compressed pictures of one sample in the output."""

    output: bytes | None = None
    source: bytes | None = None
    target: bytes | None = None


def load_gallery(choices: Sequence[Choice], record: JobRecord, store: Store) -> Gallery:
    """Read the pictures of the chosen rows. What cannot be read is left out with a word about it; never raises."""
    by_shard: dict[str, list[dict[str, Any]]] = {}
    for choice in choices:
        if choice.row["status"] == "ok":
            by_shard.setdefault(choice.row["shard"], []).append(choice.row)
    reader = _Reader(record, store)
    stored: dict[Place, _Stored] = {place_of(choice.row): _Stored() for choice in choices}
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda shard: reader.shard(shard, by_shard[shard]), by_shard):
            stored.update(found)
        lacking = [choice.row for choice in choices if stored[place_of(choice.row)].source is None]
        originals = read_originals(lacking, record, store)
        pairs = list(pool.map(lambda choice: _pair(choice, stored[place_of(choice.row)], originals), choices))
    fitting = list(_fitting(pairs))
    return replace(_coloured(fitting), left_out=len(pairs) - len(fitting))


class _Reader:
    """Reads pictures back from data files."""

    def __init__(self, record: JobRecord, store: Store) -> None:
        output, layout = record.spec.output, record.layout
        self.store, self.format, self.variants = store, output.format, record.spec.variants
        self.target = layout.target
        self.target_column = passthrough_columns(layout, output.pairs)[layout.target] if layout.target else ""

    def shard(self, shard: str, rows: Sequence[Mapping[str, Any]]) -> dict[Place, _Stored]:
        """The stored pictures of rows of one shard; empty where the data file cannot be read."""
        read = self._tar if self.format == "webdataset" else self._parquet
        found = {place_of(row): _Stored() for row in rows}
        try:
            read(data_path(shard, self.format), rows, found)
        except Exception:
            # Whatever a store or a damaged file answers, a report must not fail a job that is done. The pictures read
            # so far are shown; of the rest the page says that they are missing.
            return found
        return found

    def _parquet(self, path: str, rows: Sequence[Mapping[str, Any]], found: dict[Place, _Stored]) -> None:
        with self.store.open(path, block_size=1 << 20) as raw:
            file = pq.ParquetFile(raw)
            names = file.schema_arrow.names
            target = self.target_column
            columns = [name for name in ("image", "source_image", target) if name in names]
            start = 0
            for group in range(file.num_row_groups):
                count = file.metadata.row_group(group).num_rows
                here = [row for row in rows if start <= row["row"] < start + count]
                if here:
                    table = file.read_row_group(group, columns=columns, use_threads=False)
                    for row in here:
                        values = table.slice(row["row"] - start, 1).to_pylist()[0]
                        image = values["image"]
                        image = self.store.read(to_path(path, image)) if isinstance(image, str) else image
                        found[place_of(row)] = _Stored(image, values.get("source_image"), values.get(target))
                start += count

    def _tar(self, path: str, rows: Sequence[Mapping[str, Any]], found: dict[Place, _Stored]) -> None:
        with self.store.open(path, block_size=1 << 20) as raw:
            for row in rows:
                stored = found[place_of(row)]
                raw.seek(row["offset"])
                stored.output = raw.read(row["size"])
                # The sample's other members follow; a tar can be read on from the end of any member.
                raw.seek(row["offset"] + -(-row["size"] // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE)
                self._followers(raw, member_stem(row["key"], row["variant"], self.variants), stored)

    def _followers(self, raw: Any, stem: str, stored: _Stored) -> None:
        with tarfile.open(fileobj=raw, mode="r|") as archive:
            for member in archive:
                if not member.name.startswith(f"{stem}."):
                    return
                suffix = member.name.removeprefix(f"{stem}.")
                is_target = self.target is not None and f"{suffix}.".startswith(f"{self.target}.")
                if (suffix.startswith("source.") or is_target) and member.size <= _LONGEST_MEMBER:
                    content = archive.extractfile(member)
                    data = content.read() if content else None
                    if is_target:
                        stored.target = data
                    else:
                        stored.source = data


def _pair(choice: Choice, stored: _Stored, originals: Mapping[Place, bytes | str]) -> Pair:
    row = choice.row
    source = stored.source if stored.source is not None else originals[place_of(row)]
    pictures = [_picture("source", source)]
    if row["status"] == "ok":
        pictures.append(_picture("output", stored.output or "the data file cannot be read"))
    if stored.target is not None:
        pictures.append(_picture("true target", stored.target))
    metrics = ((name.removeprefix(METRIC), value) for name, value in row.items() if name.startswith(METRIC))
    return Pair(
        key=row["key"],
        variant=row["variant"],
        groups=choice.groups,
        status=row["status"],
        message=row["message"] or "",
        caption=row["caption"] or "",
        width=row["width"] or 0,
        height=row["height"] or 0,
        pictures=tuple(pictures),
        metrics=tuple((name, value) for name, value in metrics if value is not None),
        outlines=_outlines(row),
    )


def _fitting(pairs: Sequence[Pair]) -> Iterator[Pair]:
    """The pairs whose pictures and outlines fit into the page, in order: the first galleries come first."""
    room = MOST_BYTES
    for pair in pairs:
        room -= sum(len(picture.uri or "") for picture in pair.pictures)
        room -= sum(2 * len(outline.points) + 100 for outline in pair.outlines)
        if room < 0:
            return
        yield pair


def _picture(role: str, data: bytes | str) -> GalleryPicture:
    if isinstance(data, str):
        return GalleryPicture(role, None, data)
    try:
        pixels = codec.decode(data).pixels
    except BadSample as error:
        return GalleryPicture(role, None, f"{role} not shown: {error}")
    height, width = pixels.shape[:2]
    scale = min(1.0, THUMBNAIL / max(width, height))
    small = codec.resize(pixels, (max(1, round(width * scale)), max(1, round(height * scale))))
    return GalleryPicture(role, "data:image/jpeg;base64," + base64.b64encode(codec.encode(small, "jpeg", 82)).decode())


def _outlines(row: Mapping[str, Any]) -> tuple[Outline, ...]:
    if row["labels"] is None:
        return ()
    found: list[Outline] = []
    try:
        annotations = from_arrow_value(row["labels"]).annotations
    except (ValueError, KeyError, TypeError):
        return ()
    for each in annotations[:_SHAPES]:
        if each.bbox is not None:
            x, y, w, h = each.bbox
            lines = [([x, y, x + w, y, x + w, y + h, x, y + h], True)]
        else:
            polygons = each.segmentation or []
            lines = [(line, bool(shape["closed"])) for line, shape in zip(polygons, each.shapes(), strict=True)]
        found += [Outline(points, closed, each.category) for line, closed in lines if (points := _points(line))]
    return tuple(found)


def _points(flat: Sequence[float]) -> str:
    if len(flat) < 4 or not all(math.isfinite(value) for value in flat):
        return ""
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in zip(flat[::2], flat[1::2], strict=False))


def _coloured(pairs: Sequence[Pair]) -> Gallery:
    """Colours by how often a category occurs; all beyond the last colour share it."""
    counts = Counter(outline.category for pair in pairs for outline in pair.outlines)
    order = sorted(counts, key=lambda name: (-counts[name], name))
    colour = {name: min(number, COLOURS - 1) for number, name in enumerate(order)}
    painted = tuple(
        replace(pair, outlines=tuple(replace(each, colour=colour[each.category]) for each in pair.outlines))
        for pair in pairs
    )
    return Gallery(painted, tuple((name, colour[name], counts[name]) for name in order))
