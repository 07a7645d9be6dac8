"""Descriptions found by name: those of this package, and those that other packages register as entry points."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Mapping
from functools import cached_property
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError

from methods.errors import InputError, first_line

Info = TypeVar("Info")
Params = TypeVar("Params", bound=BaseModel)


class Registry(Generic[Info]):
    """Every installed description of one kind; importing a description imports no torch.

    Args:
        kind: the word for messages (``method``, ``objective``, ``metric``).
        group: the entry-point group that other packages use.
        built_in: descriptions that no other package can replace.
    """

    def __init__(self, kind: str, group: str, built_in: Mapping[str, Info] | None = None) -> None:
        self.kind = kind
        self.group = group
        self._built_in = dict(built_in or {})

    @cached_property
    def all(self) -> dict[str, Info]:
        """Descriptions by name, read once.

        Raises:
            InputError: an installed package's description cannot be imported.
        """
        found: dict[str, Info] = {}
        for point in entry_points(group=self.group):
            try:
                found[point.name] = point.load()
            except Exception as error:
                raise InputError(
                    f"{self.kind} '{point.name}' of an installed package cannot be imported "
                    f"({first_line(error)}): update or remove that package"
                ) from None
        return found | self._built_in

    def info(self, name: str) -> Info:
        """The description of that name. Raises InputError that names the nearest one."""
        if name not in self.all:
            raise InputError(f"unknown {self.kind} '{name}': {nearest(name, self.all)}")
        return self.all[name]


def nearest(word: str, known: Iterable[str]) -> str:
    """``did you mean 'x'?`` when something known is close, else the list of what is known."""
    names = sorted(known)
    close = difflib.get_close_matches(word, names, n=1)
    return f"did you mean '{close[0]}'?" if close else f"known: {', '.join(names) or 'none'}"


def implementation(path: str) -> Any:
    """The object that ``module:name`` stands for; imports the module."""
    module, _, name = path.partition(":")
    return getattr(importlib.import_module(module), name)


def checked(model: type[Params], values: Mapping[str, Any], owner: str, where: str) -> Params:
    """Parameters of ``owner`` ("method 'piti'"), given under ``where`` ("method.params").

    Raises:
        InputError: an unknown name (the nearest is named), or a value of the wrong kind: the first one.
    """
    try:
        return model(**values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        if first["type"] == "extra_forbidden":
            raise InputError(f"{owner} has no parameter '{name}': {nearest(name, model.model_fields)}") from None
        message = first["msg"].removeprefix("Value error, ")
        # the whole of the parameters is no answer to a rule about several of them
        got = f" (got {first['input']!r})" if name else ""
        raise InputError(f"{where}{'.' + name if name else ''}: {message}{got}") from None
