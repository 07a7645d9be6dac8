"""The border of the stage `read`: content is a row, a store that does not answer is not."""

from __future__ import annotations

import pytest

from methods.errors import BadSample, InputError
from pipeline.records import Sample, SourceFile
from pipeline.sources.base import cut_shards, every_part
from pipeline.sources.pending import Pending
from pipeline.storage import Unreachable

FILE = SourceFile("s3://b/a.tar", "a.tar")
ERRORS = [
    OSError("page"),
    ValueError("x"),
    RecursionError(),
    MemoryError(),
    OverflowError("big"),
    UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates"),
    KeyError("k"),
    AssertionError(),
    InputError("a.tar: does not exist"),
    BadSample("odd", "it is odd"),
]


def good(key: str) -> Pending:
    return Pending(key, lambda: (Sample(key=key, source_uri=FILE.uri, image=b"x"), ()))


def raising(error: Exception):
    def fetch():
        raise error

    return fetch


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_what_one_sample_raises_is_its_row(error):
    stream = [good("a"), Pending("b", raising(error)), good("c"), good("d")]
    shards = list(cut_shards(FILE, stream, 2, every_part, None))
    samples = [sample for shard in shards for sample in shard.samples]
    assert [sample.key for sample in samples] == ["a", "b", "c", "d"]
    assert [bool(sample.problem) for sample in samples] == [False, True, False, False]
    assert samples[1].problem is not None
    assert samples[1].problem.stage == "read"
    assert not any(shard.damaged for shard in shards)
    assert shards[-1].last


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_what_the_file_raises_is_one_row_for_its_rest(error):
    def stream():
        yield good("a")
        yield good("b")
        raise error

    shards = list(cut_shards(FILE, stream(), 2, every_part, None))
    samples = [sample for shard in shards for sample in shard.samples]
    assert [sample.key for sample in samples] == ["a", "b", "a.tar#end"]
    assert [shard.damaged for shard in shards] == [False, True]
    assert shards[-1].last


@pytest.mark.parametrize("where", ["sample", "file"])
def test_a_store_that_does_not_answer_is_no_matter_of_the_content(where):
    def stream():
        yield Pending("a", raising(Unreachable("s3://b: no answer"))) if where == "sample" else good("a")
        raise Unreachable("s3://b: no answer")

    with pytest.raises(Unreachable):
        list(cut_shards(FILE, stream(), 2, every_part, None))
