"""Cron expressions: the five fields, checked, and as systemd writes the same times."""

from __future__ import annotations

import re
from dataclasses import dataclass

from methods.errors import InputError

_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 7))
_WEEKDAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_ITEM = re.compile(r"(?:\*|(\d+)(?:-(\d+))?)(?:/(\d+))?")


@dataclass(frozen=True)
class Cron:
    """A cron expression of five fields: minute, hour, day of the month, month, weekday (0 and 7 are Sunday)."""

    fields: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Cron:
        """Numbers, ``*``, ranges, lists and steps; names of months and weekdays are not taken.

        Raises:
            InputError: another number of fields, or a field that no clock shows.
        """
        fields = tuple(text.split())
        if len(fields) != len(_FIELDS):
            raise InputError(f"--cron '{text}': expected five fields, minute hour day month weekday, got {len(fields)}")
        for field, (name, least, most) in zip(fields, _FIELDS, strict=True):
            for item in field.split(","):
                match = _ITEM.fullmatch(item)
                numbers = [int(n) for n in match.groups()[:2] if n] if match else []
                fits = all(least <= n <= most for n in numbers) and numbers == sorted(numbers)
                if match is None or not fits or match[3] == "0":
                    raise InputError(f"--cron '{text}': {name} '{item}' is none of {least} to {most}")
        return cls(fields)

    def __str__(self) -> str:
        return " ".join(self.fields)

    @property
    def calendar(self) -> str:
        """As systemd's ``OnCalendar``, without the time zone.

        Raises:
            InputError: day and weekday both restricted: cron takes either, systemd only both together.
        """
        minute, hour, day, month, weekday = self.fields
        if day != "*" and weekday != "*":
            raise InputError(f"--cron '{self}': systemd has no 'day or weekday'; restrict one of the two")
        days = "" if weekday == "*" else ",".join(_weekdays(weekday)) + " "
        parts = [_spread(f, least) for f, (_, least, _) in zip((month, day, hour, minute), _ORDER, strict=True)]
        return f"{days}*-{parts[0]}-{parts[1]} {parts[2]}:{parts[3]}:00"


_ORDER = (_FIELDS[3], _FIELDS[2], _FIELDS[1], _FIELDS[0])


def _spread(field: str, least: int) -> str:
    """One field as systemd writes it: ``..`` for ranges, steps from the least value."""
    items = []
    for item in field.split(","):
        span, slash, step = item.partition("/")
        start = f"{least}" if slash and span == "*" else span.replace("-", "..")
        items.append(start + slash + step)
    return ",".join(items)


def _weekdays(field: str) -> list[str]:
    """Names of the days, Monday first."""
    chosen: set[str] = set()
    for item in field.split(","):
        span, _, step = item.partition("/")
        first, _, last = ("0-6" if span == "*" else span).partition("-")
        end = int(last) if last else (6 if step else int(first))
        chosen |= {_WEEKDAYS[n] for n in range(int(first), end + 1, int(step or 1))}
    return [day for day in _WEEKDAYS[1:] if day in chosen]
