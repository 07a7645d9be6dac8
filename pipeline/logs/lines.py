"""Log lines as text or JSON, and back: what is written into a log file can be read from it again."""

from __future__ import annotations

import json
import logging
import re
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

from pipeline.logs.context import context
from pipeline.storage import redact

LogFormat = Literal["text", "json"]

FIELDS = ("job", "run", "worker", "target", "shard", "key", "stage", "reason", "place")
"""The fields a line may have, in the order in which they are written. ``place`` is ``file:line function``."""

_LONGEST_TRACEBACK = 16_000
_TRACEBACK = "  | "
_VALUE = r'(?:"(?:[^"\\]|\\.)*"|[^\s"\]]+)'
_LINE = re.compile(rf"(\S+Z) (\w+) (\S+) \[((?:\w+={_VALUE} ?)*)\] (.*)")
_FIELD = re.compile(rf"(\w+)=({_VALUE})")
_PLAIN = re.compile(r"[\w./:@#+,~-]+")


@dataclass(frozen=True)
class LogLine:
    """One log record. ``time`` is UTC in ISO 8601, ``traceback`` empty where there is none."""

    time: str
    level: str
    logger: str
    message: str
    fields: Mapping[str, str] = field(default_factory=dict)
    traceback: str = ""


def line_of(record: logging.LogRecord, fields: Mapping[str, str] | None = None) -> LogLine:
    """The record with ``fields`` and those of its place, secrets removed.

    Tracebacks over 16,000 characters lose their middle.
    """
    known = {
        **(fields or {}),
        **context(),
        **{name: str(value) for name in FIELDS if (value := getattr(record, name, None)) is not None},
    }
    trace = ""
    if record.exc_info and record.exc_info[1] is not None:
        trace = "".join(traceback.format_exception(record.exc_info[1])).rstrip()
        if len(trace) > _LONGEST_TRACEBACK:
            half = _LONGEST_TRACEBACK // 2
            trace = f"{trace[:half]}\n...\n{trace[-half:]}"
    moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return LogLine(
        time=f"{moment}.{int(record.msecs):03d}Z",
        level=record.levelname,
        logger=record.name,
        message=redact(record.getMessage()),
        fields={name: redact(known[name]) for name in FIELDS if known.get(name)},
        traceback=redact(trace),
    )


def write_line(line: LogLine, format: LogFormat) -> str:
    """The line as it stands in a file, with its line end; in text a traceback follows, indented."""
    if format == "json":
        return json.dumps({k: v for k, v in asdict(line).items() if v or k == "message"}, ensure_ascii=True) + "\n"
    fields = " ".join(f"{name}={_quoted(value)}" for name, value in line.fields.items())
    message = line.message.replace("\r", "\\r").replace("\n", "\\n")
    trace = "".join(f"{_TRACEBACK}{each}\n" for each in line.traceback.splitlines())
    return f"{line.time} {line.level} {line.logger} [{fields}] {message}\n{trace}"


def read_lines(text: str) -> Iterator[LogLine]:
    """The lines of a log file in either format. What is no log line is passed over."""
    found: LogLine | None = None
    for each in text.split("\n"):
        if found is not None and each.startswith(_TRACEBACK):
            rest = each.removeprefix(_TRACEBACK)
            found = replace(found, traceback=f"{found.traceback}\n{rest}" if found.traceback else rest)
            continue
        if found is not None:
            yield found
        found = _parsed(each)
    if found is not None:
        yield found


def _parsed(text: str) -> LogLine | None:
    try:
        if text.startswith("{"):
            return LogLine(**json.loads(text))
        match = _LINE.fullmatch(text)
        if match is None:
            return None
        fields = {name: json.loads(value) if value[0] == '"' else value for name, value in _FIELD.findall(match[4])}
        return LogLine(match[1], match[2], match[3], match[5], fields)
    except (ValueError, TypeError):
        return None


def _quoted(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else json.dumps(value, ensure_ascii=True)
