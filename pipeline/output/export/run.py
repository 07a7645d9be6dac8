"""Exporting an output: labels in a format that trainers read, with the pictures as loose files beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from typing import Any, cast

from methods.errors import InputError
from methods.plugins import nearest
from pipeline import codec
from pipeline.job import Job
from pipeline.labels import Labels
from pipeline.labels.arrow import from_arrow_value
from pipeline.labels.categories import Categories
from pipeline.labels.check_names import with_lost_ignored
from pipeline.output.export.declared import declared_categories
from pipeline.output.export.folder import ExportFolder
from pipeline.output.export.formats import FORMATS, open_writer
from pipeline.output.export.names import Names, exported_ending, format_of, original_ending
from pipeline.output.export.pictures import PictureReader, Row, Stored
from pipeline.output.export.rows import Rows
from pipeline.output.export.scan import Scan, scan
from pipeline.output.export.splits import Splitter, parse_splits
from pipeline.output.export.writers import ExportPlan, Picture, Writer
from pipeline.sink.schema import METRIC
from pipeline.storage import Store, redact

Watch = Callable[[int, int], None]
"""Called with (pictures done, pictures in all)."""

IMAGES = ("copy", "link", "none")
IMAGE_FORMATS = ("stored", "source", "jpeg", "png", "webp")
_UNLABELLED = "pictures without labels: they are written as pictures without objects"
_COLUMNS = ("key", "variant", "shard", "row", "offset", "size", "source_uri", "sha256")
_SHOWN = ("width", "height", "caption", "labels", "labels_raw")


@dataclass(frozen=True)
class ExportOptions:
    """How to export.

    Attributes:
        format: one of :data:`FORMATS`.
        images: ``copy`` the pictures, ``link`` them (an output of loose files on the same disk), or write labels only.
        splits: shares such as ``0.9,0.1`` (train, val, test) or ``train=0.8,dev=0.2``; ``None``: all is ``train``.
        seed: of the splits.
        where: which pictures, in the language of ``keep``.
        image_format: ``stored`` takes pictures as they are, ``source`` gives each the format of its source picture.
        task: of YOLO.
        ignore_lost: flag annotations that a detector no longer finds (``labels.check``) as ``ignore``; COCO only.
    """

    format: str = "coco"
    images: str = "copy"
    splits: str | None = None
    seed: int = 0
    where: str | None = None
    image_format: str = "stored"
    task: str = "auto"
    ignore_lost: bool = False

    def check(self) -> None:
        """Raise InputError for a word that is none of its option's."""
        for name, value, known in (
            ("--format", self.format, FORMATS),
            ("--images", self.images, IMAGES),
            ("--image-format", self.image_format, IMAGE_FORMATS),
        ):
            if value not in known:
                raise InputError(f"{name} {value}: {nearest(value, list(known))}")
        if self.ignore_lost and self.format != "coco":
            raise InputError(f"--ignore-lost: {self.format} has no place for it; use --format coco")
        if self.images == "link" and self.image_format not in ("stored", "source"):
            raise InputError(
                f"--images link: a link cannot change the format to {self.image_format}; use --images copy"
            )


@dataclass
class ExportSummary:
    """What was written.

    Attributes:
        splits: pictures in each split.
        classes: number of classes.
        left_out: what the format could not hold, as a sentence's beginning, and how often.
    """

    pictures: int = 0
    written: int = 0
    splits: Counter[str] = field(default_factory=Counter)
    annotations: int = 0
    classes: int = 0
    left_out: dict[str, int] = field(default_factory=dict)

    def without_labels(self, count: int) -> dict[str, int]:
        """What to say of pictures without labels where others have some."""
        return {_UNLABELLED: count} if self.annotations and count else {}


def look(job: Job, rows: Rows, splits: Sequence[str], seed: int) -> tuple[Scan, ExportPlan]:
    """The first look at the rows, and what writers have to know from it. Raises InputError where there are no rows."""
    notes: Counter[str] = Counter()
    found = scan(rows, seed, job.spec.variants, declared_categories(job))
    if not found.pictures:
        raise InputError(f"{redact(job.store.uri())}: no picture to export; see `sceneshift status`, or change --where")
    categories = Categories(found.declared, found.classes)
    if ids := categories.undeclared:
        notes[f"category ids that the source does not declare, kept ({', '.join(map(str, ids[:5]))})"] += len(ids)
    plan = ExportPlan(
        name=job.spec.name,
        splits=tuple(splits),
        categories=categories,
        masked=bool(found.masked) and not found.unmasked,
        metrics=[METRIC + name for name in job.metric_columns],
        left_out=notes,
    )
    return found, plan


def export_folder(
    job: Job, target: Store, options: ExportOptions, watch: Watch = lambda done, total: None
) -> ExportSummary:
    """Write the output of ``job`` to ``target``; an export that was broken off goes on.

    Memory is bounded by the shards in hand, but for 8 bytes per key and name.

    Raises:
        InputError: options that do not fit, or a folder that holds something else.
    """
    options.check()
    if options.images == "link" and not (job.spec.output.format == "files" and job.store.local and target.local):
        raise InputError(
            "--images link: only an output of loose files (output.format: files) on a disk has pictures to link to; "
            "use --images copy"
        )
    if options.ignore_lost and "labels.survival" not in job.metric_columns:
        raise InputError("--ignore-lost: this job did not check its labels: set source.labels.check")
    rows = Rows(job.store, job.metric_columns, options.where)
    splits = parse_splits(options.splits)
    found, plan = look(job, rows, [each.name for each in splits], options.seed)
    writer = open_writer(options.format, plan, options.task)
    identity = {"fingerprint": job.fingerprint, **asdict(options), **rows.identity(splits=len(splits) > 1)}
    folder = ExportFolder(target, identity)
    work = _Export(job, folder, writer, options, found, Splitter(splits, options.seed, found.hashes), watch)
    summary = work.run(rows, plan.metrics)
    for path, data in writer.finish():
        folder.put(path, data)
    folder.complete()
    summary.classes = len(plan.categories.names)
    summary.left_out = plan.what_is_left_out() | summary.without_labels(work.unlabelled)
    return summary


class _Export:
    """The second look at the index: every picture with its labels, a shard at a time.

    Attributes:
        unlabelled: pictures without labels, which is more than without objects.
    """

    def __init__(
        self,
        job: Job,
        folder: ExportFolder,
        writer: Writer,
        options: ExportOptions,
        found: Scan,
        splitter: Splitter,
        watch: Watch,
    ) -> None:
        self._job, self._folder, self._writer, self._options = job, folder, writer, options
        self._found, self._splitter, self._watch = found, splitter, watch
        self._names = Names(job.spec.variants, flat=writer.flat, clash=found.clash)
        self._reader = PictureReader(job, places=options.images == "link")
        self._summary = ExportSummary()
        self.unlabelled = 0

    def run(self, rows: Rows, metrics: Any) -> ExportSummary:
        """Write all pictures and the label files of single pictures."""
        with ThreadPoolExecutor(8 if self._folder.local else 32) as pool:
            for table in rows.tables([*_COLUMNS, *_SHOWN, *metrics]):
                self._shard(table.to_pylist(), pool)
        return self._summary

    def _shard(self, rows: list[dict[str, Any]], pool: ThreadPoolExecutor) -> None:
        pictures = {(row["key"], row["variant"]): self._picture(row) for row in rows}
        waiting = []
        for row, stored in self._stored(rows, pictures):
            picture = pictures[row["key"], row["variant"]]
            self._summary.pictures += 1
            self._summary.splits[picture.split] += 1
            self._summary.annotations += len(picture.labels.annotations)
            self.unlabelled += row["labels"] is None
            masks = stored.masks if stored else {}
            for path, data in self._writer.add(picture, masks):
                waiting.append(pool.submit(self._folder.put, path, data))
            if stored is not None:
                waiting.append(pool.submit(self._put_image, picture, stored))
                waiting += [
                    pool.submit(self._folder.put, self._writer.mask_path(picture, name), data)
                    for name, data in masks.items()
                ]
                self._summary.written += 1
            while len(waiting) > 64:
                waiting.pop(0).result()
            self._watch(self._summary.pictures, self._found.pictures)
        for each in waiting:
            each.result()

    def _stored(
        self, rows: list[dict[str, Any]], pictures: Mapping[tuple[str, int], Picture]
    ) -> Iterator[tuple[Row, Stored | None]]:
        """The rows in order, with what is to be copied of them; the data file is left alone where there is nothing."""
        if self._options.images == "none":
            yield from ((row, None) for row in rows)
            return
        if not self._job.layout.masks and all(self._there(row, pictures) for row in rows):
            yield from ((row, None) for row in rows)
            return
        if rows:
            yield from self._reader.read(rows[0]["shard"], rows)

    def _there(self, row: Row, pictures: Mapping[tuple[str, int], Picture]) -> bool:
        picture = pictures[row["key"], row["variant"]]
        same = _format(picture) == self._job.spec.output.image.format
        return self._folder.has(self._writer.image_path(picture), row["sha256"] if same else None)

    def _put_image(self, picture: Picture, stored: Stored) -> None:
        path, wanted, image = self._writer.image_path(picture), _format(picture), self._job.spec.output.image
        if wanted == image.format and self._options.images == "link" and stored.place:
            self._folder.link(path, self._job.store.path(stored.place))
            return
        data = stored.image or self._job.store.read(stored.place or "")
        if wanted != image.format:
            data = codec.encode(codec.decode(data).pixels, wanted, image.quality)
        self._folder.put(path, data)

    def _picture(self, row: Mapping[str, Any]) -> Picture:
        name = self._names.new(row["key"], row["variant"], row["shard"])
        variant = f"_v{row['variant']}" if self._job.spec.variants > 1 else ""
        return Picture(
            split=self._splitter.of(row["key"]),
            name=f"{name}.{self._ending(row)}",
            key=row["key"] + variant,
            width=row["width"],
            height=row["height"],
            caption=row["caption"],
            labels=self._labels(row),
            metrics={name: value for name, value in row.items() if name.startswith(METRIC) and value is not None},
        )

    def _labels(self, row: Mapping[str, Any]) -> Labels:
        if not row["labels"]:
            return Labels()
        labels = from_arrow_value(row["labels"], row["labels_raw"] or "")
        return with_lost_ignored(labels) if self._options.ignore_lost else labels

    def _ending(self, row: Mapping[str, Any]) -> str:
        original, stored = original_ending(row, self._job.layout), self._job.spec.output.image.format
        asked: str = self._options.image_format
        if asked == "stored":
            asked = self._writer.image_format or stored
        elif asked == "source":
            asked = (format_of(original) if original else None) or stored
        return exported_ending(original, asked)


def _format(picture: Picture) -> codec.EncodedFormat:
    """The format that a picture's name says; names are made here, so it is one of ours."""
    return cast("codec.EncodedFormat", format_of(picture.name.rpartition(".")[2]))
