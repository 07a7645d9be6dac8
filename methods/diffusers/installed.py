"""What the installed diffusers has: classes and their arguments, read from its source without importing it.

Importing diffusers imports torch and takes ten seconds; a job file is checked in a fraction of one.
"""

from __future__ import annotations

import ast
import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from methods.errors import InputError


class _Room(NamedTuple):
    files: str
    kind: str


_ROOMS = {"pipelines": _Room("pipeline_*.py", "Pipeline"), "schedulers": _Room("scheduling_*.py", "Scheduler")}


@dataclass(frozen=True)
class Signature:
    """Arguments of a function by name, in order; those without a default are ``required``."""

    names: tuple[str, ...]
    required: frozenset[str]


@dataclass(frozen=True)
class SourceClass:
    """A class as its source file shows it.

    Attributes:
        name: its name.
        bases: names of the classes it derives from.
        methods: arguments of the methods that it defines itself, without ``self``.
        optional: names of a pipeline's parts that may be missing.
    """

    name: str
    bases: tuple[str, ...]
    methods: Mapping[str, Signature]
    optional: frozenset[str] = frozenset()

    def signature(self, method: str) -> Signature:
        """Arguments of ``method``, its own or inherited. Empty where no class of diffusers defines it."""
        if method in self.methods:
            return self.methods[method]
        for base in self.bases:
            for room in _ROOMS:
                if base in _places(room) and (found := _class(room, base).signature(method)).names:
                    return found
        return Signature((), frozenset())


class Installed:
    """The pipelines and schedulers of the installed diffusers."""

    def pipeline(self, name: str, where: str) -> SourceClass:
        """A pipeline class. Raises InputError that names the nearest one."""
        return _named("pipelines", name, where)

    def scheduler(self, name: str, where: str) -> SourceClass:
        """A scheduler class. Raises InputError that names the nearest one."""
        return _named("schedulers", name, where)

    @cached_property
    def interchangeable(self) -> frozenset[str]:
        """The schedulers that can stand in for one another on a model trained to predict noise or v."""
        source = _folder() / "schedulers" / "scheduling_utils.py"
        for node in ast.parse(source.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and node.name == "KarrasDiffusionSchedulers":
                assigned = [each for each in node.body if isinstance(each, ast.Assign)]
                return frozenset(each.targets[0].id for each in assigned if isinstance(each.targets[0], ast.Name))
        return frozenset()

    @cached_property
    def families(self) -> Mapping[str, Mapping[str, str]]:
        """By task (``IMAGE2IMAGE``, ``INPAINT``, ``TEXT2IMAGE``): family of models -> pipeline class, as its automatic
        pipelines have them."""
        source = _folder() / "pipelines" / "auto_pipeline.py"
        found: dict[str, dict[str, str]] = {"IMAGE2IMAGE": {}, "INPAINT": {}, "TEXT2IMAGE": {}}
        for node in ast.walk(ast.parse(source.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Assign):
                continue
            target, value = node.targets[0], node.value
            for task, table in found.items():
                whole = isinstance(target, ast.Name) and target.id == f"AUTO_{task}_PIPELINES_MAPPING"
                if whole and isinstance(value, ast.Call) and value.args and isinstance(value.args[0], ast.List):
                    for pair in value.args[0].elts:
                        if isinstance(pair, ast.Tuple):
                            table[_literal(pair.elts[0])] = _identifier(pair.elts[1])
                one = (
                    isinstance(target, ast.Subscript) and _identifier(target.value) == f"AUTO_{task}_PIPELINES_MAPPING"
                )
                if one and isinstance(target, ast.Subscript):
                    table[_literal(target.slice)] = _identifier(value)
        return found


INSTALLED = Installed()


def _named(room: str, name: str, where: str) -> SourceClass:
    known = _places(room)
    if name not in known:
        close = difflib.get_close_matches(name, [each for each in known if each.endswith(_ROOMS[room].kind)], n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"its documentation lists the {room}"
        raise InputError(f"{where}: the installed diffusers has no '{name}': {hint}")
    return _class(room, name)


def _folder() -> Path:
    spec = find_spec("diffusers")
    if spec is None or not spec.submodule_search_locations:
        raise InputError("diffusers is not installed: pip install diffusers")
    return Path(next(iter(spec.submodule_search_locations)))


@cache
def _places(room: str) -> Mapping[str, Path]:
    """Every class in the files of one folder of diffusers that define pipelines or schedulers -> its file."""
    found: dict[str, Path] = {}
    for path in sorted((_folder() / room).rglob(_ROOMS[room].files)):
        for name in re.findall(r"^class (\w+)", path.read_text(encoding="utf-8"), re.MULTILINE):
            found[name] = path
    return found


@cache
def _class(room: str, name: str) -> SourceClass:
    tree = ast.parse(_places(room)[name].read_text(encoding="utf-8"))
    return _source_class(next(each for each in tree.body if isinstance(each, ast.ClassDef) and each.name == name))


def _source_class(node: ast.ClassDef) -> SourceClass:
    functions = [each for each in node.body if isinstance(each, ast.FunctionDef)]
    optional: frozenset[str] = frozenset()
    for each in node.body:
        if isinstance(each, ast.Assign) and _identifier(each.targets[0]) == "_optional_components":
            optional = frozenset(ast.literal_eval(each.value))
    return SourceClass(
        name=node.name,
        bases=tuple(_identifier(base) for base in node.bases),
        methods={each.name: _signature(each.args) for each in functions if each.name in ("__call__", "__init__")},
        optional=optional,
    )


def _signature(arguments: ast.arguments) -> Signature:
    plain = [each.arg for each in (*arguments.posonlyargs, *arguments.args)]
    required = plain[: len(plain) - len(arguments.defaults)]
    for each, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        plain.append(each.arg)
        required += [] if default is not None else [each.arg]
    return Signature(tuple(plain[1:]), frozenset(required[1:]))


def _identifier(node: ast.AST) -> str:
    if isinstance(node, ast.Name):
        return node.id
    return node.attr if isinstance(node, ast.Attribute) else ""


def _literal(node: ast.AST) -> Any:
    return node.value if isinstance(node, ast.Constant) else ""
