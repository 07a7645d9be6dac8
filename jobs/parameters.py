"""What the parameters of a method or an objective are, and what each means, from its class alone."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

_SECTION = re.compile(r"(Attributes|Args|Raises|Returns):")
_ENTRY = re.compile(r"(\w+(?:, \w+)*): +(.+)")


@dataclass(frozen=True)
class Parameter:
    """One parameter as a person reads of it."""

    name: str
    type: str
    default: str
    meaning: str


def parameters(model: type[BaseModel]) -> list[Parameter]:
    """The parameters of a model in order; meanings come from the docstrings of the class and of those it extends."""
    properties: dict[str, Any] = model.model_json_schema().get("properties", {})
    meanings: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if issubclass(base, BaseModel):
            meanings |= attribute_meanings(base.__doc__ or "")
    found = []
    for name, field in model.model_fields.items():
        default = "required" if field.is_required() else _shown(field.get_default(call_default_factory=True))
        meaning = (field.description or meanings.get(name, "")).replace("``", "")
        found.append(Parameter(name, _type(properties.get(name, {})), default, meaning))
    return found


def attribute_meanings(docstring: str) -> dict[str, str]:
    """Name -> text of a docstring's ``Attributes:``; an entry for several names stands under each."""
    meanings: dict[str, str] = {}
    for names, text in _entries(inspect.cleandoc(docstring).splitlines()):
        meanings |= dict.fromkeys(names.split(", "), text.replace("``", ""))
    return meanings


def _entries(lines: list[str]) -> Iterator[tuple[str, str]]:
    """(names, text) of each entry, its further lines joined to the first."""
    inside, names, text = False, "", ""
    for line in [*lines, "Attributes:"]:
        section = _SECTION.fullmatch(line)
        entry = _ENTRY.fullmatch(line.strip()) if inside and re.match(r" {4}\S", line) else None
        if names and (section or entry):
            yield names, text
            names = ""
        if section:
            inside = section[1] == "Attributes"
        elif entry:
            names, text = entry[1], entry[2]
        elif names:
            text = f"{text} {line.strip()}".rstrip()


def _shown(value: Any) -> str:
    return "none" if value is None else "true" if value is True else "false" if value is False else str(value)


def _type(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    if "anyOf" in schema:
        kinds = [_type(choice) for choice in schema["anyOf"] if choice.get("type") != "null"]
        return " | ".join(dict.fromkeys(kind for kind in kinds if kind))
    # a model within the model
    return "object" if "$ref" in schema else str(schema.get("type", ""))
