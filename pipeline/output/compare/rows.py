"""The rows of an output's index, a few at a time: what is compared may not fit into memory whole."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from methods.counting import counted
from methods.errors import InputError, first_line
from pipeline.errors import JobFailed
from pipeline.job_record import JobRecord
from pipeline.map_ahead import map_ahead
from pipeline.output.view import read_view
from pipeline.paths import MERGED_INDEX, SUCCESS_FILE
from pipeline.sink.index import list_parts
from pipeline.sink.schema import METRIC
from pipeline.small_parquet import read_small_parquet
from pipeline.storage import Store
from pipeline.uris import redact

_ROWS = 4096
_OF_VIEW = ["status", "stage", "error", "message"]


class IndexRows:
    """The rows of an output, always in the same order, as the output's filter sees them.

    Attributes:
        origin: where they come from, for people.
        unfinished: whether a run has work left, so that more will come.
        metrics: names of the metric columns.

    They come from ``index.parquet`` of an output whose last run ended; while one has work left, that file may be of an
    earlier run, and the index parts count.

    Raises:
        InputError: nothing is committed yet.
    """

    def __init__(self, store: Store, record: JobRecord) -> None:
        self._store = store
        ended = store.exists(SUCCESS_FILE)
        self._merged = ended and store.exists(MERGED_INDEX)
        self._view = None if self._merged else read_view(store, record.metric_columns)
        self._parts = [] if self._merged else [entry.path for entry in list_parts(store)]
        self._sizes: list[int] = []
        self.metrics = tuple(METRIC + name for name in record.metric_columns)
        if not self._merged and not self._parts:
            raise InputError(f"{redact(store.uri())}: nothing is committed yet; run the job first")
        self.unfinished = not ended
        left = "" if ended else ", unfinished: what is committed until now"
        self.origin = MERGED_INDEX if self._merged else f"{counted(len(self._parts), 'index part')}{left}"

    def pieces(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """All rows in order, some thousands at once; those of ``columns``, by default all.

        Raises:
            JobFailed: a file that cannot be read.
        """
        try:
            yield from self._of_merged(columns) if self._merged else self._of_parts(columns)
        except pa.ArrowException as error:
            raise JobFailed(f"{self._store.uri()}: its index cannot be read ({first_line(error)})") from None

    def take(self, places: Sequence[int] | np.ndarray) -> list[dict[str, Any]]:
        """Whole rows by their number, in the order asked for; only those parts, or groups of rows, are read."""
        wanted = np.unique(np.asarray(places, dtype=np.int64))
        found: dict[int, dict[str, Any]] = {}
        first = 0
        for size, read in self._blocks():
            here = wanted[(wanted >= first) & (wanted < first + size)]
            if len(here):
                rows = read().take(pa.array(here - first, pa.int64())).to_pylist()
                found.update(zip(here.tolist(), rows, strict=True))
            first += size
        return [found[int(place)] for place in places]

    def _blocks(self) -> Iterator[tuple[int, Callable[[], pa.Table]]]:
        """Number of rows, and how they are read, of each part or group of rows in turn."""
        if self._merged:
            with self._store.open(MERGED_INDEX) as raw:
                file = pq.ParquetFile(raw, pre_buffer=False)
                for number in range(file.num_row_groups):
                    size = file.metadata.row_group(number).num_rows
                    yield size, partial(file.read_row_group, number, use_threads=False)
            return
        if len(self._sizes) < len(self._parts):
            for _ in self.pieces(["key"]):
                pass
        for path, size in zip(self._parts, self._sizes, strict=True):
            yield size, partial(self._part, path)

    def _part(self, path: str) -> pa.Table:
        return self._seen(read_small_parquet(self._store.read(path)))

    def _seen(self, table: pa.Table) -> pa.Table:
        """A part as the output's filter sees it."""
        table = table.replace_schema_metadata(None)
        return table if self._view is None else self._view.apply(table)

    def _of_merged(self, columns: Sequence[str] | None) -> Iterator[pa.Table]:
        with self._store.open(MERGED_INDEX) as raw:
            file = pq.ParquetFile(raw, pre_buffer=False)
            names = None if columns is None else list(columns)
            for batch in file.iter_batches(_ROWS, columns=names, use_threads=False):
                yield pa.Table.from_batches([batch])

    def _of_parts(self, columns: Sequence[str] | None) -> Iterator[pa.Table]:
        needed = None if columns is None else list(columns)
        if needed is not None and self._view is not None:
            needed = list(dict.fromkeys([*needed, *_OF_VIEW, *self.metrics]))
        self._sizes.clear()
        for _, data in map_ahead(self._store.read, self._parts):
            table = self._seen(read_small_parquet(data, needed))
            self._sizes.append(table.num_rows)
            yield table if columns is None else table.select(list(columns))


@dataclass
class Slim:
    """What of an index is held in memory: of each ok sample its name and its metrics.

    Attributes:
        names: (N,) 16 bytes that stand for key and variant.
        places: (N,) int64, the row of each.
        metrics: by column, (N,) float64.
        counts: of all rows, by status.
    """

    names: np.ndarray
    places: np.ndarray
    metrics: dict[str, np.ndarray]
    counts: dict[str, int] = field(default_factory=dict)

    @classmethod
    def read(cls, rows: IndexRows) -> Slim:
        """One pass over the rows."""
        counts = {"ok": 0, "filtered": 0, "rejected": 0}
        names, places = [], []
        metrics: dict[str, list[np.ndarray]] = {name: [] for name in rows.metrics}
        first = 0
        for piece in rows.pieces(["key", "variant", "status", *rows.metrics]):
            status = np.asarray(piece["status"].to_pylist())
            for name in counts:
                counts[name] += int((status == name).sum())
            good = np.flatnonzero(status == "ok")
            kept = piece.take(pa.array(good, pa.int64()))
            names.append(sample_names(kept))
            places.append(first + good)
            for name, columns in metrics.items():
                columns.append(kept[name].to_numpy().astype(np.float64))
            first += piece.num_rows
        return cls(
            np.concatenate(names),
            np.concatenate(places),
            {name: np.concatenate(columns) for name, columns in metrics.items()},
            counts,
        )


def sample_names(table: pa.Table) -> np.ndarray:
    """(N,) of 16 bytes for key and variant of each row; never one that ends in a zero, which numpy would cut off."""
    pairs = zip(table["key"].to_pylist(), table["variant"].to_pylist(), strict=True)
    made = [hashlib.blake2b(f"{key}\0{variant}".encode(), digest_size=15).digest() + b"." for key, variant in pairs]
    return np.array(made, dtype="S16")
