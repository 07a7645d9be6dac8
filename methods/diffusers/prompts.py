"""Prompt templates: text with places that a sample's caption and columns fill."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from methods.errors import BadSample

_PARTS = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")


def places(template: str) -> tuple[str, ...]:
    """The names that a template asks for, each once, in order.

    Raises:
        ValueError: a brace without its partner, or a place without a name.
    """
    found: dict[str, None] = {}
    for match in _PARTS.finditer(template):
        name = match[1]
        if name is None:
            if match[0] in ("{", "}"):
                raise ValueError(f"'{template}': a single '{match[0]}'; write {match[0] * 2} for the character itself")
            continue
        if not name.strip():
            raise ValueError(f"'{template}': {{}} names no column")
        found[name.strip()] = None
    return tuple(found)


def filled(template: str, caption: str | None, columns: Mapping[str, Any]) -> str:
    """The prompt of one sample. ``{caption}`` is its caption, every other name a column.

    Raises:
        BadSample: reason ``no_caption`` or ``no_prompt``: the sample has nothing there.
    """

    def value(match: re.Match[str]) -> str:
        if match[1] is None:
            return match[0][0]
        name = match[1].strip()
        found = caption if name == "caption" else columns.get(name)
        text = found.decode("utf-8", "replace") if isinstance(found, bytes) else str(found if found is not None else "")
        if not text.strip():
            reason = "no_caption" if name == "caption" else "no_prompt"
            raise BadSample(reason, f"the sample has no {name} for the prompt '{template}'")
        return text.strip()

    return _PARTS.sub(value, template)
