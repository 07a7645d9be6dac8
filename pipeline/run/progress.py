"""What is known of a run while it goes on: counts, rates, rejects; fed by receipts."""

from __future__ import annotations

import time
from collections import Counter, deque
from dataclasses import dataclass, field

from methods.notices import Notice
from pipeline.findings import Finding, merge
from pipeline.metrics.summary import Summary
from pipeline.records import Receipt
from pipeline.run.losses import WorkerLosses

_WINDOW = 60.0


@dataclass
class Progress:
    """Running totals of one run. Everything is bounded: nothing per sample is kept.

    Attributes:
        shards_total, samples_total: what this run has to do; ``exact`` says whether that was counted or estimated.
        before: shards that were committed before this run.
    """

    shards_total: int = 0
    samples_total: int = 0
    exact: bool = True
    before: int = 0
    began: float = field(default_factory=time.time)
    shards: int = 0
    ok: int = 0
    filtered: int = 0
    rejected: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    first_started: float | None = None
    last_committed: float | None = None
    reasons: Counter[str] = field(default_factory=Counter)
    notices: dict[str, Notice] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    metrics: dict[str, Summary] = field(default_factory=dict)
    recent: deque[tuple[float, int]] = field(default_factory=deque)
    losses: WorkerLosses = field(default_factory=WorkerLosses)

    @property
    def attempted(self) -> int:
        """Index rows written by this run."""
        return self.ok + self.filtered + self.rejected

    def add(self, receipt: Receipt) -> None:
        """Take a committed shard into account."""
        self.shards += 1
        self.ok += receipt.ok
        self.filtered += receipt.filtered
        self.rejected += receipt.rejected
        self.bytes_in += receipt.bytes_in
        self.bytes_out += receipt.bytes_out
        self.reasons.update(receipt.reasons)
        for reason, notice in receipt.notices.items():
            self.notices.setdefault(reason, Notice(0, notice.example)).count += notice.count
        self.findings = merge(self.findings, receipt.findings)
        for name, summary in receipt.metrics.items():
            self.metrics.setdefault(name, Summary()).merge(summary)
        started, committed = receipt.started, receipt.committed
        self.first_started = started if self.first_started is None else min(self.first_started, started)
        self.last_committed = committed if self.last_committed is None else max(self.last_committed, committed)
        self.recent.append((committed, receipt.attempted))
        while self.recent and self.recent[0][0] < committed - _WINDOW:
            self.recent.popleft()

    @property
    def seconds(self) -> float | None:
        """From the first shard begun to the last committed; ``None`` before there is one. Start-up is not in it."""
        if self.first_started is None or self.last_committed is None:
            return None
        return self.last_committed - self.first_started

    @property
    def images_per_second(self) -> float:
        """Rate over :attr:`seconds`."""
        return 0.0 if self.seconds is None else self.attempted / max(1e-9, self.seconds)

    @property
    def eta_seconds(self) -> float | None:
        """Seconds left at the present rate; ``None`` before there is one."""
        if self.images_per_second == 0:
            return None
        return max(0.0, (self.samples_total - self.attempted) / self.images_per_second)

    def over_limit(self, limit: float, *, final: bool) -> bool:
        """Whether more is rejected than allowed: ``limit`` below 1 is a share, from 1 on a count.

        A share does not count on fewer than 100 samples before the end.
        """
        if limit >= 1:
            return self.rejected > limit
        if self.attempted < 100 and not final:
            return False
        return self.attempted > 0 and self.rejected > limit * self.attempted
