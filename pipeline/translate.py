"""The work on one shard, as a plain object without Ray: decode, batch, translate, measure, encode, overlapped.

Decoding runs ahead of the device in threads and finishing (measuring, encoding) runs behind it. One thread alone works
the device, from a queue in which each shard has its next batch waiting; two shards may be in one translator at a time,
so that there is work for it while one of them ends.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from typing import cast

import numpy as np
import torch

import methods
from methods.base import Batch, Conditioned, Inputs, sample_seed, to_uint8
from methods.errors import BadSample
from pipeline import codec, metrics
from pipeline.board import WAITS
from pipeline.carry import Window, carry_picture, carry_source, cut_to, load_table, move_labels, parse_labels
from pipeline.cpu import settle_on_cpu
from pipeline.device import DeviceThread
from pipeline.job import Job
from pipeline.keep import Keep
from pipeline.labels import Labels, Transform
from pipeline.metrics.base import Pictures
from pipeline.sample import Refusal, Row, Sample, Shard, Translated

Measures = tuple[dict[str, float], dict[str, np.ndarray]]
"""Values by column and feature vectors by set, of one picture."""

Note = Callable[[str, str], None]
"""Tells whoever watches what is being worked on: (shard id, what)."""


@dataclass(frozen=True)
class Prepared:
    """A sample ready for the device, with what is needed to finish it."""

    sample: Sample
    decoded: codec.Decoded
    window: Window | None
    target: np.ndarray | None
    labels: Labels | None
    tensor: torch.Tensor
    sha256: str


@dataclass(frozen=True)
class Item:
    """One (sample, variant) on its way through the device; ``slot`` is its place among the shard's rows."""

    slot: int
    prepared: Prepared
    variant: int
    seed: int


Result = torch.Tensor | np.ndarray | Refusal
"""What the device made of an item: (3, H, W) float in [-1, 1], (H, W, 3) uint8 pixels, or why not."""

Hold = Callable[[Sequence[Item]], AbstractContextManager[None]]
"""What is put around the method's own call on a batch: who has the device, for how long."""


class Translator:
    """A loaded method with everything around it. Built once a worker process."""

    def __init__(self, job: Job) -> None:
        compute = job.spec.compute
        if job.device == "cpu":
            settle_on_cpu(compute.torch_threads)
        self.job = job
        self.method = methods.load(
            job.spec.method.name,
            weights=job.weights,
            device=job.device,
            dtype=compute.dtype,
            **job.params,
        )
        self.metrics = metrics.build(job.spec.metrics, device=job.device)
        self.keep = Keep.parse(job.spec.keep, job.metric_columns) if job.spec.keep else None
        self.table = load_table(job.spec.source.labels, job.spec.source.storage)
        threads = (4 if job.device == "cuda" else 2) if compute.threads == "auto" else compute.threads
        self._ahead = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        self._behind = ThreadPoolExecutor(threads, thread_name_prefix="encode")
        self.device = DeviceThread()
        self._measuring = threading.Lock()
        self.worker = f"{socket.gethostname()}:{os.getpid()}"

    def translate(self, shard: Shard, note: Note = lambda shard, what: None) -> Translated:
        """Translate one shard. Never raises for a sample: what cannot be done becomes a rejected row."""
        return _Run(self, shard, note).result()

    def close(self) -> None:
        """Stop the threads."""
        self._ahead.shutdown(wait=False, cancel_futures=True)
        self._behind.shutdown(wait=False, cancel_futures=True)
        self.device.close()

    def prepare(self, sample: Sample) -> Prepared:
        """Decode and prepare one sample. Raises BadSample."""
        if sample.problem is not None:
            raise BadSample(sample.problem.error, sample.problem.message)
        assert sample.image is not None
        decoded = codec.decode(sample.image)
        target = codec.decode(sample.target).pixels if sample.target is not None else None
        labels = parse_labels(sample, self.table, self.job.spec.source.labels.format, decoded)
        columns = dict(sample.carried)
        if "label_map" in self.method.info.inputs:
            columns |= {name: codec.decode_mask(data) for name, data in sample.masks.items()}
        inputs = Inputs(sample.key, decoded.pixels, sample.caption, columns)
        if "condition" in self.method.info.inputs:
            inputs = replace(inputs, stored=codec.decode_mask(sample.image))
            decoded = replace(decoded, pixels=cast(Conditioned, self.method).render(inputs))
        tensor = self.method.prepare(inputs)
        window = self._window(decoded)
        if window is not None:
            # Everything that belongs to the picture is cut as the method cut it.
            upright = (decoded.pixels.shape[1], decoded.pixels.shape[0])
            decoded = replace(decoded, pixels=cut_to(decoded.pixels, window, upright))
            target = None if target is None else cut_to(target, window, upright)
            labels = None if labels is None else Transform.crop(upright, window).apply(labels)
        return Prepared(sample, decoded, window, target, labels, tensor, hashlib.sha256(sample.image).hexdigest())

    def _window(self, decoded: codec.Decoded) -> Window | None:
        crop = getattr(self.method, "window", None)
        return None if crop is None else crop(decoded.pixels.shape[1], decoded.pixels.shape[0])

    def batch_of(self, items: Sequence[Item]) -> Batch:
        """The items as the method takes them, on the device."""
        return Batch(
            inputs=torch.stack([item.prepared.tensor for item in items]).to(self.method.device, non_blocking=True),
            seeds=[item.seed for item in items],
            keys=[item.prepared.sample.key for item in items],
            captions=[item.prepared.sample.caption for item in items],
            columns=[item.prepared.sample.carried for item in items],
        )

    def run_device(self, items: Sequence[Item], hold: Hold, batch: Batch | None = None) -> list[Result]:
        """One result an item. A batch that fails is tried again one by one.

        Only the method's own call is made inside ``hold``. On a CPU, collecting a batch before it (``batch``, if that
        is done) and turning it into pixels after it (left to the encoding threads) take so long that the method would
        wait for it.
        """
        batch = self.batch_of(items) if batch is None else batch
        try:
            with torch.inference_mode(), hold(items):
                images = self.method.translate(batch)
                return [*pixels_of(images)] if images.is_cuda else [*images]
        except torch.OutOfMemoryError as error:
            if len(items) == 1:
                return [Refusal("translate", "out_of_memory", f"one image does not fit: {_short(error)}")]
            torch.cuda.empty_cache()
            half = len(items) // 2
            return self.run_device(items[:half], hold) + self.run_device(items[half:], hold)
        except BadSample as error:
            if len(items) == 1:
                return [Refusal("translate", error.reason, str(error))]
            return [result for item in items for result in self.run_device([item], hold)]
        except Exception as error:
            if "CUDA error" in str(error):
                # The device context is gone: nothing after this can work in this process.
                raise
            if len(items) == 1:
                return [Refusal("translate", type(error).__name__, _short(error))]
            return [result for item in items for result in self.run_device([item], hold)]


def pixels_of(images: torch.Tensor) -> list[np.ndarray | Refusal]:
    """(B, 3, H, W) in [-1, 1] as (H, W, 3) uint8 each; a refusal for one with values that are not numbers."""
    with torch.inference_mode():
        finite = torch.isfinite(images).flatten(1).all(1).tolist()
        pixels = to_uint8(images.nan_to_num())
    refusal = Refusal("translate", "not_finite", "the method returned values that are not numbers")
    return [picture if good else refusal for picture, good in zip(pixels, finite, strict=True)]


def _short(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


class _Run:
    """One shard on its way through a translator."""

    def __init__(self, translator: Translator, shard: Shard, note: Note) -> None:
        self.t, self.shard, self.note = translator, shard, note
        self.job = translator.job
        self.variants = self.job.spec.variants
        self.rows: list[Row | None] = [None] * (len(shard.samples) * self.variants)
        self.pending: dict[tuple[int, ...], list[Item]] = {}
        self.sent: deque[tuple[list[Item], Future[list[Result]]]] = deque()
        self.finishing: deque[Future[None]] = deque()
        self.device_seconds = 0.0

    def result(self) -> Translated:
        started = time.time()
        self.note(self.shard.id, WAITS)
        batch_size = self.job.batch_size
        lookahead = max(2 * batch_size, 4)
        ahead: deque[tuple[int, Sample, Future[Prepared]]] = deque()
        samples = enumerate(self.shard.samples)
        while True:
            while len(ahead) < lookahead:
                number, sample = next(samples, (None, None))
                if number is None or sample is None:
                    break
                ahead.append((number, sample, self.t._ahead.submit(self.t.prepare, sample)))
            if not ahead:
                break
            self._sort_in(*ahead.popleft())
        for group in list(self.pending.values()):
            if group:
                self._send(group)
        while self.sent:
            self._take_back()
        while self.finishing:
            self.finishing.popleft().result()
        rows = tuple(row for row in self.rows if row is not None)
        assert len(rows) == len(self.rows)
        return Translated(
            shard=self.shard.id,
            source=self.shard.source,
            part=self.shard.part,
            last=self.shard.last,
            rows=rows,
            started=started,
            finished=time.time(),
            device_seconds=self.device_seconds,
            worker=self.t.worker,
            bytes_in=sum(len(sample.image or b"") for sample in self.shard.samples),
            undeclared=self.shard.undeclared,
        )

    def _sort_in(self, number: int, sample: Sample, future: Future[Prepared]) -> None:
        """Put a prepared sample's variants with others of its shape; send what is full."""
        try:
            prepared = future.result()
        except BadSample as error:
            stage = sample.problem.stage if sample.problem else "prepare"
            self._reject(number, sample, Refusal(stage, error.reason, str(error)))
            return
        except Exception as error:
            self._reject(number, sample, Refusal("prepare", type(error).__name__, _short(error)))
            return
        for variant in range(self.variants):
            group = self.pending.setdefault(tuple(prepared.tensor.shape), [])
            seed = sample_seed(self.job.spec.seed, sample.key, variant)
            group.append(Item(number * self.variants + variant, prepared, variant, seed))
            if len(group) == self.job.batch_size:
                self.pending[tuple(prepared.tensor.shape)] = []
                self._send(group)

    def _send(self, items: list[Item]) -> None:
        """Queue a batch for the device; wait for the one before it, so that one is at work and one is waiting."""
        batch = self.t.batch_of(items)
        self.sent.append((items, self.t.device.submit(partial(self.t.run_device, items, self._held, batch))))
        if len(self.sent) > 1:
            self._take_back()

    def _take_back(self) -> None:
        """Wait for the oldest batch that was sent, and hand it to the encoding threads."""
        items, future = self.sent.popleft()
        self.finishing.append(self.t._behind.submit(self._finish, items, future.result()))
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

    def _reject(self, number: int, sample: Sample, refusal: Refusal) -> None:
        sha256 = hashlib.sha256(sample.image).hexdigest() if sample.image else None
        for variant in range(self.variants):
            self.rows[number * self.variants + variant] = Row(
                key=sample.key,
                variant=variant,
                status="rejected",
                source_uri=sample.source_uri,
                source_sha256=sha256,
                seed=sample_seed(self.job.spec.seed, sample.key, variant),
                refusal=refusal,
            )

    def _finish(self, items: list[Item], results: Sequence[Result]) -> None:
        good: list[tuple[Item, np.ndarray]] = []
        for item, result in zip(items, results, strict=True):
            if isinstance(result, torch.Tensor):
                try:
                    (result,) = pixels_of(result[None])
                except Exception as error:
                    result = Refusal("translate", type(error).__name__, _short(error))
            if isinstance(result, Refusal):
                self._refuse(item, result)
            else:
                good.append((item, self._sized(item, result)))
        if not good:
            return
        for (item, picture), measured in zip(good, self._measure_each(good), strict=True):
            if isinstance(measured, Refusal):
                self._refuse(item, measured)
                continue
            values, features = measured
            try:
                self.rows[item.slot] = self._row(item, picture, values, features)
            except BadSample as error:
                self._refuse(item, Refusal("encode", error.reason, str(error)))
            except Exception as error:
                self._refuse(item, Refusal("encode", type(error).__name__, _short(error)))

    def _source_beside(self, prepared: Prepared, size: tuple[int, int]) -> bytes:
        data = prepared.sample.image or b""
        if "condition" in self.t.method.info.inputs:
            # numbers that mean something are neither blended nor compressed
            return carry_picture(data, prepared.decoded, prepared.window, size, "nearest")
        return carry_source(data, prepared.decoded, prepared.window, size, self.job.spec.output.image)

    def _sized(self, item: Item, picture: np.ndarray) -> np.ndarray:
        if self.job.spec.output.size == "method":
            return picture
        height, width = item.prepared.decoded.pixels.shape[:2]
        return codec.resize(picture, (width, height))

    def _measure_each(self, good: list[tuple[Item, np.ndarray]]) -> Sequence[Measures | Refusal]:
        """Measure a batch; if that fails, each by itself, so that one picture cannot spoil its neighbours."""
        try:
            return self._measure(good)
        except Exception as error:
            if len(good) == 1:
                return [Refusal("measure", type(error).__name__, _short(error))]
            return [self._measure_each([one])[0] for one in good]

    def _measure(self, good: list[tuple[Item, np.ndarray]]) -> list[Measures]:
        found: list[Measures] = [({}, {}) for _ in good]
        if not self.t.metrics:
            return found
        sizes = [(picture.shape[1], picture.shape[0]) for _, picture in good]
        originals = [item.prepared.decoded.pixels for item, _ in good]
        targets = [item.prepared.target for item, _ in good]
        pictures = Pictures(
            source=[codec.resize(pixels, size) for pixels, size in zip(originals, sizes, strict=True)],
            output=[picture for _, picture in good],
            target=[
                None if pixels is None else codec.resize(pixels, size)
                for pixels, size in zip(targets, sizes, strict=True)
            ],
        )
        with self.t._measuring:
            for metric in self.t.metrics:
                measured = metric.measure(pictures)
                for name, column in measured.values.items():
                    for place, value in zip(found, column, strict=True):
                        place[0][name] = float(value)
                for name, vectors in measured.features.items():
                    for place, vector in zip(found, vectors, strict=True):
                        place[1][name] = vector
        return found

    def _row(self, item: Item, picture: np.ndarray, values: dict[str, float], features: dict[str, np.ndarray]) -> Row:
        prepared, output = item.prepared, self.job.spec.output
        sample = prepared.sample
        size = (picture.shape[1], picture.shape[0])
        labels = move_labels(prepared.labels, prepared.decoded, size)
        kept = self.t.keep is None or self.t.keep.keeps(values)
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
            refusal=None if kept else Refusal("keep", "filtered", f"not kept by: {self.job.spec.keep}"),
            image=image,
            source_image=source_image,
            width=size[0],
            height=size[1],
            caption=sample.caption,
            labels=labels,
            labels_raw=prepared.labels.raw if prepared.labels else sample.labels_raw,
            masks=masks,
            carried=sample.carried,
            metrics=values,
            features=features if kept else {},
        )

    def _refuse(self, item: Item, refusal: Refusal) -> None:
        self.rows[item.slot] = Row(
            key=item.prepared.sample.key,
            variant=item.variant,
            status="rejected",
            source_uri=item.prepared.sample.source_uri,
            source_sha256=item.prepared.sha256,
            seed=item.seed,
            refusal=refusal,
        )
