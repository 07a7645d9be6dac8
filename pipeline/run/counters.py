"""A run's counts among the metrics of the Ray cluster that it works on, where Prometheus finds them.

All of them are counted in the driver, from receipts: its ordinary end passes on what was counted since the last report,
so that a run of a few seconds is seen too. A driver that is connected through ``ray://`` is no process of the cluster
and exports nothing.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from pipeline.job import Job
from pipeline.records import Receipt
from pipeline.translate.items import WAITS
from pipeline.uris import printable, redact

_TAGS = ("job", "method")
_WINDOW = 60.0
_LOOK_EVERY = 5.0


class Counters:
    """The metrics of one run; their names in Prometheus begin with ``ray_sceneshift_``, counters end in ``_total``.

    Tags are the job's name and the method, and words of our own (status, reason, stage, direction, place): no address.
    A connection to Ray must be open. Gauges of a run that has ended vanish within half a minute, counters stay.
    """

    def __init__(self, job: Job, hanging: Callable[[], Iterable[tuple[str, str, str, float]]]) -> None:
        """``hanging`` says who works on what, as (worker, shard, what, seconds)."""
        from ray.util.metrics import Counter, Gauge

        tags = {"job": printable(redact(job.spec.name)), "method": job.method_label}

        def made(kind: Any, name: str, description: str, *more: str) -> Any:
            return kind(f"sceneshift_{name}", description, (*_TAGS, *more)).set_default_tags(tags)

        self._images = made(Counter, "images", "Rows of the index, by status.", "status")
        self._rejects = made(Counter, "rejects", "Rejected samples, by reason.", "reason")
        self._shards = made(Counter, "shards", "Shards that were committed.")
        self._seconds = made(Counter, "stage_seconds", "Seconds of work on shards, by stage.", "stage")
        self._bytes = made(Counter, "bytes", "Bytes of pictures read (in) and of files written (out).", "direction")
        self._workers = made(Gauge, "workers", "Worker processes that committed a shard in the last minute.")
        self._busy = made(Gauge, "device_busy_share", "Share of the last minute in which devices worked, 0 to 1.")
        self._queue = made(Gauge, "queue_depth", "Shards in workers: at the device, or waiting for it.", "place")
        self._hanging = hanging
        self._recent: deque[Receipt] = deque()
        self._began, self._looked = time.time(), 0.0

    def add(self, receipt: Receipt) -> None:
        """Count one committed shard."""
        self._shards.inc(1)
        for status, number in (("ok", receipt.ok), ("filtered", receipt.filtered), ("rejected", receipt.rejected)):
            _add(self._images, number, status=status)
        for reason, number in receipt.reasons.items():
            _add(self._rejects, number, reason=printable(redact(reason)))
        _add(self._bytes, receipt.bytes_in, direction="in")
        _add(self._bytes, receipt.bytes_out, direction="out")
        _add(self._seconds, receipt.read_seconds, stage="read")
        _add(self._seconds, receipt.translated - receipt.started, stage="translate")
        _add(self._seconds, receipt.device_seconds, stage="device")
        _add(self._seconds, receipt.write_seconds, stage="write")
        self._recent.append(receipt)
        now = time.time()
        if now - self._looked >= _LOOK_EVERY:
            self._looked = now
            self._look(now)

    def _look(self, now: float) -> None:
        while self._recent and self._recent[0].committed < now - _WINDOW:
            self._recent.popleft()
        workers = len({each.worker for each in self._recent})
        seconds = min(_WINDOW, now - self._began)
        busy = sum(each.device_seconds for each in self._recent)
        self._workers.set(workers)
        # A shard is counted when it is committed, so that long ones could make more than a minute of a minute.
        self._busy.set(min(1.0, busy / (workers * seconds)) if workers else 0.0)
        waiting = [what == WAITS for _, _, what, _ in self._hanging()]
        self._queue.set(sum(waiting), {"place": "waiting"})
        self._queue.set(len(waiting) - sum(waiting), {"place": "device"})


def _add(counter: Any, number: float, **tags: str) -> None:
    if number > 0:
        counter.inc(number, tags)
