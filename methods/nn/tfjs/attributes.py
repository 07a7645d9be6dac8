"""The attributes of one node of a graph, each to be asked for by name and kind."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

import torch

DTYPES = {"DT_FLOAT": torch.float32, "DT_INT32": torch.int32, "DT_BOOL": torch.bool}
"""The kinds of numbers that are read, by TensorFlow's names."""


class Attributes:
    """What a node says of itself, as TensorFlow.js writes it; all methods raise ValueError for what does not fit.

    Args:
        tree: ``{"strides": {"list": {"i": ["1", "2", "2", "1"]}}, ...}``.
    """

    def __init__(self, tree: Mapping[str, Any]) -> None:
        self._tree = dict(tree)
        self._asked: set[str] = set()

    def dtype(self, name: str) -> torch.dtype:
        """A kind of numbers."""
        said = self._value(name, "type")
        if said not in DTYPES:
            raise ValueError(f"{name} {said!r}, and only {', '.join(DTYPES)} are read")
        return DTYPES[said]

    def text(self, name: str) -> str:
        """A word."""
        return _decoded(name, self._value(name, "s"))

    def truth(self, name: str) -> bool:
        """Yes or no."""
        said = self._value(name, "b")
        if not isinstance(said, bool):
            raise ValueError(f"{name} {said!r} is neither true nor false")
        return said

    def number(self, name: str) -> int:
        """A whole number."""
        return _whole(name, self._value(name, "i"))

    def numbers(self, name: str) -> tuple[int, ...]:
        """A list of whole numbers."""
        return tuple(_whole(name, each) for each in self._items(name, "i"))

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of words."""
        return tuple(_decoded(name, each) for each in self._items(name, "s"))

    def shape(self, name: str) -> tuple[int, ...]:
        """The sides of a tensor; -1 for one that is open."""
        return shape_of(name, self._value(name, "shape"))

    def tensor_shape(self, name: str) -> tuple[int, ...]:
        """The sides of a tensor whose numbers lie elsewhere."""
        said = self._value(name, "tensor")
        return shape_of(name, said.get("tensorShape") if isinstance(said, dict) else None)

    def must_be(self, **wanted: Any) -> None:
        """Values that nothing else than what is named here is made for; an attribute that is not given is right.

        Raises:
            ValueError: another value.
        """
        for name, value in wanted.items():
            if name not in self._tree:
                continue
            kind = {bool: self.truth, int: self.number, str: self.text, tuple: self.numbers}[type(value)]
            if (said := kind(name)) != value:
                raise ValueError(f"{name} {said!r}, and only {value!r} is read")

    def ignore(self, *names: str) -> None:
        """Attributes that change nothing here."""
        self._asked.update(names)

    def done(self) -> None:
        """Raise ValueError for an attribute that nobody asked for: it may change the result.

        Those that begin with ``_`` are notes of TensorFlow's optimizer.
        """
        left = sorted(name for name in self._tree if name not in self._asked and not name.startswith("_"))
        if left:
            raise ValueError(f"unknown attribute '{left[0]}'")

    def _value(self, name: str, kind: str) -> Any:
        self._asked.add(name)
        said = self._tree.get(name)
        if not isinstance(said, dict) or kind not in said:
            raise ValueError(f"{name} is missing or of another kind" if said else f"{name} is missing")
        return said[kind]

    def _items(self, name: str, kind: str) -> list[Any]:
        said = self._value(name, "list")
        found = said.get(kind, []) if isinstance(said, dict) else None
        if not isinstance(found, list):
            raise ValueError(f"{name} is no list")
        return found


def shape_of(name: str, said: Any) -> tuple[int, ...]:
    """The sides that ``{"dim": [{"size": "1"}, ...]}`` names, none without ``dim``. Raises ValueError."""
    sides = said.get("dim", []) if isinstance(said, dict) else None
    if not isinstance(sides, list):
        raise ValueError(f"{name} is no shape")
    return tuple(_whole(name, each.get("size") if isinstance(each, dict) else each) for each in sides)


def _whole(name: str, said: Any) -> int:
    try:
        if isinstance(said, int | str) and not isinstance(said, bool):
            return int(said)
    except ValueError:
        pass
    raise ValueError(f"{name} holds {str(said)[:40]!r}, which is no whole number")


def _decoded(name: str, said: Any) -> str:
    try:
        return base64.b64decode(said, validate=True).decode("ascii")
    except (TypeError, ValueError):
        raise ValueError(f"{name} holds {said!r}, which is no text in base64") from None
