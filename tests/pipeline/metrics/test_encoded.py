"""Each picture is encoded once, as long as it is there."""

from __future__ import annotations

import gc
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from pipeline.metrics.base import Pictures
from pipeline.metrics.encoded import EncodedPictures


def picture(value: int) -> np.ndarray:
    return np.full((2, 2, 3), value, np.uint8)


def test_once_a_picture_over_batches_and_roles_and_not_once_an_equal_one() -> None:
    calls: list[list[int]] = []

    def encode(pictures: Sequence[np.ndarray]) -> list[int]:
        calls.append([int(each[0, 0, 0]) for each in pictures])
        return calls[-1]

    encoded = EncodedPictures(encode)
    a, b = picture(1), picture(2)
    first = Pictures(source=[a, a, b], output=[picture(3), picture(4), picture(3)], target=[None, b, None])
    assert encoded.of(first, "source") == [1, 1, 2]
    assert encoded.of(first, "target") == [None, 2, None]
    # another target's batch, with the same sources beside a new one
    second = Pictures(source=[b, picture(5)], output=[picture(6), a], target=[None, None])
    assert encoded.of(second, "source", [True, False]) == [2, None]
    assert encoded.of(second, "source") == [2, 5]
    assert encoded.of(second, "output") == [6, 1]
    assert calls == [[1, 2], [5], [6]]
    assert encoded.of(first, "output") == [3, 4, 3]
    # an equal picture is another array
    assert calls[-1] == [3, 4, 3]


def test_threads_that_ask_at_once_wait_for_the_one_that_encodes() -> None:
    begun, go = threading.Event(), threading.Event()
    calls: list[int] = []

    def encode(pictures: Sequence[np.ndarray]) -> list[int]:
        calls.extend(int(each[0, 0, 0]) for each in pictures)
        begun.set()
        assert go.wait(60)
        if 9 in calls:
            calls.remove(9)
            raise ValueError("nine")
        return [int(each[0, 0, 0]) for each in pictures]

    encoded = EncodedPictures(encode)
    shared, bad = picture(1), picture(9)

    def ask(*sources: np.ndarray) -> list[int | None]:
        outputs = [picture(0)] * len(sources)
        return encoded.of(Pictures(list(sources), outputs, [None] * len(sources)), "source")

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask, shared)
        assert begun.wait(60)
        second = pool.submit(ask, shared)
        go.set()
        assert (first.result(60), second.result(60)) == ([1], [1])
        assert calls == [1]
        # who waits for one that fails is not failed by a picture that it did not ask for
        begun.clear()
        go.clear()
        other = picture(2)
        fails = pool.submit(ask, other, bad)
        assert begun.wait(60)
        waits = pool.submit(ask, other)
        go.set()
        assert isinstance(fails.exception(60), ValueError)
        assert waits.result(60) == [2]


def test_nothing_is_kept_of_a_picture_that_is_gone() -> None:
    encoded = EncodedPictures(lambda pictures: [len(each) for each in pictures])
    for value in range(20):
        batch = Pictures(source=[picture(value)], output=[picture(value)], target=[None])
        assert encoded.of(batch, "source") == [2]
        assert encoded.of(batch, "output") == [2]
    del batch
    gc.collect()
    assert not encoded._known
