"""YAML that people write, as plain data: bounded in length, depth and what its aliases unfold to."""

from __future__ import annotations

from typing import Any

import yaml

from methods.errors import InputError, first_line

LONGEST = 4 << 20
DEEPEST = 50
MOST_VALUES = 200_000
_WHOLE = 1 << 63


def parse_yaml(text: str, where: str) -> Any:
    """The document as dicts with text keys, lists, texts, numbers, truth values and ``None``.

    Raises:
        InputError: not YAML, more than a person writes, or a value of another kind; with the line where that is known.
    """
    if len(text) > LONGEST:
        raise InputError(f"{where}: longer than {LONGEST >> 20} MiB; this is no file of settings")
    loader = None
    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        _weigh(node, {}, set(), 1)
        value = loader.construct_document(node)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"{where}:{mark.line + 1}" if mark else where
        raise InputError(f"{line}: not valid YAML: {getattr(error, 'problem', None) or first_line(error)}") from None
    except RecursionError:
        raise InputError(f"{where}: nested more than {DEEPEST} deep") from None
    except _Refused as error:
        raise InputError(f"{where}:{error.node.start_mark.line + 1}: {error}") from None
    except Exception as error:
        # A constructor of PyYAML: a date that does not exist, `!!int abc`, an integer of 5000 digits.
        line = f"{where}:{loader.line + 1}" if loader is not None else where
        raise InputError(f"{line}: a value that cannot be read ({first_line(error)}); put text in quotes") from None
    finally:
        if loader is not None:
            loader.dispose()
    _check_plain(value, "", where)
    return value


class _Refused(Exception):
    def __init__(self, node: yaml.Node, message: str) -> None:
        super().__init__(message)
        self.node = node


def _weigh(node: yaml.Node, known: dict[int, int], above: set[int], depth: int) -> int:
    """How many values the node unfolds to, aliases followed; each node is looked at once."""
    if depth > DEEPEST:
        raise _Refused(node, f"nested more than {DEEPEST} deep")
    if id(node) in above:
        raise _Refused(node, "an alias that holds itself")
    if id(node) in known:
        return known[id(node)]
    children: list[yaml.Node] = []
    if isinstance(node, yaml.SequenceNode):
        children = node.value
    elif isinstance(node, yaml.MappingNode):
        children = [each for pair in node.value for each in pair]
        _check_once_each(node)
    above.add(id(node))
    weight = 1 + sum(_weigh(each, known, above, depth + 1) for each in children)
    above.discard(id(node))
    if weight > MOST_VALUES:
        raise _Refused(node, f"its aliases unfold to more than {MOST_VALUES} values")
    known[id(node)] = weight
    return weight


def _check_once_each(mapping: yaml.MappingNode) -> None:
    """Of a key that stands twice YAML would take the last, and lose the other without a word."""
    seen: set[str] = set()
    for key, _ in mapping.value:
        if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
            if key.value in seen:
                raise _Refused(key, f"the key '{key.value[:40]}' stands twice in one block")
            seen.add(key.value)


def _check_plain(value: Any, path: str, where: str) -> None:
    said = f"{where}: {path}: " if path else f"{where}: "
    if isinstance(value, dict):
        for key, inner in value.items():
            if not isinstance(key, str):
                raise InputError(f"{said}the key {str(key)[:40]} is no text; put it in quotes")
            _check_plain(key, f"{path}.{key[:40]}".lstrip(".").encode("utf-8", "replace").decode(), where)
            _check_plain(inner, f"{path}.{key}".lstrip("."), where)
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            _check_plain(inner, f"{path}[{at}]", where)
    elif isinstance(value, str):
        if not value.isascii() and any(0xD800 <= ord(c) < 0xE000 for c in value):
            raise InputError(f"{said}not valid text (half of a surrogate pair)")
    elif isinstance(value, int):
        if not -_WHOLE <= value < _WHOLE:
            raise InputError(f"{said}the number has more than 63 bits")
    elif isinstance(value, float):
        if value != value:
            raise InputError(f"{said}not a number (nan)")
    elif value is not None:
        raise InputError(f"{said}a {type(value).__name__} where text or a number is meant; put it in quotes")
