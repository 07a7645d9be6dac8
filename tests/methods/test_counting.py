"""Counted nouns as people read them."""

from __future__ import annotations

import pytest

from methods.counting import counted, does


@pytest.mark.parametrize(
    ("number", "noun", "verb", "said"),
    [
        (1, "shard", "", "1 shard"),
        (0, "shard", "", "0 shards"),
        (12345, "source file", "is/are", "12,345 source files are"),
        (1, "key", "occurs/occur", "1 key occurs"),
        (2, "key", "occurs/occur", "2 keys occur"),
        (2, "category", "", "2 categories"),
        (3, "process", "", "3 processes"),
        (2, "box", "", "2 boxes"),
        (1.0, "GPU", "", "1 GPU"),
        (0.5, "GPU", "", "0.5 GPUs"),
    ],
)
def test_a_number_decides_its_noun_and_its_verb(number: float, noun: str, verb: str, said: str) -> None:
    assert counted(number, noun, verb) == said


def test_a_verb_alone() -> None:
    assert [does(number, "is/are") for number in (0, 1, 2)] == ["are", "is", "are"]
