"""`sceneshift weights`: what a job needs, and fetching it before the job runs."""

from __future__ import annotations

from pathlib import Path

from jobs.console import DONE, Console
from methods.weights import fetch, identity, redacted
from pipeline.job import weight_uris
from pipeline.spec import JobSpec


def list_weights_command(console: Console, path: Path, overrides: list[str]) -> int:
    """Print the URIs of a job's weights; nothing is fetched."""
    uris = [redacted(uri) for uri in weight_uris(JobSpec.load(path, overrides))]
    console.result(uris)
    console.say("\n".join(uris) if uris else "This job's method needs no weights.")
    return DONE


def pull_weights_command(console: Console, path: Path, overrides: list[str]) -> int:
    """Fetch a job's weights into this machine's cache and print where they lie and what stands for their content."""
    found = []
    for uri in weight_uris(JobSpec.load(path, overrides)):
        console.progress(f"fetching {redacted(uri)}")
        place = fetch(uri)
        files = [place] if place.is_file() else [each for each in place.rglob("*") if each.is_file()]
        size = sum(each.stat().st_size for each in files)
        found.append({"uri": redacted(uri), "path": str(place), "bytes": size, "identity": identity(uri)})
    console.result(found)
    if not found:
        console.say("This job's method needs no weights.")
        return DONE
    columns = ("uri", "bytes", "identity", "path")
    console.table(columns, [[each[name] for name in columns] for each in found])
    return DONE
