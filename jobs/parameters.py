"""What the keys of a model are, and what each means: one list for the terminal, the reference and the starter job."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel


@dataclass(frozen=True)
class Parameter:
    """One key of a model as a person reads of it.

    Attributes:
        name: the key, dotted below the model it was asked for (``image.quality``).
        type: kinds or choices, joined by ``|``.
        default: as YAML writes it; ``None`` where the key must be given.
        meaning: the field's description, without markup.
    """

    name: str
    type: str
    default: str | None
    meaning: str

    @property
    def required(self) -> bool:
        """Whether the key must be given."""
        return self.default is None


def parameters(model: type[BaseModel], *, prefix: str = "", deep: bool = False) -> list[Parameter]:
    """The keys of a model, required ones first, else in order of definition.

    Args:
        prefix: put in front of every name.
        deep: keys of models within the model follow in place of them, with dotted names.
    """
    properties: dict[str, Any] = model.model_json_schema().get("properties", {})
    found: list[Parameter] = []
    for name, field in model.model_fields.items():
        inner = field.annotation
        if deep and isinstance(inner, type) and issubclass(inner, BaseModel):
            found += parameters(inner, prefix=f"{prefix}{name}.", deep=True)
            continue
        default = None if field.is_required() else _shown(field.get_default(call_default_factory=True))
        meaning = " ".join((field.description or "").replace("``", "").split())
        found.append(Parameter(prefix + name, _type(properties.get(name, {})), default, meaning))
    return found if deep else sorted(found, key=lambda each: not each.required)


def _shown(value: Any) -> str:
    if isinstance(value, BaseModel):
        return "{}"
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(_shown, value))}]"
    return "null" if value is None else "true" if value is True else "false" if value is False else str(value) or '""'


def _type(schema: dict[str, Any]) -> str:
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if "const" in schema:
        return str(schema["const"])
    if "anyOf" in schema:
        kinds = [_type(choice) for choice in schema["anyOf"]]
        return " | ".join(dict.fromkeys(kind for kind in kinds if kind))
    if "$ref" in schema or "allOf" in schema:
        return "block"
    plain = str(schema.get("type", ""))
    kind = {"array": "list", "object": "mapping"}.get(plain, plain)
    if kind == "list" and isinstance(schema.get("items"), dict) and (item := _type(schema["items"])):
        return f"list of {item}"
    return kind
