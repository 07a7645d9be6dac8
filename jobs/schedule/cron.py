"""Cron expressions: the five fields, checked, and as systemd writes the same times."""

from __future__ import annotations

import re
from dataclasses import dataclass

from methods.errors import InputError

_FIELDS = (("minute", 0, 59), ("hour", 0, 23), ("day", 1, 31), ("month", 1, 12), ("weekday", 0, 7))
_WEEKDAYS = ("Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_NAMES = {name.lower(): str(number) for number, name in enumerate(_WEEKDAYS[:7])}
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_NAMES |= {name: str(number) for number, name in enumerate(_MONTHS, start=1)}
_MACROS = {"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0"}
_MACROS |= {"@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *"}
_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_ITEM = re.compile(r"(?:\*|(\d+)(?:-(\d+))?)(?:/(\d+))?")


@dataclass(frozen=True)
class Cron:
    """A cron expression of five fields: minute, hour, day of the month, month, weekday (0 and 7 are Sunday)."""

    fields: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Cron:
        """Numbers, ``*``, ranges, lists and steps; ``MON``, ``JAN`` and ``@daily`` as the numbers they stand for.

        Raises:
            InputError: another number of fields, a field that no clock shows, or a day that no month has.
        """
        fields = tuple(_MACROS.get(text.strip().lower(), text).split())
        if len(fields) == len(_FIELDS):
            fields = (*fields[:3], *(_numbers(field) for field in fields[3:]))
        if len(fields) != len(_FIELDS):
            raise InputError(f"--cron '{text}': expected five fields, minute hour day month weekday, got {len(fields)}")
        for field, (name, least, most) in zip(fields, _FIELDS, strict=True):
            for item in field.split(","):
                match = _ITEM.fullmatch(item)
                numbers = [int(n) for n in match.groups()[:2] if n] if match else []
                fits = all(least <= n <= most for n in numbers) and numbers == sorted(numbers)
                if match is None or not fits or match[3] == "0":
                    raise InputError(f"--cron '{text}': {name} '{item}' is none of {least} to {most}")
        found = cls(fields)
        if fields[4] == "*" and not found._has_a_day():
            raise InputError(f"--cron '{text}': no month of those has such a day")
        return found

    def _has_a_day(self) -> bool:
        """Whether a day of the month and a month of the fields go together."""
        months = [number for number in range(1, 13) if _holds(self.fields[3], number, 1)]
        return any(_holds(self.fields[2], day, 1) for month in months for day in range(1, _DAYS[month - 1] + 1))

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


def _numbers(field: str) -> str:
    """Names of months and weekdays replaced by their numbers."""
    return re.sub(r"[A-Za-z]+", lambda match: _NAMES.get(match[0].lower(), match[0]), field)


def _holds(field: str, number: int, least: int) -> bool:
    """Whether a checked field has a number."""
    for item in field.split(","):
        span, slash, step = item.partition("/")
        first, _, last = span.partition("-")
        start = least if span == "*" else int(first)
        end = int(last) if last else (number if span == "*" or slash else start)
        if start <= number <= end and (number - start) % int(step or 1) == 0:
            return True
    return False


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
