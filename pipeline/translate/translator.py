"""The work on one shard, as a plain object without Ray: decode, batch, translate, measure, encode, overlapped.

Decoding runs ahead of the device in threads and finishing (measuring, encoding) runs behind it. One thread alone works
the device, from a queue in which each shard has its next batch waiting; two shards may be in one translator at a time,
so that there is work for it while one of them ends.
"""

from __future__ import annotations

import hashlib
import logging
import os
import socket
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import cast

import cv2
import torch

import methods
from methods.base import Batch, Conditioned, Inputs
from methods.compiling import compile_heavy, compile_reason, is_compile_error
from methods.errors import BadSample, first_line
from methods.notices import NoticeCounter
from pipeline import codec, metrics
from pipeline.errors import JobFailed
from pipeline.findings import Finding
from pipeline.job import Job
from pipeline.keep import KeepExpression
from pipeline.labels import Transform
from pipeline.labels.unread import unread_labels
from pipeline.logs.context import context
from pipeline.logs.faults import rejected
from pipeline.records import Rejection, Sample
from pipeline.translate.cpu import configure_cpu
from pipeline.translate.device import DeviceThread
from pipeline.translate.items import Hold, Item, Opened, Prepared, Result
from pipeline.translate.labelling import job_table, label_sample, sample_texts, with_label_parts
from pipeline.translate.operations import OperationCount, device_name
from pipeline.translate.passthrough import Window, cut_to, mask_pixels
from pipeline.translate.pixels import pixels_of

_log = logging.getLogger(f"sceneshift.{__name__}")

_MANY_SHAPES = 8


class Translator:
    """A loaded method with everything around it. Built once per worker process.

    Args:
        job: what is to be done.
        target: its name among several targets.
        beside: the translator of another target in this process, whose threads, labels and place at the device this one
            uses.
    """

    def __init__(self, job: Job, target: str = "", beside: Translator | None = None) -> None:
        compute = job.spec.compute
        # The pools below are the threads of this process.
        cv2.setNumThreads(1)
        if job.device == "cpu":
            configure_cpu(compute.torch_threads)
        self.job, self.target = job, target
        self.notices = NoticeCounter(lambda: context().get("target", "") == target)
        self.notices.start()
        self.method = methods.load(
            job.spec.method.name,
            weights=job.weights,
            device=job.device,
            dtype=compute.dtype,
            **job.params,
        )
        self._warm: set[torch.Size] = set()
        self.operations, self.device_name = OperationCount(), device_name(self.method.device)
        if job.compiled:
            compile_heavy(self.method)
        self.metrics = metrics.build(job.metric_entries, device=job.device)
        for metric in self.metrics:
            # weights that do not fit are found before the first picture
            getattr(metric, "load", lambda: None)()
        self.keep = KeepExpression.parse(job.spec.keep, job.metric_columns) if job.spec.keep else None
        self.worker = f"{socket.gethostname()}:{os.getpid()}"
        self._fitting: dict[torch.Size, int] = {}
        if beside is not None:
            self.table, self.measuring = beside.table, beside.measuring
            self.ahead, self.behind, self.device = beside.ahead, beside.behind, beside.device
            return
        self.table = job_table(job)
        threads = (4 if job.device == "cuda" else 2) if compute.threads == "auto" else compute.threads
        self.ahead = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        self.behind = ThreadPoolExecutor(threads, thread_name_prefix="encode")
        self.device = DeviceThread()
        self.measuring = threading.Lock()

    def close(self) -> None:
        """Stop the threads, also those that others use beside it."""
        self.ahead.shutdown(wait=False, cancel_futures=True)
        self.behind.shutdown(wait=False, cancel_futures=True)
        self.device.close()
        self.notices.stop()

    def open(self, sample: Sample) -> Opened:
        """Decode one sample and read its labels. Raises BadSample."""
        if sample.problem is not None:
            raise BadSample(sample.problem.error, sample.problem.message)
        assert sample.image is not None
        decoded = codec.decode(sample.image)
        target = codec.decode(sample.target).pixels if sample.target is not None else None
        found = label_sample(sample, self.table, self.job.spec.source, decoded)
        sha256 = hashlib.sha256(sample.image).hexdigest()
        sample = with_label_parts(sample, found)
        return Opened(sample, decoded, target, found.labels, found.record, found.problem, sha256)

    def prepare(self, opened: Opened) -> Prepared:
        """Make an opened sample ready for the device. Raises BadSample."""
        sample, decoded, target, labels = opened.sample, opened.decoded, opened.target, opened.labels
        columns = dict(sample.passthrough)
        if "label_map" in self.method.info.inputs:
            read = getattr(self.method, "masks", sample.masks)
            columns |= {name: mask_pixels(data, decoded) for name, data in sample.masks.items() if name in read}
        inputs = Inputs(sample.key, decoded.pixels, sample.caption, columns)
        if "condition" in self.method.info.inputs:
            assert sample.image is not None
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
        return Prepared(
            sample,
            decoded,
            window,
            target,
            labels,
            opened.label_record,
            tensor,
            opened.sha256,
            opened.label_problem,
            self._unread(opened.sample),
            # what is cut or rendered for this method is a picture of its own
            opened.sizes if decoded is opened.decoded else {},
        )

    def _unread(self, sample: Sample) -> tuple[Finding, ...]:
        """Texts that come with the sample, look like its labels, and are read by nobody."""
        read = None if self.table is None else self.table.info.format
        texts = sample_texts(sample, self.job)
        return tuple(
            Finding("labels", name, reason, 1, (sample.key,))
            for name, reason in unread_labels(texts, read, self.job.layout.caption)
        )

    def _window(self, decoded: codec.Decoded) -> Window | None:
        crop = getattr(self.method, "window", None)
        return None if crop is None else crop(decoded.pixels.shape[1], decoded.pixels.shape[0])

    def batches_of(self, items: Sequence[Item]) -> list[tuple[Sequence[Item], Batch]]:
        """The items as the method takes them, on the device: one batch, or several where one is known not to fit."""
        most = self._fitting.get(items[0].prepared.tensor.shape, len(items))
        parts = [items[first : first + most] for first in range(0, len(items), most)]
        return [(part, self._batch_of(part)) for part in parts]

    def _batch_of(self, items: Sequence[Item]) -> Batch:
        made = Batch(
            inputs=torch.stack([item.prepared.tensor for item in items]).to(self.method.device, non_blocking=True),
            seeds=[item.seed for item in items],
            keys=[item.prepared.sample.key for item in items],
            captions=[item.prepared.sample.caption for item in items],
            columns=[item.prepared.sample.passthrough for item in items],
        )
        if not self.job.compiled:
            return made
        return made.padded(self._fitting.get(items[0].prepared.tensor.shape, self.job.batch_size))

    def run_device(self, batches: Sequence[tuple[Sequence[Item], Batch]], hold: Hold) -> list[Result]:
        """One result per item. A batch that fails is tried again one by one; one that does not fit, in halves.

        How many pictures of a shape did not fit is remembered: later batches of it are cut before they fail.

        Only the method's own call is made inside ``hold``. On a CPU, collecting a batch before it (:meth:`batches_of`)
        and turning it into pixels after it (left to the encoding threads) take so long that the method would wait for
        it.
        """
        results: list[Result] = []
        for items, batch in batches:
            # it was made before an earlier one of them turned out not to fit
            cut = len(items) > self._fitting.get(items[0].prepared.tensor.shape, len(items))
            results += self.run_device(self.batches_of(items), hold) if cut else self._run(items, hold, batch)
        return results

    def _run(self, items: Sequence[Item], hold: Hold, batch: Batch) -> list[Result]:
        shape = items[0].prepared.tensor.shape
        try:
            if self.job.compiled:
                self._warm_up(batch)
            with torch.inference_mode(), hold(items):
                images = self.method.translate(batch)
                if self.job.compiled:
                    images = images[: len(items)]
                on_gpu = images.is_cuda
                made: list[Result] = [*(pixels_of(images, self.method.info.rounded) if on_gpu else images)]
        except Exception as error:
            full = isinstance(error, torch.OutOfMemoryError)
            if not full and "CUDA error" in str(error):
                # The device context is gone: nothing after this can work in this process.
                raise
            if self.job.compiled and is_compile_error(error):
                raise JobFailed(
                    f"compute.compile: a network of '{self.method.info.name}' cannot be compiled "
                    f"({compile_reason(error)}); set compute.compile: false"
                ) from error
            if len(items) == 1 and not (full and len(batch) > 1):
                return [_refused(items[0], error, full)]
        else:
            self.operations.translated(self.method, batch, self.job.compiled)
            return made
        # After the handler: what the failed batch held is let go of, and what the next ones raise stands by itself.
        if full:
            torch.cuda.empty_cache()
            self._fitting[shape] = half = (len(batch) + 1) // 2
            _log.warning(
                "%d pictures of %s do not fit into the device's memory: going on with batches of %d",
                len(batch),
                "x".join(map(str, reversed(shape[-2:]))),
                half,
            )
            return self.run_device(self.batches_of(items), hold)
        return [result for item in items for result in self.run_device(self.batches_of([item]), hold)]

    def _warm_up(self, batch: Batch) -> None:
        """Have the networks compiled for the batch's shape, outside of what counts as time on the device."""
        shape = batch.inputs.shape
        if shape in self._warm:
            return
        began = time.monotonic()
        with torch.inference_mode():
            # what it shares with others is for the call that counts
            self.method.translate(replace(batch, together=None))
        self._warm.add(shape)
        size = "x".join(map(str, reversed(shape[-2:])))
        seconds = time.monotonic() - began
        _log.info("networks compiled for %d pictures of %s at once: %.1f s with a first batch", shape[0], size, seconds)
        if len(self._warm) == _MANY_SHAPES:
            _log.warning(
                "compute.compile: pictures of %d sizes until now, and the networks are compiled anew for each; bring "
                "them to one size (method.params.image_prep), or set compute.compile: false",
                _MANY_SHAPES,
            )


def _refused(item: Item, error: Exception, full: bool) -> Rejection:
    key = item.prepared.sample.key
    if full:
        message = f"one image does not fit: {first_line(error, 300)}"
        return rejected("translate", error, key=key, reason="out_of_memory", message=message)
    return rejected("translate", error, key=key)
