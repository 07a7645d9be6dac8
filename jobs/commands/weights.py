"""`sceneshift weights`: what a job, a method or a preset loads; fetched, mirrored and checked before anything runs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import methods
from jobs.console import DONE, FAILED, Console
from methods.errors import InputError
from methods.uris import resolved, resolved_uri
from methods.weights import cache, fetch, hub, identity, redacted
from methods.weights.address import Kind, kind_of
from methods.weights.cache import kept_sum
from methods.weights.entry import FileSum, WeightsEntry
from methods.weights.mirror import VARIABLE, Mirror
from pipeline.job import weight_uris
from pipeline.spec import JobSpec


@dataclass(frozen=True)
class _Held:
    """A URI and what this node has of it.

    Attributes:
        uri: fit to be shown.
        bytes: of all files; where nothing is here, of the mirror's, else ``None``.
        sha256: of a single file; ``None`` for folders and for what is not known.
        path: where it lies; ``None`` where it must be fetched.
        mirrored: whether ``$SCENESHIFT_MIRROR`` holds it; ``None`` without a mirror.
    """

    uri: str
    bytes: int | None
    sha256: str | None
    path: str | None
    mirrored: bool | None

    def __str__(self) -> str:
        parts = ["not here" if self.path is None else self.path]
        parts += [] if self.bytes is None else [f"{self.bytes:,} bytes"]
        parts += [] if self.sha256 is None else [f"sha256 {self.sha256}"]
        parts += [] if self.mirrored is None else ["on the mirror" if self.mirrored else "not on the mirror"]
        return "\n  ".join(parts)


def list_weights_command(console: Console, what: str, overrides: list[str]) -> int:
    """Print the URIs of what is loaded, with size, checksum and place of those that are here. Nothing is fetched."""
    mirror = Mirror.configured()
    found = [_held(uri, mirror) for uri in needed(what, overrides)]
    console.result([asdict(each) for each in found])
    if not found:
        console.say("No weights are needed.")
        return DONE
    for each in found:
        console.say(f"{each.uri}\n  {each}")
    return DONE


def pull_weights_command(console: Console, what: str, overrides: list[str]) -> int:
    """Fetch weights into this machine's cache and print where they lie and what stands for their content."""
    found = []
    for uri in needed(what, overrides):
        console.progress(f"fetching {redacted(uri)}")
        place = fetch(uri)
        found.append(
            {"uri": redacted(uri), "bytes": _summed(uri, place).size, "identity": identity(uri), "path": str(place)}
        )
    console.result(found)
    if not found:
        console.say("No weights are needed.")
        return DONE
    for each in found:
        console.say(f"{each['uri']}\n  {each['bytes']:,} bytes, {each['identity']}\n  {each['path']}")
    return DONE


def mirror_weights_command(console: Console, what: str, overrides: list[str], to: str | None) -> int:
    """Copy weights into a mirror; what it holds already is read and compared, and copied again if damaged."""
    mirror = _mirror(to)
    found = []
    for uri in needed(what, overrides):
        if kind_of(uri) not in (Kind.HUB, Kind.REMOTE):
            console.note(f"{uri} needs no mirror: it is used where it is")
            continue
        console.progress(f"mirroring {redacted(uri)}")
        place = _from_origin(uri)
        _require_as_fetched(uri, place)
        entry = _summed(uri, place)
        found.append({"uri": redacted(uri), "bytes": entry.size, "copied": mirror.renew(uri, entry, place)})
    console.result({"mirror": str(mirror), "weights": found})
    for each in found:
        console.say(f"{each['uri']}: {each['bytes']:,} bytes in {mirror}, {each['copied']:,} of them copied now")
    if found:
        console.say(f"Runs take them from there with {VARIABLE}={mirror}")
    return DONE


def verify_weights_command(console: Console, what: str, overrides: list[str]) -> int:
    """Read what this node and the mirror hold, and compare checksums; exit code 3 where something is damaged."""
    mirror = Mirror.configured()
    rows: list[dict[str, str]] = []
    for uri in needed(what, overrides):
        rows += [{"uri": redacted(uri), "where": where, "state": state} for where, state in _states(uri, mirror)]
    wrong = [row for row in rows if row["state"].startswith("damaged")]
    console.result({"weights": rows, "damaged": len(wrong)})
    for row in rows:
        console.say(f"{row['uri']}\n  {row['where']}: {row['state']}")
    if not rows:
        console.say("No weights are needed.")
    if wrong:
        console.problem(f"{len(wrong)} damaged: delete what lies there, then `sceneshift weights pull` or `mirror`")
    return FAILED if wrong else DONE


def needed(what: str, overrides: list[str]) -> list[str]:
    """URIs that a job file, a ``method`` or a ``method/preset`` loads; of a method, those of all its presets.

    Raises:
        InputError: no such file, method or preset; or a wrong one.
    """
    if Path(what).suffix in (".yaml", ".yml", ".json") or Path(what).is_file():
        return list(dict.fromkeys(weight_uris(JobSpec.load(Path(what), overrides))))
    if overrides:
        raise InputError(f"{what}: --set is for job files")
    name, slash, preset = what.partition("/")
    presets = [preset] if slash else list(methods.info(name).presets) or [None]
    found: dict[str, None] = {}
    for each in presets:
        info, params, weights = methods.resolve(name, each)
        weights = None if weights is None else resolved_uri(weights)
        found |= dict.fromkeys(info.weight_uris(resolved(params), weights))
    return list(found)


def _mirror(to: str | None) -> Mirror:
    mirror = Mirror.at(to) if to else Mirror.configured()
    if mirror is None:
        raise InputError(f"--to: name a folder or bucket, or set {VARIABLE}")
    return mirror


def _held(uri: str, mirror: Mirror | None) -> _Held:
    kind = kind_of(uri)
    here: Path | None = None
    if kind in (Kind.BUNDLED, Kind.PATH):
        here = fetch(uri)
    elif cached := cache.find(uri):
        here = cached.path
    elif kind == Kind.HUB:
        here = hub.find(uri)
    entry = mirror.entry(uri) if mirror is not None and kind in (Kind.HUB, Kind.REMOTE) else None
    known = entry if here is None else _summed(uri, here)
    single = known.files.get("") if known is not None else None
    return _Held(
        redacted(uri),
        None if known is None else known.size,
        None if single is None else single.sha256,
        None if here is None else str(here),
        None if mirror is None else entry is not None,
    )


def _from_origin(uri: str) -> Path:
    """The weights as their origin has them: a mirror is never filled from a mirror."""
    return hub.fetch(uri) if kind_of(uri) == Kind.HUB else cache.fetch(uri, None)


def _require_as_fetched(uri: str, place: Path) -> None:
    """Raise InputError where the node's copy is damaged: a mirror would hand it to every other node."""
    if kind_of(uri) == Kind.HUB:
        damaged = [each for each in _files_of(place) if hub.is_damaged(each)]
    else:
        cached = cache.recorded(uri)
        damaged = [] if cached is None else cached.damaged()
    if damaged:
        raise InputError(
            f"weights '{redacted(uri)}': this node's copy is damaged ({', '.join(map(str, damaged))}): delete it, "
            "then mirror again"
        )


def _files_of(place: Path) -> list[Path]:
    return [place] if place.is_file() else [each for each in sorted(place.rglob("*")) if each.is_file()]


def _summed(uri: str, place: Path) -> WeightsEntry:
    """Sizes and sums of a local file or folder, kept by the cache."""
    if place.is_file():
        files = {"": place}
    else:
        files = {each.relative_to(place).as_posix(): each for each in sorted(place.rglob("*")) if each.is_file()}
        if kind_of(uri) == Kind.HUB:
            files = {name: each for name, each in files.items() if hub.is_model_file(name)}
    sums = {name: FileSum(path.stat().st_size, kept_sum(path)) for name, path in files.items()}
    commit = hub.commit_of(place) if kind_of(uri) == Kind.HUB else None
    return WeightsEntry(redacted(uri), sums, commit)


def _states(uri: str, mirror: Mirror | None) -> Iterator[tuple[str, str]]:
    """(where, state) of every copy of a URI's weights."""
    kind = kind_of(uri)
    if kind in (Kind.BUNDLED, Kind.PATH):
        yield str(fetch(uri)), "in place, without a checksum to compare"
        return
    if cached := cache.recorded(uri):
        yield str(cached.path), _state(str(each) for each in cached.damaged())
    elif kind == Kind.HUB and (place := hub.find(uri)):
        yield str(place), _state(str(each) for each in _files_of(place) if hub.is_damaged(each))
    else:
        yield "this node", "not fetched"
    if mirror is not None:
        entry = mirror.entry(uri)
        yield str(mirror), "not mirrored" if entry is None else _state(mirror.damaged(entry))


def _state(damaged: Any) -> str:
    names = [each or "the file" for each in damaged]
    return f"damaged: {', '.join(names)}" if names else "as fetched"
