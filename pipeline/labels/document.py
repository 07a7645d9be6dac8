"""Text in, Python values out, with errors that say where: JSON, YAML and XML of label files."""

from __future__ import annotations

import json
from typing import Any
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

import yaml

_MOST_YAML = 1 << 20


def decoded(data: bytes | str) -> str:
    """Text from bytes. Raises ValueError for what is not UTF-8."""
    if isinstance(data, str):
        return data
    try:
        return bytes(data).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"byte {error.start} is not UTF-8 text") from None


def parse_json(text: str) -> Any:
    """The value of a JSON document. Raises ValueError with one clear line."""
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"line {error.lineno}, column {error.colno}: {error.msg}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError:
        raise ValueError("a number of thousands of digits") from None


def parse_text(data: bytes | str) -> tuple[Any, str]:
    """(value, text) of a JSON document. Raises ValueError with one clear line."""
    text = decoded(data)
    return parse_json(text), text


def parse_yaml(text: str) -> Any:
    """The value of a YAML document of up to a mebibyte, plain data only. Raises ValueError with one clear line."""
    # its parser takes ten seconds for each
    if len(text) > _MOST_YAML:
        raise ValueError(f"more than {_MOST_YAML >> 20} MiB of YAML")
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        raise ValueError(f"{where}not valid YAML") from None
    except (ValueError, RecursionError):
        # Dates that do not exist and integers of thousands of digits come as ValueError from the YAML constructors.
        raise ValueError("not valid YAML") from None


def parse_xml(text: str) -> Element:
    """The root of an XML document. Raises ValueError, also for one that declares entities.

    Entities are how a small file grows to gigabytes or reads other files; no label format has any.
    """
    builder = TreeBuilder()
    parser = expat.ParserCreate(encoding="utf-8")
    depth = 0

    def start(tag: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > 64:
            raise ValueError("nested too deeply")
        builder.start(tag, attributes)

    def end(tag: str) -> None:
        nonlocal depth
        depth -= 1
        builder.end(tag)

    def refuse(*_: Any) -> int:
        raise ValueError("it declares XML entities, which label files may not")

    parser.StartElementHandler = start
    parser.EndElementHandler = end
    parser.CharacterDataHandler = builder.data
    parser.EntityDeclHandler = refuse
    parser.UnparsedEntityDeclHandler = refuse
    parser.ExternalEntityRefHandler = refuse
    try:
        parser.Parse(text.encode("utf-8", "surrogatepass"), True)
    except expat.ExpatError as error:
        raise ValueError(f"line {error.lineno}, column {error.offset + 1}: {expat.ErrorString(error.code)}") from None
    return builder.close()
