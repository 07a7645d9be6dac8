"""What methods beside each other do once."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Hashable, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch

from methods.base import Batch
from methods.sharing import Together, loaded_once, sharing

KEY = ("work", 1)


class Member:
    def __init__(self, name: str, *shares: Hashable) -> None:
        self.name, self.shares = name, frozenset(shares)


def batch(value: float = 1, key: str = "a") -> Batch:
    return Batch(torch.full((1, 3, 2, 2), value), [1], [key])


def joined(*members: Any, values: Sequence[float] = (1, 1, 1, 1)) -> list[Batch]:
    batches = [batch(value) for _, value in zip(members, values, strict=False)]
    Together.join([*zip(members, batches, strict=True)])
    return batches


def test_what_is_loaded_beside_each_other_is_loaded_once() -> None:
    assert loaded_once("net", object) is not loaded_once("net", object)
    with sharing():
        first = loaded_once("net", object)
        assert loaded_once("net", object) is first
        assert loaded_once("other", object) is not first
    with sharing():
        assert loaded_once("net", object) is not first


def test_a_batch_by_itself_shares_with_nobody() -> None:
    given, calls = batch(), []
    assert [given.once(KEY, lambda: calls.append(1) or len(calls)) for _ in range(2)] == [1, 2]
    assert given.at_once(KEY, "me", lambda asked: [*asked]) == "me"


def test_the_first_makes_it_for_all_that_share_the_work_and_see_the_same_pixels() -> None:
    members = [Member("a", KEY), Member("b", KEY), Member("c"), Member("d", KEY)]
    batches = joined(*members, values=(1, 1, 1, 2))
    calls: list[str] = []

    def ask(number: int) -> str:
        def make() -> str:
            calls.append(members[number].name)
            return members[number].name

        return batches[number].once(KEY, make)

    assert [ask(number) for number in range(4)] == ["a", "a", "c", "d"]
    assert calls == ["a", "c", "d"]
    # what was handed out is not kept
    assert ask(1) == "b"


def test_the_work_of_several_is_done_at_once_each_having_its_own_result() -> None:
    members = [Member("a", KEY), Member("b", KEY), Member("c", KEY)]
    batches = joined(*members)
    calls: list[list[str]] = []

    def make(asked: Sequence[Member]) -> list[str]:
        calls.append([each.name for each in asked])
        return [f"of {each.name}" for each in asked]

    # whoever comes first, and those whose batch is gone are not waited for
    del batches[2]
    made = [batches[number].at_once(KEY, members[number], make) for number in (1, 0)]
    assert made == ["of b", "of a"]
    assert calls == [["b", "a"]]


def test_work_that_fails_is_tried_again_without_the_one_it_failed_for() -> None:
    members = [Member("a", KEY), Member("b", KEY), Member("c", KEY)]
    batches = joined(*members)

    def fails(asked: Sequence[Member]) -> list[str]:
        raise RuntimeError(",".join(each.name for each in asked))

    with pytest.raises(RuntimeError, match=r"^a,b,c$"):
        batches[0].at_once(KEY, members[0], fails)
    with pytest.raises(RuntimeError, match=r"^b,c$"):
        batches[1].at_once(KEY, members[1], fails)


def test_nothing_of_a_batch_or_of_what_was_made_stays_once_the_batches_are_gone() -> None:
    gc.disable()
    try:
        members = [Member("a", KEY), Member("b", KEY)]
        batches = joined(*members)
        refs = [weakref.ref(batches[0].inputs), weakref.ref(batches[0].once(KEY, lambda: torch.zeros(3)))]
        assert refs[1]() is not None
        batches.clear()
        assert [ref() for ref in refs] == [None, None]
    finally:
        gc.enable()


def test_a_copy_of_a_batch_is_one_of_its_own() -> None:
    first, _ = joined(Member("a", KEY), Member("b", KEY))
    copy = replace(first)
    assert [copy.once(KEY, lambda number=number: number) for number in (5, 6)] == [5, 6]
    assert first.once(KEY, lambda: 7) == 7
