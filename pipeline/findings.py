"""What a dataset lost, or may have lost, on its way: counted where it happens, merged, and put into words once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from methods.counting import counted
from pipeline.paths import FINDINGS_FILE
from pipeline.storage import Store

"""What the listing of the source and its layout have to say; what shards have to say is in their index parts."""

EXAMPLES = 3
"""Names kept of each finding."""

FindingKind = Literal["file", "member", "column", "value", "depth", "labels"]

_NOUNS: dict[FindingKind, str] = {"depth": "picture", "labels": "label file"}
"""What one of a kind is, where the kind's name does not say it."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something of the source that did not come through, or that a user should look at.

    Attributes:
        kind: what it is about: files of a folder, members of a tar, columns, values, the depth of pixels, labels.
        name: which of them: an ending (``.heic``), a member or column name, a group.
        reason: why, and what helps, without a full stop; in words that are right for one and for many, because equal
            reasons are counted together.
        count: how many.
        examples: up to three names, the first that were met.
    """

    kind: FindingKind
    name: str
    reason: str
    count: int = 1
    examples: tuple[str, ...] = ()

    def text(self) -> str:
        """One line for a person."""
        shown = ", ".join(self.examples)
        more = ", ..." if self.examples and self.count > len(self.examples) else ""
        names = f" ({shown}{more})" if shown else ""
        if self.kind == "column":
            # one, however many files have it
            what = f"column '{self.name}'" + (f" of {counted(self.count, 'file')}" if self.count > 1 else "")
        else:
            what = f"{counted(self.count, _NOUNS.get(self.kind, self.kind))} '{self.name}'"
        return f"{what}{names}: {self.reason}"

    def as_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {**asdict(self), "examples": list(self.examples)}

    @classmethod
    def from_dict(cls, tree: Mapping[str, Any]) -> Finding:
        """The finding that :meth:`as_dict` described."""
        return cls(tree["kind"], tree["name"], tree["reason"], tree["count"], tuple(tree["examples"]))


def write_findings(store: Store, findings: Iterable[Finding]) -> None:
    """Record what is known of the source before any of it is read."""
    text = json.dumps([finding.as_dict() for finding in findings], indent=1, ensure_ascii=False)
    store.put(FINDINGS_FILE, text.encode())


def read_findings(store: Store) -> tuple[Finding, ...]:
    """What :func:`write_findings` recorded; empty for an output without."""
    return tuple(map(Finding.from_dict, json.loads(store.read_or_none(FINDINGS_FILE) or b"[]")))


def merge(*groups: Iterable[Finding]) -> tuple[Finding, ...]:
    """Equal findings as one, counts added, the first examples kept; sorted by kind, name and reason."""
    found: dict[tuple[str, str, str], Finding] = {}
    for group in groups:
        for each in group:
            at = (each.kind, each.name, each.reason)
            before = found.get(at)
            if before is None:
                found[at] = each if len(each.examples) <= EXAMPLES else _with(each, each.count, each.examples)
            else:
                fresh = (name for name in each.examples if name not in before.examples)
                found[at] = _with(before, before.count + each.count, (*before.examples, *fresh))
    return tuple(found[at] for at in sorted(found))


def _with(finding: Finding, count: int, examples: tuple[str, ...]) -> Finding:
    return Finding(finding.kind, finding.name, finding.reason, count, examples[:EXAMPLES])
