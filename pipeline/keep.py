"""The ``keep:`` expression: which translated samples stay, said in terms of metric columns.

    structure < 0.02 and psnr > 12 or not ssim < 0.3

Numbers, columns (``psnr`` and ``metric.psnr`` are the same), ``+ - * /``, comparisons (``0.1 < ssim <= 0.9``), ``and``,
``or``, ``not``, parentheses, ``abs``, ``min`` and ``max``. Nothing else: Python's parser reads it, but no Python runs.
"""

from __future__ import annotations

import ast
import difflib
import math
import operator
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import TypeGuard

from methods.errors import InputError
from pipeline import metrics

_LONGEST, _DEEPEST = 2000, 40
_PREFIX = "metric."
_ARITHMETIC: dict[type[ast.operator], Callable[[float, float], float]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: lambda a, b: a / b if b else math.nan,
}
_COMPARISONS: dict[type[ast.cmpop], Callable[[float, float], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}
_FUNCTIONS: dict[str, Callable[[list[float]], float]] = {"abs": lambda values: abs(values[0]), "min": min, "max": max}


@dataclass(frozen=True)
class KeepExpression:
    """A checked expression.

    Attributes:
        text: as the user wrote it.
        names: the columns it reads, without ``metric.``.
    """

    text: str
    names: frozenset[str]
    _tree: ast.expr

    @classmethod
    def parse(cls, text: str, columns: Collection[str]) -> KeepExpression:
        """Check an expression against the columns that the job measures.

        Raises:
            InputError: not an expression of this language, or a column that is not there; the message names the nearest
                one, or the metric that would give it.
        """
        line = " ".join(text.split())
        if len(line) > _LONGEST:
            raise InputError(f"keep: the expression is longer than {_LONGEST} characters")
        if "#" in line:
            # Lines are joined, so a comment would swallow the conditions after it.
            raise InputError("keep: '#' begins no comment here: put comments outside the expression")
        try:
            tree = ast.parse(line, mode="eval").body
        except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
            where = f" near column {error.offset}" if isinstance(error, SyntaxError) and error.offset else ""
            said = error.msg if isinstance(error, SyntaxError) else "it cannot be parsed"
            raise InputError(f"keep: '{_short(line)}' is not an expression{where}: {said}") from None
        checker = _Checker(line, columns)
        checker.truth(tree, 0)
        return cls(text, frozenset(checker.names), tree)

    def keeps(self, values: Mapping[str, float]) -> bool:
        """Whether a sample with these metric values stays.

        A column that is missing is nan, and so is a division by zero. Comparisons with nan are false (``!=`` too), so
        ``not x < 1`` keeps what ``x >= 1`` does not.
        """
        return _truth(self._tree, values)

    def clauses(self) -> tuple[KeepExpression, ...]:
        """The conditions that all have to hold, each as an expression of its own: what stands between ``and``."""
        line = " ".join(self.text.split())
        parts = _conjuncts(self._tree)
        return tuple(KeepExpression(ast.get_source_segment(line, each) or line, _names(each), each) for each in parts)


class _Checker:
    """Walks the tree once: what is a number, what is true or false, and nothing that is neither."""

    def __init__(self, line: str, columns: Collection[str]) -> None:
        self._line = line
        self._columns = columns
        self.names: set[str] = set()

    def truth(self, node: ast.expr, depth: int) -> None:
        """Check a part that has to be true or false."""
        self._check_depth(depth)
        if isinstance(node, ast.BoolOp):
            for each in node.values:
                self.truth(each, depth + 1)
        elif _is_not(node):
            self.truth(node.operand, depth + 1)
        elif isinstance(node, ast.Compare):
            for comparison in node.ops:
                if type(comparison) not in _COMPARISONS:
                    raise self._refusal(node, "compares in a way other than < <= > >= == !=")
            for each in (node.left, *node.comparators):
                self.number(each, depth + 1)
        else:
            self.number(node, depth + 1)
            raise self._refusal(node, "is a number where a comparison is needed, such as psnr > 12")

    def number(self, node: ast.expr, depth: int) -> None:
        """Check a part that has to be a number."""
        self._check_depth(depth)
        if isinstance(node, ast.Constant):
            if isinstance(node.value, bool) or not isinstance(node.value, int | float):
                raise self._refusal(node, "is not a number")
            if (isinstance(node.value, int) and abs(node.value) > 10**15) or not math.isfinite(node.value):
                raise self._refusal(node, "is too large a number")
        elif isinstance(node, ast.Name | ast.Attribute):
            self._column(node)
        elif isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
            self.number(node.left, depth + 1)
            self.number(node.right, depth + 1)
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.UAdd | ast.USub):
            self.number(node.operand, depth + 1)
        elif isinstance(node, ast.Call):
            self._call(node, depth)
        elif isinstance(node, ast.BoolOp | ast.Compare) or _is_not(node):
            raise self._refusal(node, "is true or false where a number is needed")
        else:
            raise self._refusal(node, "is not allowed: use numbers, columns, + - * /, comparisons, and, or, not")

    def _call(self, node: ast.Call, depth: int) -> None:
        name = node.func.id if isinstance(node.func, ast.Name) else None
        if name not in _FUNCTIONS:
            raise self._refusal(node, f"calls something other than {', '.join(_FUNCTIONS)}")
        if node.keywords or not node.args or (name == "abs" and len(node.args) != 1):
            raise self._refusal(node, "has the wrong arguments")
        for each in node.args:
            self.number(each, depth + 1)

    def _column(self, node: ast.Name | ast.Attribute) -> None:
        dotted = _dotted(node)
        if dotted is None:
            raise self._refusal(node, "is not a column")
        name = dotted.removeprefix(_PREFIX)
        if name not in self._columns:
            raise InputError(f"keep: {_unknown(name, self._columns)}")
        self.names.add(name)

    def _check_depth(self, depth: int) -> None:
        if depth > _DEEPEST:
            raise InputError(f"keep: the expression is nested more than {_DEEPEST} deep")

    def _refusal(self, node: ast.expr, why: str) -> InputError:
        return InputError(f"keep: '{_short(ast.get_source_segment(self._line, node) or self._line)}' {why}")


def _unknown(name: str, columns: Collection[str]) -> str:
    providers = {column: each.name for each in metrics.registered().values() for column in each.columns}
    if name in providers:
        return f"column '{name}' is not measured by this job: {_obtained(providers[name])}"
    close = difflib.get_close_matches(name, [*columns, *providers], n=1)
    if not close:
        return f"unknown column '{name}': known: {', '.join(sorted(columns)) or 'none, as the job has no metrics'}"
    if close[0] in columns:
        return f"unknown column '{name}': did you mean '{close[0]}'?"
    return f"unknown column '{name}': did you mean '{close[0]}'? Then {_obtained(providers[close[0]])}"


def _obtained(metric: str) -> str:
    # the check of labels is asked for where the labels are, with a detector
    return "name a detector in source.labels.check" if metric == "label_check" else f"add '{metric}' to metrics"


def _truth(node: ast.expr, values: Mapping[str, float]) -> bool:
    if isinstance(node, ast.BoolOp):
        return (all if isinstance(node.op, ast.And) else any)(_truth(each, values) for each in node.values)
    if isinstance(node, ast.UnaryOp):
        return not _truth(node.operand, values)
    assert isinstance(node, ast.Compare)
    numbers = [_number(each, values) for each in (node.left, *node.comparators)]
    if any(math.isnan(number) for number in numbers):
        return False
    pairs = zip(node.ops, numbers, numbers[1:], strict=False)
    return all(_COMPARISONS[type(comparison)](a, b) for comparison, a, b in pairs)


def _number(node: ast.expr, values: Mapping[str, float]) -> float:
    if isinstance(node, ast.Constant):
        assert isinstance(node.value, int | float)
        return float(node.value)
    if isinstance(node, ast.Name | ast.Attribute):
        value = values.get((_dotted(node) or "").removeprefix(_PREFIX))
        return math.nan if value is None else float(value)
    if isinstance(node, ast.BinOp):
        return _ARITHMETIC[type(node.op)](_number(node.left, values), _number(node.right, values))
    if isinstance(node, ast.UnaryOp):
        number = _number(node.operand, values)
        return -number if isinstance(node.op, ast.USub) else number
    assert isinstance(node, ast.Call)
    assert isinstance(node.func, ast.Name)
    numbers = [_number(each, values) for each in node.args]
    # min and max of Python's own depend on the order when a nan is among them.
    return math.nan if any(math.isnan(number) for number in numbers) else _FUNCTIONS[node.func.id](numbers)


def _conjuncts(tree: ast.expr) -> list[ast.expr]:
    if isinstance(tree, ast.BoolOp) and isinstance(tree.op, ast.And):
        return [part for each in tree.values for part in _conjuncts(each)]
    return [tree]


def _names(tree: ast.expr) -> frozenset[str]:
    """The columns that a checked part of an expression reads."""
    found: set[str] = set()
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        dotted = _dotted(node) if isinstance(node, ast.Name | ast.Attribute) else None
        if dotted is not None:
            found.add(dotted.removeprefix(_PREFIX))
        else:
            waiting += [
                each for each in ast.iter_child_nodes(node) if not (isinstance(node, ast.Call) and each is node.func)
            ]
    return frozenset(found)


def _is_not(node: ast.expr) -> TypeGuard[ast.UnaryOp]:
    return isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not)


def _dotted(node: ast.expr) -> str | None:
    """``a.b.c`` as text; ``None`` for the attribute of anything but a name."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute) and (before := _dotted(node.value)) is not None:
        return f"{before}.{node.attr}"
    return None


def _short(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
