"""Log lines: written and read back, bounded in memory, without secrets."""

from __future__ import annotations

import json
import logging
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.logs.context import context, in_context, log_context
from pipeline.logs.handler import BoundedLog, FirstOfEachFault
from pipeline.logs.lines import FIELDS, LogLine, line_of, read_lines, write_line

TEXT = st.text(st.characters(blacklist_categories=("Cs",)), max_size=40)
ONE_LINE = st.text(st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp")), max_size=40)


def record(message: str, level: int = logging.INFO, **fields: Any) -> logging.LogRecord:
    made = logging.LogRecord("sceneshift.test", level, __file__, 1, message, (), None)
    made.__dict__.update(fields)
    return made


def failing(text: str) -> tuple:
    try:
        raise KeyError(text)
    except KeyError as error:
        return (type(error), error, error.__traceback__)


@given(
    ONE_LINE,
    st.dictionaries(st.sampled_from(FIELDS), TEXT.filter(bool)),
    st.lists(ONE_LINE, max_size=3),
    st.sampled_from(["text", "json"]),
)
def test_a_line_is_read_as_it_was_written(message, fields, trace, format):
    ordered = {name: fields[name] for name in FIELDS if name in fields}
    line = LogLine("2025-01-31T13:45:07.123Z", "INFO", "sceneshift.a.b", message, ordered, "\n".join(trace).strip("\n"))
    (found,) = read_lines(write_line(line, format))
    assert found == line or (found.traceback.splitlines(), line.traceback.splitlines()) == ([], [""])


@given(TEXT)
def test_no_text_makes_the_reader_fail(text):
    assert all(isinstance(line, LogLine) for line in read_lines(text))


def test_fields_of_the_place_follow_into_threads_and_end_with_their_block():
    found: list[str] = []
    with log_context(job="night", shard="part-0001"):
        thread = threading.Thread(target=in_context(lambda: found.append(str(dict(context()))), key="a b"))
        thread.start()
        thread.join()
        line = line_of(record("hello", key="c"))
    assert found == [str({"job": "night", "shard": "part-0001", "key": "a b"})]
    assert line.fields == {"job": "night", "shard": "part-0001", "key": "c"}
    assert context() == {}


def test_secrets_are_in_neither_message_nor_fields_nor_traceback():
    secret = "https://me:hunter2@store.example/x"
    line = line_of(record(f"cannot open {secret}", key=secret, exc_info=failing(secret)))
    assert "KeyError" in line.traceback
    for format in ("text", "json"):
        assert "hunter2" not in write_line(line, format)


@pytest.mark.parametrize("format", ["text", "json"])
def test_the_file_is_bounded_and_keeps_first_tracebacks(format):
    log = BoundedLog(logging.INFO, format, {"job": "night"}, largest=4000)
    log.handle(record("first fault", fault=("translate", "KeyError", "x:1 f"), exc_info=failing("lane")))
    for number in range(500):
        log.handle(record(f"line {number}"))
        log.handle(record("again", fault=("translate", "KeyError", "x:1 f"), exc_info=failing("lane")))
    text = log.text()
    assert len(text) < 4300
    assert text.count("Traceback") == 1
    lines = list(read_lines(text))
    if format == "json":
        assert [json.loads(each)["message"] for each in text.splitlines()] == [line.message for line in lines]
    assert [line.fields for line in lines] == [{"job": "night"}] * len(lines)
    assert lines[0].message == f"{500 - (len(lines) - 2)} earlier lines are left out"
    assert lines[1].message == "first fault"
    assert [line.message for line in lines[2:]] == [f"line {n}" for n in range(502 - len(lines), 500)]


def test_repeated_faults_are_shown_where_everything_is_wanted():
    fault = ("read", "OSError", "y:2 g")
    few, all_of_them = FirstOfEachFault(), FirstOfEachFault(everything=True)
    assert [few.filter(record("x", fault=fault)) for _ in range(3)] == [True, False, False]
    assert [all_of_them.filter(record("x", fault=fault)) for _ in range(3)] == [True, True, True]
    assert few.filter(record("x", fault=("read", "OSError", "y:3 g")))
