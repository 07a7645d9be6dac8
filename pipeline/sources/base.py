"""What every source format has in common: the contract, the assembly of samples, and the cut into shards."""

from __future__ import annotations

import posixpath
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

from pipeline.records import Rejection, Sample, Shard, SourceFile
from pipeline.sources.layout import Kind, Layout

MAX_KEY = 512


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
    """A sample whose bytes have not been fetched: its key, and how to get it when its shard is wanted."""

    key: str
    fetch: Any
    problem: Rejection | None = None


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

    A key that was seen before in the file becomes a rejected sample; so does one that is unsafe.
    """
    seen: set[str] = set()
    part, samples, undeclared = 0, [], set()
    size = 0
    stream = iter(pending)
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
                sample, extra = current.fetch()
                samples.append(sample)
                undeclared.update(extra)
        # Only now: the stream may close its file when it ends.
        following = None if limit is not None and taken >= limit else next(stream, None)
        size += 1
        if size == shard_size or following is None:
            if wanted:
                last = following is None
                yield Shard(
                    file.shard_id(part), file.relative, part, tuple(samples), last, tuple(sorted(undeclared)[:20])
                )
            part, size, samples, undeclared = part + 1, 0, [], set()


def _printable(key: str) -> str:
    clean = "".join(c if c.isprintable() else "�" for c in key.encode("utf-8", "replace").decode("utf-8"))
    return clean[:MAX_KEY] or "(empty)"


def broken_file(file: SourceFile, error: str, message: str) -> Pending:
    """The pending sample that stands for a source file that cannot be read (on)."""
    return Pending(f"{posixpath.basename(file.relative)}#end", None, Rejection("read", error, message))


def without_fetch(sample: Sample) -> Pending:
    """A pending sample whose bytes are already here."""
    return Pending(sample.key, lambda: (sample, ()), sample.problem)


def shard_of(file: SourceFile, part: int, samples: Iterable[Sample], last: bool) -> Shard:
    """A shard built by hand, for tests and for re-running parts of one."""
    return Shard(file.shard_id(part), file.relative, part, tuple(samples), last)


def only(shard: Shard, indices: Collection[int]) -> Shard:
    """The same shard with only some of its samples; never committed, used to find what kills a process."""
    return replace(shard, samples=tuple(s for i, s in enumerate(shard.samples) if i in indices))
