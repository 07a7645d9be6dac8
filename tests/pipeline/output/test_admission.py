"""The admission table: every row is counted once under its status, and clauses, classes and strata add up."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from methods.errors import InputError
from pipeline.keep import KeepExpression
from pipeline.labels.arrow import to_arrow_value
from pipeline.labels.records import Annotation, Labels
from pipeline.output.report.admission import admission
from pipeline.sink.schema import index_schema

COLUMNS = ("a", "b")


def row(
    status: str, values: tuple[float | None, float | None], classes: list[str], **attributes: Any
) -> dict[str, Any]:
    labels = None
    if status != "rejected":
        annotations = [Annotation(category=name, bbox=(0.0, 0.0, 1.0, 1.0)) for name in classes]
        labels = to_arrow_value(Labels(width=8, height=8, annotations=annotations, attributes=attributes))
    raw = json.dumps({"name": "x", "attributes": {"timeofday": "dawn"}, "labels": []})
    return {"status": status, "labels": labels, "labels_raw": raw, "metric.a": values[0], "metric.b": values[1]}


def table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=index_schema(COLUMNS))


def test_a_class_that_a_filter_empties_is_seen():
    keep = KeepExpression.parse("a < 1 and b > 2", COLUMNS)
    rows = [
        row("ok", (0.5, 3.0), ["car", "car"], weather="clear", timeofday="night"),
        row("filtered", (2.0, 3.0), ["tram", "car"], weather="rainy", timeofday="night"),
        row("filtered", (2.0, 1.0), ["tram"], weather="rainy", timeofday="night"),
        row("rejected", (None, None), []),
    ]
    found = admission(table(rows), [keep], {"timeofday": "night"})
    assert found.clauses == ("a < 1", "b > 2")
    assert (found.total.attempted, found.total.ok, found.total.rejected) == (4, 1, 1)
    assert found.total.clauses == [2, 1]
    assert [(line.name, line.attempted, line.ok) for line in found.classes] == [("car", 3, 2), ("tram", 2, 0)]
    strata = {name: {line.name: (line.attempted, line.ok) for line in lines} for name, lines in found.strata}
    # the translation set timeofday: the value of the source counts
    assert strata == {"timeofday": {"dawn": (3, 1)}, "weather": {"rainy": (2, 0), "clear": (1, 1)}}
    assert found.emptied == ["class tram", "weather rainy"]


def test_an_attribute_with_many_values_is_no_stratum():
    rows = [row("ok", (1.0, 1.0), [], frame=str(number), city="x") for number in range(40)]
    assert [name for name, _ in admission(table(rows), [], {}).strata] == ["city"]


def test_nothing_at_all():
    found = admission(table([]), [], {})
    assert (found.total.attempted, found.classes, found.strata, found.emptied) == (0, (), (), [])


_VALUES = st.one_of(st.none(), st.floats(-2, 4))


@given(st.lists(st.tuples(st.sampled_from(["ok", "filtered", "rejected"]), _VALUES, _VALUES), max_size=20))
def test_lines_add_up(rows: list[tuple[str, float | None, float | None]]):
    keep = KeepExpression.parse("a < 1 and (b > 2 or b < 0)", COLUMNS)
    found = admission(table([row(status, (a, b), ["car"], city=status) for status, a, b in rows]), [keep], {})
    assert found.total.attempted == len(rows)
    for name, lines in found.strata:
        assert name == "city"
        assert sum(line.attempted for line in lines) == sum(status != "rejected" for status, *_ in rows)
    assert all(number <= found.total.filtered for number in found.total.clauses)


@pytest.mark.parametrize(
    ("text", "clauses"),
    [
        ("a < 1", ["a < 1"]),
        ("a < 1 and b > 2 and not a > b", ["a < 1", "b > 2", "not a > b"]),
        ("(a < 1 and b > 2) and a > 0", ["a < 1", "b > 2", "a > 0"]),
        ("a < 1 or b > 2", ["a < 1 or b > 2"]),
        ("metric.a < 1 and max(a, b) > 2", ["metric.a < 1", "max(a, b) > 2"]),
    ],
)
def test_clauses_together_keep_what_the_whole_keeps(text: str, clauses: list[str]):
    whole = KeepExpression.parse(text, COLUMNS)
    assert [each.text for each in whole.clauses()] == clauses
    assert frozenset(name for each in whole.clauses() for name in each.names) == whole.names
    for a in (-1.0, 0.5, 3.0):
        for b in (-1.0, 1.0, 3.0):
            values = {"a": a, "b": b}
            assert whole.keeps(values) == all(each.keeps(values) for each in whole.clauses())


def test_a_clause_is_still_checked():
    with pytest.raises(InputError, match="unknown column"):
        KeepExpression.parse("a < 1 and c > 2", COLUMNS)
