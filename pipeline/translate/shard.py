"""One shard through a worker: decode, batch, translate, measure and encode, overlapped.

Decoding runs ahead of the device in threads and finishing (measuring, encoding) runs behind it.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import time
from collections import Counter, deque
from collections.abc import Hashable, Iterator, Sequence
from concurrent.futures import Future
from functools import partial

import numpy as np
import torch

from methods.base import Batch, Method, sample_seed
from methods.errors import BadSample, first_line
from methods.nn.resample import resample
from methods.sharing import Together
from pipeline import codec
from pipeline.logs.context import about, in_context, log_context
from pipeline.logs.faults import log_fault, rejected
from pipeline.records import Rejection, Row, Sample, Shard, Translated
from pipeline.translate.items import WAITS, Item, Measures, Note, Prepared, Result
from pipeline.translate.labelling import find_record, move_labels
from pipeline.translate.measuring import measure, measured_pictures, with_measures
from pipeline.translate.passthrough import carry_picture, carry_source
from pipeline.translate.pixels import pixels_of
from pipeline.translate.translator import Translator

_log = logging.getLogger(f"sceneshift.{__name__}")


def translate_shard(translator: Translator, shard: Shard, note: Note = lambda shard, what: None) -> Translated:
    """Translate one shard. Never raises for a sample: what cannot be done becomes a rejected row.

    Args:
        note: gets (shard id, what) whenever something else begins to be done.
    """
    (translated,) = translate_beside([(translator, shard)], note)
    assert translated is not None
    return translated


def translate_beside(
    asked: Sequence[tuple[Translator, Shard]], note: Note = lambda shard, what: None
) -> list[Translated | None]:
    """Translate the samples of one shard by several translators of this process, each picture decoded once.

    Args:
        asked: translators of different targets, and the shard as each output names it; the first leads.
        note: as of :func:`translate_shard`, of the first one's shard.

    Returns:
        A shard for each. Where one of the others fails it is logged and is ``None``; what the first raises is raised.
    """
    lead, shard = asked[0]
    note(shard.id, WAITS)
    everyone = [translator for translator, _ in asked]
    working = [ShardTranslation(each, named, lambda _, what: note(shard.id, what)) for each, named in asked]
    lookahead = max(4, *(2 * translator.job.batch_size for translator in everyone))
    ahead: deque[tuple[int, Sample, Future[list[Prepared | Exception]]]] = deque()
    samples = enumerate(shard.samples)
    with log_context(shard=shard.id):
        while True:
            while len(ahead) < lookahead:
                number, sample = next(samples, (None, None))
                if number is None or sample is None:
                    break
                prepare = in_context(_prepare_each, key=sample.key)
                ahead.append((number, sample, lead.ahead.submit(prepare, everyone, sample)))
            if not ahead:
                break
            number, sample, future = ahead.popleft()
            for each, prepared in zip(working, future.result(), strict=True):
                with each.attempted(leads=each is working[0]):
                    each.take(number, sample, prepared)
            _send_beside(working)
        for each in working:
            each.fill_up()
        _send_beside(working)
        done: list[Translated | None] = [None] * len(asked)
        for place, each in enumerate(working):
            with each.attempted(leads=place == 0):
                done[place] = None if each.failed else each.end()
    return done


def _send_beside(working: Sequence[ShardTranslation]) -> None:
    """Send what is full to the device; batches of the same samples know of each other before the first one goes."""
    _introduce(working)
    for each in working:
        with each.attempted(leads=each is working[0]):
            each.send()


def _introduce(working: Sequence[ShardTranslation]) -> None:
    same: dict[Hashable, list[tuple[Method, Batch]]] = {}
    for each in working:
        with each.attempted(leads=each is working[0]):
            for batch in each.collect():
                same.setdefault((*batch.keys, *batch.seeds), []).append((each.translator.method, batch))
    for asked in same.values():
        if len(asked) > 1:
            Together.join(asked)


def _prepare_each(translators: Sequence[Translator], sample: Sample) -> list[Prepared | Exception]:
    """What each translator makes of a sample that is opened once."""
    try:
        opened = translators[0].open(sample)
    except Exception as error:
        return [error] * len(translators)
    found: list[Prepared | Exception] = []
    for translator in translators:
        try:
            with log_context(**about(translator.target)):
                found.append(translator.prepare(opened))
        except Exception as error:
            found.append(error)
    return found


class ShardTranslation:
    """One shard on its way through a translator.

    Samples come prepared, batches follow each other on the device, rows are finished behind.

    Attributes:
        failed: whether the machinery failed here; nothing more is done then.
    """

    def __init__(self, translator: Translator, shard: Shard, note: Note) -> None:
        self.translator, self.shard, self.note = translator, shard, note
        self.job = translator.job
        self.variants = self.job.spec.variants
        self.rows: list[Row | None] = [None] * (len(shard.samples) * self.variants)
        self.pending: dict[tuple[int, ...], list[Item]] = {}
        self.full: list[list[Item]] = []
        self.collected: list[tuple[list[Item], list[tuple[Sequence[Item], Batch]]]] = []
        self.sent: deque[tuple[list[Item], Future[list[Result]]]] = deque()
        self.finishing: deque[Future[None]] = deque()
        self.started, self.device_seconds = time.time(), 0.0
        self.failed = False

    @contextlib.contextmanager
    def attempted(self, *, leads: bool) -> Iterator[None]:
        """Inside, log lines are about this shard, and an error that is no sample's ends this translation alone.

        Args:
            leads: raise the error all the same.
        """
        try:
            with log_context(shard=self.shard.id, **about(self.translator.target)):
                yield
        except Exception as error:
            if leads:
                raise
            self.failed = True
            self.full, self.collected = [], []
            text = f"{self.shard.id} is left to a run of {self.translator.target} alone: {first_line(error)}"
            log_fault(logging.WARNING, text, "translate", type(error).__name__, error)

    def take(self, number: int, sample: Sample, prepared: Prepared | Exception) -> None:
        """Put a prepared sample's variants with others of its shape.

        One that could not be prepared becomes a rejected row; nothing is raised for a sample.
        """
        if self.failed:
            return
        if isinstance(prepared, Exception):
            if sample.problem is None:
                self._reject(number, sample, rejected("prepare", prepared, key=sample.key))
            else:
                self._reject(number, sample, sample.problem)
                problem = sample.problem
                log_fault(logging.INFO, f"rejected: {problem.message}", problem.stage, problem.error, key=sample.key)
            return
        for variant in range(self.variants):
            group = self.pending.setdefault(tuple(prepared.tensor.shape), [])
            seed = sample_seed(self.job.spec.seed, sample.key, variant)
            group.append(Item(number * self.variants + variant, prepared, variant, seed))
            if len(group) == self.job.batch_size:
                self.pending[tuple(prepared.tensor.shape)] = []
                self.full.append(group)

    def fill_up(self) -> None:
        """No more samples come: what waits for others of its shape is full."""
        self.full += [group for group in self.pending.values() if group and not self.failed]
        self.pending = {}

    def collect(self) -> list[Batch]:
        """Make batches of what is full, and say which."""
        groups, self.full = self.full, []
        for items in groups:
            self._collect(items)
        return [batch for _, batches in self.collected for _, batch in batches]

    def _collect(self, items: list[Item]) -> None:
        try:
            self.collected.append((items, self.translator.batches_of(items)))
        except Exception as error:
            if len(items) == 1:
                self._refuse(items[0], rejected("prepare", error))
                return
            for item in items:
                self._collect([item])

    def send(self) -> None:
        """Queue the batches for the device; wait for the one before each, so that one is at work and one is waiting."""
        while self.collected:
            items, batches = self.collected.pop(0)
            call = in_context(self.translator.run_device, key=_keys(items))
            self.sent.append((items, self.translator.device.submit(partial(call, batches, self._held))))
            # the queue alone holds them now, and lets them go once they are translated
            del batches, call
            if len(self.sent) > 1:
                self._take_back()

    def end(self) -> Translated:
        """What became of the samples that were taken, in source order."""
        while self.sent:
            self._take_back()
        while self.finishing:
            self.finishing.popleft().result()
        rows = tuple(row for row in self.rows if row is not None)
        assert len(rows) == len(self.rows)
        finished = time.time()
        counts = Counter(row.status for row in rows)
        _log.info(
            "%d rows in %.2f s, %.2f s of them on the device: %s",
            len(rows),
            finished - self.started,
            self.device_seconds,
            ", ".join(f"{number} {status}" for status, number in sorted(counts.items())) or "none",
        )
        return Translated(
            shard=self.shard.id,
            source=self.shard.source,
            part=self.shard.part,
            last=self.shard.last,
            rows=rows,
            started=self.started,
            finished=finished,
            device_seconds=self.device_seconds,
            worker=self.translator.worker,
            bytes_in=sum(len(sample.image or b"") for sample in self.shard.samples),
            notices=self.translator.notices.take(),
            findings=self.shard.findings,
            damaged=self.shard.damaged,
            read_seconds=self.shard.read_seconds,
            device=self.translator.device_name,
            operations=self.translator.operations.per_image,
        )

    def _take_back(self) -> None:
        """Wait for the oldest batch that was sent, and hand it to the encoding threads."""
        items, future = self.sent.popleft()
        self.finishing.append(
            self.translator.behind.submit(in_context(self._finish, key=_keys(items)), items, future.result())
        )
        # Bounds the memory of finished batches that wait to be encoded.
        while len(self.finishing) > 4:
            self.finishing.popleft().result()

    @contextlib.contextmanager
    def _held(self, items: Sequence[Item]) -> Iterator[None]:
        """Say who has the device, and count the time."""
        self.note(self.shard.id, f"translating {items[0].prepared.sample.key} and {len(items) - 1} more")
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.device_seconds += time.perf_counter() - begun

    def _reject(self, number: int, sample: Sample, rejection: Rejection) -> None:
        sha256 = hashlib.sha256(sample.image).hexdigest() if sample.image else None
        record = self._record_of(sample)
        for variant in range(self.variants):
            self.rows[number * self.variants + variant] = Row(
                key=sample.key,
                variant=variant,
                status="rejected",
                source_uri=sample.source_uri,
                source_sha256=sha256,
                seed=sample_seed(self.job.spec.seed, sample.key, variant),
                rejection=rejection,
                label_record=record,
            )

    def _record_of(self, sample: Sample) -> int | None:
        """Which labels belong to a sample that could not be prepared: they are not to count as matching nothing."""
        if self.translator.table is None:
            return None
        try:
            found = find_record(sample, self.translator.table)
        except BadSample:
            return None
        return None if found is None else found.number

    def _finish(self, items: list[Item], results: Sequence[Result]) -> None:
        good: list[tuple[Item, np.ndarray]] = []
        for item, result in zip(items, results, strict=True):
            if isinstance(result, torch.Tensor):
                try:
                    (result,) = pixels_of(result[None], self.translator.method.info.rounded)
                except Exception as error:
                    result = rejected("translate", error, key=item.prepared.sample.key)
            if isinstance(result, Rejection):
                self._refuse(item, result)
            else:
                good.append((item, self._sized(item, result)))
        if not good:
            return
        for (item, picture), measured in zip(good, self._measure_each(good), strict=True):
            if isinstance(measured, Rejection):
                self._refuse(item, measured)
                continue
            try:
                self.rows[item.slot] = self._row(item, picture, measured)
            except Exception as error:
                self._refuse(item, rejected("encode", error, key=item.prepared.sample.key))

    def _source_beside(self, prepared: Prepared, size: tuple[int, int]) -> bytes:
        data = prepared.sample.image or b""
        if "condition" in self.translator.method.info.inputs:
            # numbers that mean something are neither blended nor compressed
            return carry_picture(data, prepared.decoded, prepared.window, size, "nearest")
        return carry_source(data, prepared.decoded, prepared.window, size, self.job.spec.output.image)

    def _sized(self, item: Item, picture: np.ndarray) -> np.ndarray:
        if self.job.spec.output.size == "method":
            return picture
        height, width = item.prepared.decoded.pixels.shape[:2]
        return resample(picture, (width, height))

    def _measure_each(self, good: list[tuple[Item, np.ndarray]]) -> Sequence[Measures | Rejection]:
        """Measure a batch; if that fails, each by itself, so that one picture cannot spoil its neighbours."""
        try:
            return self._measure(good)
        except Exception as error:
            if len(good) == 1:
                return [rejected("measure", error, key=good[0][0].prepared.sample.key)]
        return [self._measure_each([one])[0] for one in good]

    def _measure(self, good: list[tuple[Item, np.ndarray]]) -> list[Measures]:
        if not self.translator.metrics:
            return [Measures() for _ in good]
        labels = any(getattr(metric, "needs_labels", False) for metric in self.translator.metrics)
        pictures = measured_pictures(self.job, good, labels=labels)
        return measure(self.translator.metrics, pictures, self.translator.measuring)

    def _row(self, item: Item, picture: np.ndarray, measured: Measures) -> Row:
        prepared, output = item.prepared, self.job.spec.output
        sample = prepared.sample
        size = (picture.shape[1], picture.shape[0])
        cut = (prepared.decoded.pixels.shape[1], prepared.decoded.pixels.shape[0])
        labels = move_labels(with_measures(prepared.labels, measured), self.job, cut, size)
        kept = self.translator.keep is None or self.translator.keep.keeps(measured.values)
        masks: dict[str, bytes] = {}
        image = source_image = None
        if kept:
            image = codec.encode(picture, output.image.format, output.image.quality)
            decoded = prepared.decoded
            window = prepared.window
            masks = {name: carry_picture(data, decoded, window, size, "nearest") for name, data in sample.masks.items()}
            if sample.target is not None and self.job.layout.target is not None:
                masks[self.job.layout.target] = carry_picture(sample.target, decoded, window, size, "lanczos")
            if output.pairs:
                source_image = self._source_beside(prepared, size)
        return Row(
            key=sample.key,
            variant=item.variant,
            status="ok" if kept else "filtered",
            source_uri=sample.source_uri,
            source_sha256=prepared.sha256,
            seed=item.seed,
            rejection=None if kept else Rejection("keep", "filtered", f"not kept by: {self.job.spec.keep}"),
            image=image,
            source_image=source_image,
            width=size[0],
            height=size[1],
            caption=self.job.label_changes.captioned(sample.caption),
            labels=labels,
            labels_raw=prepared.labels.raw if prepared.labels else sample.labels_raw,
            label_record=prepared.label_record,
            label_problems=prepared.label_problems,
            masks=masks,
            passthrough=sample.passthrough,
            metrics=measured.values,
            features=measured.features if kept else {},
            findings=prepared.findings() if item.variant == 0 else (),
        )

    def _refuse(self, item: Item, rejection: Rejection) -> None:
        self.rows[item.slot] = Row(
            key=item.prepared.sample.key,
            variant=item.variant,
            status="rejected",
            source_uri=item.prepared.sample.source_uri,
            source_sha256=item.prepared.sha256,
            seed=item.seed,
            rejection=rejection,
            label_record=item.prepared.label_record,
        )


def _keys(items: Sequence[Item]) -> str:
    first = items[0].prepared.sample.key
    return first if len(items) == 1 else f"{first} and {len(items) - 1} more"
