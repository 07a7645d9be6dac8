"""Training samples from the sources that `run` reads: shuffled, and a function of the position alone.

Position p of a stream is the same sample whatever was read before it, so a resumed run asks for the position where it
was interrupted and gets what it would have got.
"""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from itertools import islice
from typing import Any

import numpy as np
import torch

from methods.errors import BadSample, InputError
from methods.train.objective import Objective, Streams
from methods.train.objective import Sample as TrainingSample
from pipeline.records import Sample
from pipeline.sources import detect, open_source
from pipeline.sources.peek import resolve_layout
from pipeline.spec import SourceSpec
from pipeline.storage import redact
from pipeline.training.augment import AugmentSpec, augmented
from pipeline.training.balance import balanced, value_of
from pipeline.training.chosen import chosen_keys
from pipeline.training.decoded import DecodedCache, decoded
from pipeline.training.held_out import HeldOut, hold_out

WINDOW = 512
_PIECE = 16
_KEPT_WINDOWS = 2
_AHEAD = 2


def _seed(*parts: object) -> int:
    return int.from_bytes(hashlib.blake2b("\0".join(map(str, parts)).encode(), digest_size=8).digest(), "little")


class Stream:
    """One source in random order, epoch after epoch.

    An epoch takes the source files (for loose images: the pictures) in a random order, cuts that row into windows of
    512 samples, and shuffles each window. Two windows of compressed pictures are held in memory, no more.

    Args:
        spec: the source.
        seed: of the order; every worker has another one.
        hold_out_count: samples that are held out from training by their keys.
        balance: a column or label whose values come equally often within each window.
        where: an expression over the metrics of the output that is read; other samples are left out.

    Variants of one picture are held out together.

    Raises:
        InputError: nothing there, or nothing that is a picture.
    """

    def __init__(
        self,
        spec: SourceSpec,
        seed: int,
        hold_out_count: int = 0,
        balance: str | None = None,
        where: str | None = None,
    ) -> None:
        self.where = redact(spec.uris[0])
        self.seed, self.balance = seed, balance
        format = detect(spec)
        self.layout = resolve_layout(spec, format, 1)
        self.source = open_source(spec, format, 1)
        self.files = self.source.plan()
        counts = [self.source.count(file) for file in self.files]
        limit = spec.limit
        self.counts = np.array([c if limit is None else min(c, limit) for c in self._known(counts)])
        self.size = int(self.counts.sum())
        if not self.size:
            raise InputError(f"{self.where}: no samples to train on")
        self._windows: OrderedDict[tuple[int, int], list[Sample]] = OrderedDict()
        self._further: dict[tuple[int, int], int] = {}
        """(epoch, window) without a sample to train on -> a later one, which may have some."""
        self._lock = threading.Lock()
        self.variants = self.layout.variants or 1
        self.chosen = chosen_keys(spec, where) if where is not None else None
        self.held_out_count = hold_out_count
        self.held_out = HeldOut()
        if hold_out_count:
            self.held_out = self._hold_out(hold_out_count)
        if balance is not None and all(value_of(sample, balance) is None for sample in islice(self.first(), WINDOW)):
            raise InputError(f"{self.where}: balance: no sample has '{balance}', neither as a column nor in its labels")
        self._unseen: list[Sample] = []
        self._to_come = (sample for sample in self.first() if not self.held_out or self.holds_out(sample))

    @property
    def usable(self) -> int:
        """Samples that are trained on or held out: of an output, those that fulfil ``where``."""
        return self.size if self.chosen is None else min(self.size, len(self.chosen))

    @property
    def trained_on(self) -> int:
        """Samples that are left to train on; of a set with missing variants at least so many."""
        return max(self.usable - self.held_out_count * self.variants, 1)

    def _hold_out(self, count: int) -> HeldOut:
        keys = (self.picture_of(sample.key) for sample in self.first())
        try:
            return hold_out(count, self.usable, lambda: keys, self.variants)
        except InputError as error:
            raise InputError(f"{self.where}: {error}") from None

    def _known(self, counts: list[int | None]) -> list[int]:
        return [
            count if count is not None else sum(len(s.samples) for s in self.source.read(file, self.layout, _PIECE))
            for file, count in zip(self.files, counts, strict=True)
        ]

    def first(self) -> Iterator[Sample]:
        """The chosen samples in the order of the source, for validation."""
        return (sample for sample in self._all() if self.chosen is None or sample.key in self.chosen)

    def _all(self) -> Iterator[Sample]:
        for file in self.files:
            for shard in self.source.read(file, self.layout, _PIECE):
                yield from shard.samples

    def picture_of(self, key: str) -> str:
        """A sample's key without the number of the variant."""
        return key.rpartition("_v")[0] if self.variants > 1 else key

    def holds_out(self, sample: Sample) -> bool:
        """Whether a sample is kept from training."""
        return self.picture_of(sample.key) in self.held_out

    def unseen(self) -> Iterator[Sample]:
        """The samples that training never sees, in the order of the source: all where it does not read this stream.

        They stay in memory as far as they were asked for: to find those that are held out, most of the source is read.
        """
        for number in itertools.count():
            if number == len(self._unseen) and (following := next(self._to_come, None)) is not None:
                self._unseen.append(following)
            if number == len(self._unseen):
                return
            yield self._unseen[number]

    def kept(self, count: int) -> list[Sample]:
        """The first ``count`` of :meth:`unseen`."""
        return list(islice(self.unseen(), count))

    def near(self, position: int) -> Iterator[Sample]:
        """The sample at ``position`` of the endless order, then the others of its window: stand-ins for a bad one.

        Where a window holds none to train on (``where`` may leave out long stretches), the next one that does counts.
        """
        epoch, place = divmod(position, self.size)
        number, offset = divmod(place, WINDOW)
        window = self._window_with_samples(epoch, number)
        yield from (sample for sample in (*window[offset:], *window[:offset]) if self._trains_on(sample))

    def _window_with_samples(self, epoch: int, number: int) -> list[Sample]:
        """The window ``number`` of an epoch, or the next one with a sample to train on; empty where there is none.

        A window without any is read once, however many positions lead to it.
        """
        first, windows = number, -(-self.size // WINDOW)
        for _ in range(windows):
            if (epoch, number) not in self._further:
                window = self._window(epoch, number)
                if any(map(self._trains_on, window)):
                    if number != first:
                        self._further[epoch, first] = number
                    return window
                self._further[epoch, number] = (number + 1) % windows
            number = self._further[epoch, number]
        return []

    def _trains_on(self, sample: Sample) -> bool:
        return not self.holds_out(sample) and (self.chosen is None or sample.key in self.chosen)

    def _window(self, epoch: int, number: int) -> list[Sample]:
        key = (epoch, number) if self.size > WINDOW else (0, 0)
        with self._lock:
            if key not in self._windows:
                self._windows[key] = self._read(epoch, number) if self.size > WINDOW else list(self._all())
                while len(self._windows) > _KEPT_WINDOWS:
                    self._windows.popitem(last=False)
                self._further = {at: to for at, to in self._further.items() if at[0] >= epoch - 1}
            samples = self._windows[key]
        rng = np.random.default_rng(_seed(self.seed, epoch, number))
        if self.balance is not None:
            # of what is trained on, or a value that is mostly left out would stay rare
            return balanced([each for each in samples if self._trains_on(each)], self.balance, len(samples), rng)
        return [samples[i] for i in rng.permutation(len(samples))]

    def _read(self, epoch: int, number: int) -> list[Sample]:
        order = np.random.default_rng(_seed(self.seed, epoch, "files")).permutation(len(self.files))
        ends = self.counts[order].cumsum()
        begin, end = number * WINDOW, min((number + 1) * WINDOW, self.size)
        found: list[Sample] = []
        first = int(np.searchsorted(ends, begin, side="right"))
        for rank in range(first, len(order)):
            start = int(ends[rank] - self.counts[order[rank]])
            if start >= end:
                break
            file, low, high = self.files[order[rank]], max(begin - start, 0), end - start
            for shard in self.source.read(file, self.layout, _PIECE, lambda part, least=low // _PIECE: part >= least):
                at = shard.part * _PIECE
                found += shard.samples[max(low - at, 0) : high - at]
                if at + len(shard.samples) >= high:
                    break
        return found


class Loader:
    """The batch of any step, decoded and transformed ahead in threads.

    Args:
        objective: whose ``transform`` is applied.
        streams: by name.
        batch_size: samples of every stream in a batch.
        seed: of crops and flips, with stream and position.
        device: where batches go.
        threads: how many decode.
        augment: how samples are varied before that.
        cache: of decoded samples; none keeps nothing.
    """

    def __init__(
        self,
        objective: Objective,
        streams: dict[str, Stream],
        batch_size: int,
        seed: int,
        device: torch.device,
        threads: int,
        augment: AugmentSpec | None = None,
        cache: DecodedCache | None = None,
    ) -> None:
        self.objective = objective
        self.streams = streams
        self.batch_size = batch_size
        self.seed = seed
        self.device = device
        self.augment = augment if augment is not None and augment.any else None
        self.cache = cache or DecodedCache(0)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")
        self._coming: dict[int, dict[str, list[Future[TrainingSample]]]] = {}

    def __call__(self, step: int) -> Streams:
        """Stream name -> field -> (B, ...) tensor on the device, or a list of plain values."""
        for wanted in range(step, step + _AHEAD + 1):
            if wanted not in self._coming:
                self._coming[wanted] = {
                    name: [
                        self._pool.submit(self._sample, name, wanted * self.batch_size + i)
                        for i in range(self.batch_size)
                    ]
                    for name in self.streams
                }
        rows = {name: [future.result() for future in futures] for name, futures in self._coming.pop(step).items()}
        return {name: self._collated(samples) for name, samples in rows.items()}

    def check(self) -> None:
        """Prepare the first batch, and keep nothing of it but what the cache keeps.

        Raises:
            InputError: not one sample of a stream can be used, or they do not fit into one batch.
        """
        for name in self.streams:
            self._collated(list(self._pool.map(partial(self._sample, name), range(self.batch_size))))

    def close(self) -> None:
        """Stop the threads."""
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _sample(self, name: str, position: int) -> TrainingSample:
        problem: BadSample | None = None
        for sample in self.streams[name].near(position):
            try:
                rng = np.random.default_rng(_seed(self.seed, name, position))
                inputs = self.cache.of(sample)
                if self.augment is not None:
                    # numbers of their own: the objective's crops are the same with and without
                    own = np.random.default_rng(_seed(self.seed, name, position, "augment"))
                    inputs = augmented(inputs, self.augment, own)
                return self.objective.transform(name, inputs, rng)
            except BadSample as error:
                problem = problem or error
            except Exception as error:
                error.add_note(f"while preparing sample '{sample.key}' of stream '{name}'")
                raise
        where = self.streams[name].where
        if problem is None:
            raise InputError(f"{where}: no sample is left to train on: those that were chosen are held out or not read")
        raise InputError(f"{where}: none of a window of samples can be used; the first: {problem}")

    def _collated(self, samples: list[TrainingSample]) -> dict[str, torch.Tensor | list[Any]]:
        batch: dict[str, torch.Tensor | list[Any]] = {}
        for field in samples[0]:
            values = [sample[field] for sample in samples]
            shapes = {tuple(value.shape) for value in values if isinstance(value, torch.Tensor)}
            if len(shapes) > 1:
                found = " and ".join(map(str, sorted(shapes)[:2]))
                raise InputError(
                    f"training samples of several shapes ({found}) cannot be one batch: choose an image_prep that "
                    "gives one size, or batch_size 1"
                )
            if isinstance(values[0], torch.Tensor):
                batch[field] = torch.stack(values).to(self.device, non_blocking=True)  # type: ignore[arg-type]
            else:
                batch[field] = values
        return batch


def validation_samples(objective: Objective, name: str, stream: Stream, count: int) -> list[TrainingSample]:
    """The first ``count`` usable samples that training never sees, transformed with fixed random numbers.

    Raises:
        InputError: there is none.
    """
    found: list[TrainingSample] = []
    for number, sample in enumerate(stream.unseen()):
        if len(found) == count:
            break
        try:
            found.append(objective.transform(name, decoded(sample), np.random.default_rng(_seed("held out", number))))
        except BadSample:
            continue
    if not found:
        block = "data" if stream.held_out else "validation.data"
        raise InputError(f"{block}.{name}: {stream.where}: not one held-out sample can be used")
    return found
