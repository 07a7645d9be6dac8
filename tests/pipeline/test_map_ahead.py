"""Reads worked on ahead: order, bound, errors in their turn."""

from __future__ import annotations

import threading

import pytest

from pipeline.map_ahead import map_ahead


def test_results_come_in_order_and_few_are_in_hand() -> None:
    begun: list[int] = []
    taken = 0
    most = 0
    lock = threading.Lock()

    def work(item: int) -> int:
        nonlocal most
        with lock:
            begun.append(item)
            most = max(most, len(begun) - taken)
        return item * item

    for item, result in map_ahead(work, range(200), threads=4):
        assert result == item * item
        assert item == taken
        with lock:
            taken += 1
    assert taken == 200
    assert most <= 6


def test_several_are_under_way_at_once() -> None:
    """Each of the first four waits for the three others: one after the other would break the barrier."""
    barrier = threading.Barrier(4)
    found = map_ahead(lambda item: barrier.wait(30) + item, range(4), threads=4)
    assert [item for item, _ in found] == [0, 1, 2, 3]


def test_an_error_is_raised_in_its_turn() -> None:
    def work(item: int) -> int:
        if item == 3:
            raise ValueError("three")
        return item

    results = map_ahead(work, range(9))
    assert [next(results)[1] for _ in range(3)] == [0, 1, 2]
    with pytest.raises(ValueError, match="three"):
        next(results)
