"""What every source format has in common: the contract, the assembly of samples, and the cut into shards."""

from __future__ import annotations

import logging
import posixpath
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from methods.errors import BadSample, InputError, first_line
from pipeline.logs.faults import log_fault, rejected
from pipeline.records import Rejection, Sample, Shard, SourceFile
from pipeline.sources.layout import Kind, Layout
from pipeline.storage import Unreachable
from pipeline.uris import printable, redact

MAX_KEY = 512
TRUNCATED = "truncated_archive"
"""The reason of a sample that an archive breaks off in, or without the end that every archive has."""


class Source(Protocol):
    """One format. ``plan`` lists without opening images; ``read`` streams a file once."""

    def plan(self) -> list[SourceFile]:
        """Every source file, sorted by relative name. Raises InputError when there is none."""
        ...

    def peek(self, file: SourceFile) -> Mapping[str, Kind]:
        """Names and kinds of the members or columns near the start of the file."""
        ...

    def read(self, file: SourceFile, layout: Layout, shard_size: int, done: Collection[int]) -> Iterator[Shard]:
        """The file's shards in order, without the parts in ``done``.

        A file that cannot be read to its end yields a sample with a ``problem`` where it breaks off.
        """
        ...

    def count(self, file: SourceFile) -> int | None:
        """Number of samples, if that is cheap to learn (a footer, a header scan), else ``None``."""
        ...


@dataclass(frozen=True)
class Pending:
    """A sample whose bytes have not been fetched: its key, and how to get it when its shard is wanted.

    ``damaged`` marks one that stands for the rest of a file which cannot be read.
    """

    key: str
    fetch: Any
    problem: Rejection | None = None
    damaged: bool = False


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


def assemble(key: str, uri: str, values: Mapping[str, Any], layout: Layout) -> tuple[Sample, tuple[str, ...]]:
    """One sample from its members or columns, and the names of those that no part was planned for."""
    image = _bytes(values.get(layout.image))
    if not isinstance(image, bytes):
        have = ", ".join(sorted(name for name, value in values.items() if value is not None)) or "nothing"
        problem = Rejection("read", "no_image", f"no '{layout.image}' in this sample; it has {have}")
        return Sample(key=key, source_uri=uri, problem=problem), ()
    target = _bytes(values.get(layout.target)) if layout.target else None
    parts = {layout.image, layout.target, layout.caption, layout.labels, *layout.masks}
    return (
        Sample(
            key=key,
            source_uri=uri,
            image=image,
            target=target if isinstance(target, bytes) else None,
            caption=_text(values.get(layout.caption)) if layout.caption else None,
            labels_raw=_text(values.get(layout.labels)) if layout.labels else None,
            masks={name: mask for name in layout.masks if isinstance(mask := _bytes(values.get(name)), bytes)},
            passthrough={name: _typed(values.get(name), kind) for name, kind in layout.carry.items()},
        ),
        tuple(sorted(name for name in values if name not in parts and name not in layout.carry)),
    )


def _bytes(value: Any) -> Any:
    # Hugging Face stores an image as {"bytes": ..., "path": ...}.
    return value.get("bytes") if isinstance(value, dict) else value


def _text(value: Any) -> str | None:
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace").rstrip("\n")
    return None if value is None else str(value)


def _typed(value: Any, kind: Kind) -> Any:
    if value is None:
        return None
    if kind == "string":
        return _text(value)
    if kind == "binary":
        return _bytes(value) if isinstance(_bytes(value), bytes) else str(value).encode()
    try:
        return {"int64": int, "double": float, "bool": bool}[kind](value)
    except (TypeError, ValueError):
        return None


def cut_shards(
    file: SourceFile, pending: Iterable[Pending], shard_size: int, done: Collection[int], limit: int | None
) -> Iterator[Shard]:
    """Cut a stream of samples into shards, fetching only those of parts not in ``done``.

    A key that was seen before in the file becomes a rejected sample; so does one that is unsafe. This is the border of
    the stage ``read``: whatever a format raises on one sample makes that sample a rejected one, whatever it raises on
    the file one rejected sample for the rest of the file. Only a store that does not answer (``Unreachable``) is no
    matter of the content and passes through.
    """
    seen: set[str] = set()
    part, samples, undeclared, damaged = 0, [], set(), False
    size = 0
    stream = _to_the_end(file, pending)
    following = next(stream, None)
    taken = 0
    if following is None and 0 not in done:
        # An empty file is complete once it has a part that says so.
        yield Shard(file.shard_id(0), file.relative, 0, (), last=True)
    while following is not None:
        current = following
        taken += 1
        wanted = part not in done
        problem = current.problem or key_problem(current.key)
        if problem is None and current.key in seen:
            problem = Rejection("read", "duplicate_key", "an earlier sample of this source file has the same key")
        seen.add(current.key)
        if wanted:
            if problem is not None:
                samples.append(Sample(key=_printable(current.key), source_uri=file.uri, problem=problem))
            else:
                sample, extra = _fetched(file, current)
                samples.append(sample)
                undeclared.update(extra)
            problem = samples[-1].problem
            damaged = damaged or current.damaged or (problem is not None and problem.error == TRUNCATED)
        # Only now: the stream may close its file when it ends.
        following = None if limit is not None and taken >= limit else next(stream, None)
        size += 1
        if size == shard_size or following is None:
            if wanted:
                last = following is None
                yield Shard(
                    id=file.shard_id(part),
                    source=file.relative,
                    part=part,
                    samples=tuple(samples),
                    last=last,
                    undeclared=tuple(sorted(undeclared)[:20]),
                    damaged=damaged,
                )
            part, size, samples, undeclared, damaged = part + 1, 0, [], set(), False


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


def _fetched(file: SourceFile, pending: Pending) -> tuple[Sample, tuple[str, ...]]:
    """The sample, or a rejected one that says why there is none."""
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


def without_fetch(sample: Sample) -> Pending:
    """A pending sample whose bytes are already here."""
    return Pending(sample.key, lambda: (sample, ()), sample.problem)


def shard_of(file: SourceFile, part: int, samples: Iterable[Sample], last: bool) -> Shard:
    """A shard built by hand, for tests and for re-running parts of one."""
    return Shard(file.shard_id(part), file.relative, part, tuple(samples), last)


def only(shard: Shard, indices: Collection[int]) -> Shard:
    """The same shard with only some of its samples; never committed, used to find what kills a process."""
    return replace(shard, samples=tuple(s for i, s in enumerate(shard.samples) if i in indices))
