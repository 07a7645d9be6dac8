"""What every source format has in common: the contract, the assembly of samples, and the cut into shards."""

from __future__ import annotations

import logging
import posixpath
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Protocol

import pyarrow as pa

from methods.errors import BadSample, InputError, first_line
from pipeline.findings import Finding, merge
from pipeline.labels.fields import listed
from pipeline.logs.faults import log_fault, rejected
from pipeline.records import Kind, Rejection, Sample, Shard, SourceFile
from pipeline.sources.ahead import fetched_ahead
from pipeline.sources.columns import type_of
from pipeline.sources.endings import IMAGE_SUFFIXES
from pipeline.sources.layout import MOST_NAMES, Layout, Peeked
from pipeline.sources.listing import Survey
from pipeline.sources.pending import Fetched, Pending
from pipeline.storage import Unreachable
from pipeline.uris import printable, redact

MAX_KEY = 512
_BUDGET = 512 << 20
TRUNCATED = "truncated_archive"
"""The reason of a sample that an archive breaks off in, or without the end that every archive has."""


Wanted = Callable[[int], bool]
"""From the number of a part of a source file to whether its shard is to be read."""


def every_part(part: int) -> bool:
    """What wants all of a source file."""
    return True


class Source(Protocol):
    """One format. ``survey`` lists without opening images; ``read`` streams a file once."""

    def survey(self) -> Survey:
        """Every source file, sorted by relative name, and what beside them is not read.

        Raises InputError when there is no file.
        """
        ...

    def plan(self) -> list[SourceFile]:
        """The files of the survey."""
        ...

    def peek(self, file: SourceFile) -> Peeked:
        """What there is near the start of the file: members or columns, and which of them hold labels."""
        ...

    def read(self, file: SourceFile, layout: Layout, shard_size: int, wanted: Wanted = every_part) -> Iterator[Shard]:
        """The file's shards in order, those whose part is ``wanted``; what lies in the others is passed over.

        A file that cannot be read to its end yields a sample with a ``problem`` where it breaks off.
        """
        ...

    def count(self, file: SourceFile) -> int | None:
        """Number of samples, if that is cheap to learn (a footer, a header scan), else ``None``."""
        ...


def key_problem(key: str) -> Rejection | None:
    """Why a key cannot be used in names and indexes, or ``None``. Slashes are fine; climbing out is not."""
    if not key or key in (".", ".."):
        return Rejection("read", "bad_key", "the key is empty")
    if len(key) > MAX_KEY:
        return Rejection("read", "bad_key", f"the key is {len(key)} characters long, more than {MAX_KEY}")
    if any(ord(c) < 32 or ord(c) == 127 for c in key) or not _encodable(key):
        return Rejection("read", "bad_key", "the key has control characters or is not valid text")
    if key.startswith("/") or "\\" in key or ".." in key.split("/"):
        return Rejection("read", "bad_key", "the key would leave its folder (absolute path, backslash or '..')")
    return None


def _encodable(text: str) -> bool:
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def assemble(
    key: str, uri: str, values: Mapping[str, Any], layout: Layout, doubtful: Mapping[str, Kind] | None = None
) -> Fetched:
    """One sample from its members or columns; names that no part was planned for are reported.

    Args:
        doubtful: the passed-through names whose values may not be of their kind; none given, all of them.
    """
    picture = layout.image if values.get(layout.image) is not None else _other_picture(values, layout)
    image = _bytes(values.get(picture))
    if not isinstance(image, bytes):
        have = listed(sorted(name for name, value in values.items() if value is not None), MOST_NAMES)
        said = f"no '{layout.image}' in this sample; it has {have}"
        cell = values.get(picture)
        if isinstance(cell, dict) and cell.get("path"):
            said = (
                f"'{layout.image}' only names a file ({str(cell['path'])[:200]}) and holds no bytes: embed the pictures"
            )
        problem = Rejection("read", "no_image", said)
        return Sample(key=key, source_uri=uri, problem=problem), ()
    target = _bytes(values.get(layout.target)) if layout.target else None
    findings: list[Finding] = []

    def text(name: str | None) -> str | None:
        try:
            return _text(values.get(name)) if name else None
        except UnicodeDecodeError:
            findings.append(Finding("value", str(name), "not UTF-8 text; left empty", 1, (key,)))
            return None

    passthrough: dict[str, Any] = {}
    doubtful = layout.carry if doubtful is None else doubtful
    for name, kind in layout.carry.items():
        try:
            value = values.get(name)
            passthrough[name] = typed(value, kind) if name in doubtful or kind == "binary" else value
        except ValueError as error:
            passthrough[name] = None
            findings.append(Finding("value", name, f"{error}; left empty", 1, (key,)))
    parts = {picture, layout.target, layout.caption, layout.labels, layout.labels_source, *layout.masks}
    for name in values:
        if name not in parts and name not in layout.carry and name not in layout.left_out:
            reason = "not in the first source file; name it under source.carry to keep it"
            findings.append(Finding("member", name, reason, 1, (key,)))
    sample = Sample(
        key=key,
        source_uri=uri,
        image=image,
        target=target if isinstance(target, bytes) else None,
        caption=text(layout.caption),
        labels_raw=text(layout.labels),
        masks={name: mask for name in layout.masks if isinstance(mask := _bytes(values.get(name)), bytes)},
        passthrough=passthrough,
    )
    return sample, tuple(findings)


def _other_picture(values: Mapping[str, Any], layout: Layout) -> str:
    """The picture of a sample that has it under another of the usual endings than the first samples."""
    if not layout.any_image:
        return layout.image
    taken = {layout.target, *layout.masks, *layout.carry}
    return next((name for name in IMAGE_SUFFIXES if name in values and name not in taken), layout.image)


def _bytes(value: Any) -> Any:
    # Hugging Face stores an image as {"bytes": ..., "path": ...}.
    return value.get("bytes") if isinstance(value, dict) else value


def _text(value: Any) -> str | None:
    """A member or cell as text; of a list of captions the first. Raises UnicodeDecodeError for other bytes."""
    if isinstance(value, list):
        value = next((each for each in value if each), None)
    if isinstance(value, bytes):
        # What editors add: a mark at the beginning, line ends.
        return value.decode("utf-8-sig").rstrip("\r\n")
    return None if value is None else str(value)


_PLAIN: dict[Kind, type] = {"string": str, "text": str, "bool": bool, "double": float, "binary": bytes}


def typed(value: Any, kind: Kind) -> Any:
    """A member or cell as the Python value of its kind. Raises ValueError for one that does not fit."""
    value = _bytes(value) if kind == "binary" else value
    if value is None or value.__class__ is _PLAIN.get(kind):
        return value
    if kind == "binary":
        return str(value).encode()
    if kind in ("string", "text"):
        try:
            return value.decode() if isinstance(value, bytes) else str(value)
        except UnicodeDecodeError:
            raise ValueError("not UTF-8 text") from None
    type = type_of(kind)
    try:
        found = pa.scalar(value, type.value_type if pa.types.is_dictionary(type) else type).as_py()
        if _same(value, found):
            return found
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        pass
    raise ValueError(f"no {kind}, as the first source file has it ({str(value)[:40]})")


def _same(value: Any, found: Any) -> bool:
    """Whether Arrow, which cuts 1.5 off to 1 and drops fields and time zones, has kept all of a value."""
    if isinstance(value, dict) and isinstance(found, dict):
        return all(each is None or _same(each, found.get(name)) for name, each in value.items())
    if isinstance(value, list | tuple) and isinstance(found, list | tuple):
        return len(value) == len(found) and all(map(_same, value, found))
    # Fewer digits are what a type of fewer bits means.
    return isinstance(found, float) or bool(value == found)


def cut_shards(
    file: SourceFile,
    pending: Iterable[Pending],
    shard_size: int,
    wanted: Wanted,
    limit: int | None,
    hint: str = "",
    budget: int | None = None,
) -> Iterator[Shard]:
    """Cut a stream of samples into shards, fetching only those of parts that are ``wanted``.

    A key that was seen before in the file becomes a rejected sample; so does one that is unsafe. ``hint`` is added to
    what is said of the former. This is the border of the stage ``read``: whatever a format raises on one sample makes
    that sample a rejected one, whatever it raises on the file one rejected sample for the rest of the file. Only a
    store that does not answer (``Unreachable``) is no matter of the content and passes through. Samples that come from
    a store are asked for ahead of their turn. Samples that would make a shard hold more than ``budget`` bytes are
    rejected.
    """
    seen: set[str] = set()
    part = size = taken = held = 0
    samples: list[Sample] = []
    findings: list[Finding] = []
    damaged = False
    stream = _to_the_end(file, fetched_ahead(pending, lambda number: wanted(number // shard_size), limit))
    following = next(stream, None)
    if following is None and wanted(0):
        # An empty file is complete once it has a part that says so.
        yield Shard(file.shard_id(0), file.relative, 0, (), last=True)
    while following is not None:
        current = following
        taken += 1
        take = wanted(part)
        problem = current.problem or key_problem(current.key)
        if problem is None and current.key in seen:
            problem = Rejection(
                "read", "duplicate_key", f"an earlier sample of this source file has the same key{hint}"
            )
        seen.add(current.key)
        if take:
            findings += current.findings
            if problem is not None or current.fetch is None:
                samples.append(Sample(key=_printable(current.key), source_uri=file.uri, problem=problem))
            else:
                sample, more = _fetched(file, current)
                held += _weight(sample)
                if budget is not None and held > budget:
                    said = (
                        f"the samples of this shard unpack to over {budget >> 20} MiB, of a file of {file.size} bytes"
                    )
                    sample = Sample(sample.key, file.uri, problem=Rejection("read", "too_large", said))
                samples.append(sample)
                findings += more
            problem = samples[-1].problem
            damaged = damaged or current.damaged or (problem is not None and problem.error == TRUNCATED)
        # Only now: the stream may close its file when it ends.
        following = None if limit is not None and taken >= limit else next(stream, None)
        size += 1
        if size == shard_size or following is None:
            if take:
                yield Shard(
                    id=file.shard_id(part),
                    source=file.relative,
                    part=part,
                    samples=tuple(samples),
                    last=following is None,
                    findings=merge(findings),
                    damaged=damaged,
                )
            part, size, samples, findings, damaged, held = part + 1, 0, [], [], False, 0


def budget_of(file: SourceFile) -> int:
    """Bytes that a shard of an archive may hold: more than pictures, which are packed already, ever unpack to."""
    return max(_BUDGET, 4 * file.size)


def _weight(sample: Sample) -> int:
    values = (sample.image, sample.target, *sample.masks.values(), *sample.passthrough.values())
    return sum(len(value) for value in values if isinstance(value, bytes | str))


def _to_the_end(file: SourceFile, pending: Iterable[Pending]) -> Iterator[Pending]:
    """The stream, ended by a rejected sample where it breaks off."""
    try:
        yield from pending
    except Unreachable:
        raise
    except Exception as error:
        reason = "unreadable" if isinstance(error, InputError) else "damaged_file"
        log_fault(logging.INFO, f"{file.relative} breaks off: {_said(error)}", "read", reason, error)
        if isinstance(error, InputError):
            yield broken_file(file, reason, str(error))
        else:
            yield broken_file(file, reason, f"cannot be read any further ({_said(error)})")


def _fetched(file: SourceFile, pending: Pending) -> Fetched:
    """The sample, or a rejected one that says why there is none."""
    assert pending.fetch is not None
    try:
        return pending.fetch()
    except Unreachable:
        raise
    except BadSample as error:
        problem = rejected("read", error, key=_printable(pending.key))
    except Exception as error:
        message = f"cannot be read ({_said(error)})"
        problem = rejected("read", error, key=_printable(pending.key), reason="unreadable", message=message)
    return Sample(key=_printable(pending.key), source_uri=file.uri, problem=problem), ()


def _said(error: Exception) -> str:
    return printable(redact(f"{type(error).__name__}: {first_line(error)}"))


def _printable(key: str) -> str:
    clean = "".join(c if c.isprintable() else "�" for c in key.encode("utf-8", "replace").decode("utf-8"))
    return clean[:MAX_KEY] or "(empty)"


def broken_file(file: SourceFile, error: str, message: str) -> Pending:
    """The pending sample that stands for a source file that cannot be read (on)."""
    return Pending(f"{posixpath.basename(file.relative)}#end", None, Rejection("read", error, message), damaged=True)


def only(shard: Shard, indices: Collection[int]) -> Shard:
    """The same shard with only some of its samples; never committed, used to find what kills a process."""
    return replace(shard, samples=tuple(s for i, s in enumerate(shard.samples) if i in indices))
