"""YAML of people: hostile files are one line, fast; plain ones come through."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from methods.errors import InputError
from pipeline.plain_yaml import parse_yaml

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 63), (1 << 63) - 1)
    | st.floats(allow_nan=False)
    | st.text("ab é:#-"),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text("abc", min_size=1), inner, max_size=4),
    max_leaves=20,
)


@given(plain)
def test_what_yaml_writes_is_read(value):
    assert parse_yaml(yaml.safe_dump(value), "x.yaml") == value


def test_anchors_may_be_used():
    assert parse_yaml("a: &x {uri: s}\nb: *x\nc: {<<: *x, d: 1}", "x")["c"] == {"uri": "s", "d": 1}


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(f"b{n}: &b{n} [{', '.join([f'*b{n - 1}'] * 10) if n else 'x'}]" for n in range(12)),
        "\n".join(
            f"b{n}: &b{n} {{{', '.join(f'k{m}: *b{n - 1}' for m in range(10)) if n else ''}}}" for n in range(12)
        ),
        "a: &a [*a]",
        "a: &a {b: *a}",
        "a: " + "[" * 3000 + "]" * 3000,
        "a: " + "{b: " * 100 + "}" * 100,
        "- " * 5000 + "x",
        "a: 2001-13-45",
        "a: 2001-11-11",
        "a: !!int abc",
        "a: !!binary aGk=",
        "a: !!set {b}",
        "a: !!python/object/apply:os.system [echo]",
        'a: "\\ud800"',
        "a: " + "9" * 5000,
        "a: 9223372036854775808",
        "a: .nan",
        "1: x",
        "? [a]\n: b",
        "a: \x00",
        "a: [",
        "a: *missing",
        "%YAML 9.9\n---\na",
        "a" * (5 << 20),
    ],
)
def test_hostile_yaml_is_one_line(text):
    with pytest.raises(InputError) as refused:
        parse_yaml(text, "job.yaml")
    message = str(refused.value)
    assert message.startswith("job.yaml")
    assert "\n" not in message
    assert len(message) < 400
    message.encode()


@given(st.text(st.characters(), max_size=60))
def test_any_text_is_read_or_refused(text):
    said = ""
    try:
        parse_yaml(text, "job.yaml")
    except InputError as error:
        said = str(error)
    assert "\n" not in said


def test_a_key_that_stands_twice_is_not_lost_in_silence() -> None:
    with pytest.raises(InputError, match=r"^here:4: the key 'night' stands twice in one block$"):
        parse_yaml("targets:\n  night: {}\n  day: {}\n  night: {keep: psnr < 1}\n", "here")
    merged = "a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n"
    assert parse_yaml(merged, "here")["b"] == {"x": 1, "y": 3}
