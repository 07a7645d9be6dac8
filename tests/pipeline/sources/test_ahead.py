"""Fetching ahead changes when things are asked for, and nothing else: order, bytes, errors and bounds stay."""

from __future__ import annotations

import io
import random
import tarfile
import threading
import time
from collections.abc import Iterator
from typing import Any

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.errors import BadSample
from pipeline.records import Sample, SourceFile
from pipeline.sources import ahead, ranged
from pipeline.sources.base import cut_shards
from pipeline.sources.pending import Fetched, Pending
from pipeline.spec import SourceSpec
from pipeline.storage import StorageOptions, Unreachable

FILE = SourceFile("s3://b/list.csv", "list.csv")


class Far:
    """A store whose answers come in any order; counts how many are on their way at a time."""

    def __init__(self, seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.lock = threading.Lock()
        self.asked: list[int] = []
        self.flying = self.most = 0

    def fetch(self, number: int) -> Fetched:
        with self.lock:
            self.asked.append(number)
            self.flying += 1
            self.most = max(self.most, self.flying)
            wait = self.random.random() / 200
        time.sleep(wait)
        with self.lock:
            self.flying -= 1
        if number % 7 == 3:
            raise BadSample("missing", f"{number} is gone")
        return Sample(key=str(number), source_uri="", image=b"%d" % number), ()

    def pending(self, count: int, remote: bool = True, breaks: bool = False) -> Iterator[Pending]:
        for number in range(count):
            yield Pending(str(number), lambda n=number: self.fetch(n), remote=remote)
        if breaks:
            raise ValueError("the list is cut here")


@settings(max_examples=25)
@given(
    count=st.integers(0, 90),
    size=st.integers(1, 20),
    done=st.sets(st.integers(0, 6)),
    limit=st.none() | st.integers(1, 90),
    breaks=st.booleans(),
)
def test_shards_are_those_of_one_request_after_the_other(count, size, done, limit, breaks):
    def shards(remote: bool):
        far = Far()
        found = list(cut_shards(FILE, far.pending(count, remote, breaks), size, lambda part: part not in done, limit))
        return found, far

    near, _ = shards(remote=False)
    far_ones, far = shards(remote=True)
    assert far_ones == near
    assert far.most <= ahead.IN_FLIGHT
    assert len(far.asked) == len(set(far.asked))
    assert all(number // size not in done and (limit is None or number < limit) for number in far.asked)


def test_many_requests_are_in_flight_but_not_all_of_them():
    far = Far()
    shards: Any = cut_shards(FILE, far.pending(500), 8, lambda part: True, None)
    next(shards)
    shards.close()
    assert 8 < far.most <= ahead.IN_FLIGHT
    assert len(far.asked) <= 8 + ahead.IN_FLIGHT + 1


def test_large_pictures_wait_for_their_turn(monkeypatch):
    monkeypatch.setattr(ahead, "_HELD", 100)
    asked: list[int] = []

    def fetch(number: int) -> Fetched:
        asked.append(number)
        return Sample(key=str(number), source_uri="", image=bytes(60)), ()

    pending = (Pending(str(n), lambda n=n: fetch(n), remote=True) for n in range(1000))
    stream: Any = ahead.fetched_ahead(pending, lambda number: True)
    next(stream)
    time.sleep(0.05)
    for _ in range(100):
        each = next(stream)
        assert each.fetch is not None
        each.fetch()
    assert len(asked) <= 101 + ahead.IN_FLIGHT
    stream.close()


def test_a_store_that_does_not_answer_ends_the_file():
    def fetch() -> Fetched:
        raise Unreachable("no answer")

    pending = [Pending("a", fetch, remote=True)]
    with pytest.raises(Unreachable):
        list(cut_shards(FILE, pending, 4, lambda part: True, None))


@settings(max_examples=30)
@given(
    size=st.integers(0, 300),
    steps=st.lists(st.tuples(st.integers(0, 310), st.integers(0, 90)), max_size=12),
    block=st.integers(1, 64),
)
def test_a_ranged_file_reads_as_a_file(size, steps, block):
    data = random.Random(size).randbytes(size)
    fsspec.filesystem("memory").pipe_file("/ranged/a", data)
    before, ranged.BLOCK = ranged.BLOCK, block
    try:
        with ranged.open_ranged("memory://ranged/a", StorageOptions()) as file, io.BytesIO(data) as plain:
            for offset, length in steps:
                assert file.seek(offset) == plain.seek(offset)
                assert file.read(length) == plain.read(length)
            assert file.seek(0) == 0
            assert file.read() == data
    finally:
        ranged.BLOCK = before


def test_a_tar_in_a_store_is_read_by_ranges(monkeypatch):
    from pipeline.sources import open_source
    from pipeline.sources.layout import Layout
    from tests.support.datasets import encoded, picture

    monkeypatch.setattr(ranged, "BLOCK", 700)
    out = io.BytesIO()
    pictures = {f"{n:02d}": encoded(picture(n)) for n in range(12)}
    with tarfile.open(fileobj=out, mode="w") as archive:
        for key, data in pictures.items():
            info = tarfile.TarInfo(f"{key}.jpg")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    fsspec.filesystem("memory").pipe_file("/tars/a.tar", out.getvalue())
    source = open_source(SourceSpec(uri="memory://tars/a.tar"), "webdataset", 4)
    (file,) = source.plan()
    shards = list(source.read(file, Layout(image="jpg"), 4, lambda part: part != 1))
    found = {sample.key: sample.image for shard in shards for sample in shard.samples}
    assert found == {key: data for key, data in pictures.items() if not 4 <= int(key) < 8}
    assert source.count(file) == 12
