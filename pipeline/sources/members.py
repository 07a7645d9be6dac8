"""Members of a tar put together into samples, in one pass, within a bounded window."""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

from pipeline.findings import Finding
from pipeline.records import Rejection
from pipeline.sources.endings import system_file
from pipeline.uris import printable

MAX_OPEN = 1000
"""Samples that may wait for more of their members."""

MAX_BYTES = 32 << 20
"""Bytes that the members of waiting samples may have together."""


@dataclass
class Group:
    """One sample of a tar: how to read its members, by suffix, and what was passed over on the way to it.

    ``number`` counts the samples of the tar from 0.
    """

    key: str
    number: int
    members: dict[str, Callable[[], bytes]] = field(default_factory=dict)
    problem: Rejection | None = None
    findings: list[Finding] = field(default_factory=list)
    size: int = 0


def split_name(name: str, key_from: Literal["first_dot", "last_dot"]) -> tuple[str, str]:
    """(key, suffix in lower case) of a member; a name without a dot is all key.

    The suffix names a column or a file of the output, so bytes of it that are no UTF-8 are spelt out.
    """
    name = name.removeprefix("./")
    folder, slash, base = name.rpartition("/")
    stem, dot, suffix = base.partition(".") if key_from == "first_dot" else base.rpartition(".")
    return (f"{folder}{slash}{stem}", printable(suffix.lower())) if dot else (name, "")


class MemberWindow:
    """Collects members into samples, which come out in the order of their first members.

    A sample waits for more members until ``MAX_OPEN`` others have begun after it, or ``MAX_BYTES`` are waiting. The
    rule looks at names and sizes alone, so that the samples of a tar are always the same.

    Attributes:
        loose: findings that belong to no sample yet.
    """

    def __init__(self, key_from: Literal["first_dot", "last_dot"]) -> None:
        self.key_from: Literal["first_dot", "last_dot"] = key_from
        self._open: dict[str, Group] = {}
        self._left: dict[str, frozenset[str]] = {}
        self._suffixes: dict[frozenset[str], frozenset[str]] = {}
        self._begun = 0
        self.loose: list[Finding] = []
        self._last = ""
        self._size = 0

    def add(self, member: tarfile.TarInfo, reader: Callable[[int], Callable[[], bytes]]) -> Iterator[Group]:
        """Take one member in; samples that can wait no longer come out.

        Args:
            reader: from the number of the sample to what reads the member's bytes.
        """
        problem = _passed_over(member)
        if problem is not None:
            if not member.isdir():
                self.note(Finding("member", problem[0], problem[1], 1, (printable(member.name),)))
            return
        key, suffix = split_name(member.name, self.key_from)
        group = self._open.get(key)
        if group is not None and suffix in group.members:
            if key == self._last:
                group.problem = Rejection("read", "duplicate_member", f"two '{suffix}' members in one sample")
            else:
                yield from self._closed(key)
                group = None
        if group is None:
            group = self._begin(key, suffix)
        group.members[suffix] = reader(group.number)
        group.size += member.size
        self._size += member.size
        self._last = key
        while len(self._open) > MAX_OPEN or (self._size > MAX_BYTES and len(self._open) > 1):
            yield from self._closed(next(iter(self._open)))

    def end(self, problem: Rejection | None = None) -> Iterator[Group]:
        """The samples that still wait; ``problem`` goes to the one whose member came last."""
        if problem is not None and self._last in self._open:
            self._open[self._last].problem = problem
        if self._open and self.loose:
            next(reversed(self._open.values())).findings.extend(self.loose)
            self.loose = []
        while self._open:
            yield from self._closed(next(iter(self._open)))

    @property
    def waiting(self) -> bool:
        """Whether any sample waits."""
        return bool(self._open)

    def _begin(self, key: str, suffix: str) -> Group:
        group = Group(key, self._begun, findings=self.loose)
        self._begun += 1
        self.loose = []
        # A member that the sample had already makes it a duplicate, which has a reason of its own.
        if suffix not in self._left.get(key, {suffix}):
            group.problem = Rejection(
                "read",
                "members_apart",
                f"its member '{suffix}' comes too late, after the sample was read without it: members of a sample may "
                f"lie at most {MAX_OPEN} samples or {MAX_BYTES >> 20} MB apart; sort the tar by name",
            )
        self._open[key] = group
        return group

    def _closed(self, key: str) -> Iterator[Group]:
        """Everything up to ``key``, in order."""
        while key in self._open:
            first = next(iter(self._open))
            group = self._open.pop(first)
            self._size -= group.size
            # A tar has few sets of suffixes; each is kept once.
            suffixes = frozenset(group.members)
            self._left[first] = self._suffixes.setdefault(suffixes, suffixes)
            yield group

    def note(self, finding: Finding) -> None:
        """Keep a finding with the sample of the latest member, or the next one."""
        latest = self._open.get(self._last)
        (self.loose if latest is None else latest.findings).append(finding)


def _passed_over(member: tarfile.TarInfo) -> tuple[str, str] | None:
    """(group, reason) of a member that is no data."""
    system = system_file(member.name)
    if system is not None:
        return system, "left by macOS or Windows, not data"
    if member.issym() or member.islnk():
        return "link", "links inside a tar are not followed"
    return None if member.isfile() else ("special", "neither a file nor a folder")
