"""What differs from run to run: timings and workers, one row per committed shard, outside of data and index."""

from __future__ import annotations

import pyarrow as pa

from pipeline.paths import RUNS
from pipeline.records import Receipt
from pipeline.sink.parquet import parquet_bytes
from pipeline.small_parquet import read_small_parquet
from pipeline.storage import Store
from pipeline.uris import printable

_FLUSH = 5000
_SCHEMA = pa.schema(
    [
        ("run", pa.string()),
        ("shard", pa.string()),
        ("source", pa.string()),
        ("worker", pa.string()),
        ("started", pa.float64()),
        ("translated", pa.float64()),
        ("committed", pa.float64()),
        ("device_seconds", pa.float64()),
        ("read_seconds", pa.float64()),
        ("write_seconds", pa.float64()),
        ("ok", pa.int64()),
        ("filtered", pa.int64()),
        ("rejected", pa.int64()),
        ("bytes_in", pa.int64()),
        ("bytes_out", pa.int64()),
        ("device", pa.string()),
        ("operations", pa.int64()),
    ]
)


class RunLog:
    """Collects receipts of one run and writes them in chunks, so that the driver's memory stays bounded."""

    def __init__(self, store: Store, run: str) -> None:
        self.store, self.run = store, run
        self._rows: list[dict] = []
        self._chunk = 0

    def add(self, receipt: Receipt) -> None:
        """Note one receipt."""
        row = {name: getattr(receipt, name) for name in _SCHEMA.names if name != "run"}
        self._rows.append(row | {"run": self.run, "source": printable(receipt.source)})
        if len(self._rows) >= _FLUSH:
            self.flush()

    def flush(self) -> None:
        """Write what has been collected."""
        if self._rows:
            table = pa.Table.from_pylist(self._rows, schema=_SCHEMA)
            self.store.put(f"{RUNS}/{self.run}-{self._chunk:04d}.parquet", parquet_bytes(table))
            self._chunk += 1
            self._rows = []


def read_runs(store: Store) -> pa.Table:
    """Every run of an output, one row per shard that the run committed."""
    tables = [read_small_parquet(store.read(entry.path)) for entry in store.list(RUNS)]
    # Runs of earlier versions lack some columns, which are null then.
    return pa.concat_tables([_SCHEMA.empty_table(), *tables], promote_options="default")
