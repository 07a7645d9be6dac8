"""Foreign text inside Markdown: what comes from the data is read as text, never as markup."""

from __future__ import annotations

import re
from typing import Any


def one_line(text: Any) -> str:
    """The text with every run of white space as one space."""
    return " ".join(str(text).split())


def cell(text: Any) -> str:
    """Text inside a line, also of a table: one line, nothing that is read as markup."""
    return re.sub(r"([\\`*_{}\[\]<>|#&~])", r"\\\1", one_line(text))


def code(text: Any) -> str:
    """Text as a code span, also inside a table."""
    text = one_line(text).replace("|", "\\|")
    fence = "`" * (1 + _longest_run(text))
    pad = " " if "`" in text else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def fenced(text: Any, language: str = "") -> str:
    """Text as a code block, between fences that are longer than any run of backticks in it."""
    text = str(text)
    fence = "`" * max(3, 1 + _longest_run(text))
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"


def _longest_run(text: str) -> int:
    return max((len(run) for run in re.findall("`+", text)), default=0)
