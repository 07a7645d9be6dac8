"""What methods that are built beside each other compute once."""

from __future__ import annotations

import torch

from methods.base import Batch
from methods.sharing import Group, shared_network, shared_work, sharing


def batch(value: float, key: str = "a") -> Batch:
    return Batch(torch.full((1, 3, 2, 2), value), [1], [key])


def made(group: Group, given: Batch, calls: list[str], *also: str) -> str:
    def make() -> str:
        calls.append(given.keys[0])
        return f"made {len(calls)}"

    return group.of(given, make, *also)


def test_built_alone_nothing_is_shared_or_kept() -> None:
    first, second = shared_work("key"), shared_work("key")
    assert first is not second
    calls: list[str] = []
    assert [made(first, batch(1), calls), made(first, batch(1), calls)] == ["made 1", "made 2"]
    assert not first._kept
    assert shared_network("net", object) is not shared_network("net", object)


def test_inside_the_same_key_is_the_same_network_and_group() -> None:
    with sharing():
        assert shared_network("net", object) is shared_network("net", object)
        first, second, other = shared_work("key"), shared_work("key"), shared_work("other")
    assert first is second
    assert (first.members, other.members) == (2, 1)
    with sharing():
        assert shared_work("key") is not first


def test_each_member_gets_what_the_first_made_and_then_it_is_let_go() -> None:
    group, calls = Group(members=3), []
    assert [made(group, batch(1), calls) for _ in range(3)] == ["made 1"] * 3
    assert not group._kept
    assert made(group, batch(1), calls) == "made 2"


def test_other_samples_captions_or_pixels_are_other_work() -> None:
    group, calls = Group(members=2), []
    asked = [
        made(group, batch(1), calls),
        made(group, batch(1, "b"), calls),
        made(group, batch(1), calls, "caption"),
        made(group, batch(2), calls),
    ]
    assert asked == ["made 1", "made 2", "made 3", "made 4"]


def test_what_nobody_asks_for_is_not_kept_for_ever() -> None:
    group, calls = Group(members=2), []
    for number in range(10):
        made(group, batch(number, str(number)), calls)
    assert len(group._kept) == 4
