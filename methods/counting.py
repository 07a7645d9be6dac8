"""Counted nouns in messages: "1 shard", "12,345 shards"."""

from __future__ import annotations


def counted(number: float, noun: str, verb: str = "") -> str:
    """A number with its noun, in the singular for 1: ``counted(1, "source file")`` is ``1 source file``.

    Args:
        noun: in the singular; its last word is put into the plural.
        verb: follows the noun, in two forms as :func:`does` takes them.
    """
    shown = f"{number:,}" if isinstance(number, int) else f"{number:,g}"
    return f"{shown} {noun if number == 1 else plural(noun)}" + (f" {does(number, verb)}" if verb else "")


def does(number: float, verb: str) -> str:
    """The form of a verb for a number of subjects, of two with a stroke between: ``is/are``."""
    one, _, more = verb.partition("/")
    return one if number == 1 else more


def plural(noun: str) -> str:
    """``box`` to ``boxes``, ``category`` to ``categories``, ``key`` to ``keys``."""
    if noun.endswith(("s", "x", "ch", "sh")):
        return f"{noun}es"
    if noun.endswith("y") and not noun.endswith(("ay", "ey", "oy")):
        return f"{noun[:-1]}ies"
    return f"{noun}s"
