"""`sceneshift push`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from jobs.commands.output import open_output
from jobs.console import DONE, Console
from jobs.progress import counting
from methods.counting import counted
from pipeline.output.export.folder import MANIFEST
from pipeline.output.push import push, repository_of
from pipeline.storage import Store, absolute


def push_command(console: Console, output: str, target: str, *, private: bool) -> int:
    """Upload an output or an exported folder."""
    repository_of(target)
    folder = Path(output)
    store = Store(absolute(output)) if (folder / MANIFEST).is_file() else open_output(output)[0]
    with counting("files", quiet=console.quiet) as watch:
        summary = push(store, target, private=private, watch=watch)
    console.result(asdict(summary))
    already = f", {summary.already:,} there already" if summary.already else ""
    console.say(f"Uploaded {counted(summary.files, 'file')} ({summary.bytes / 1e6:.1f} MB) to {summary.url}{already}")
    return DONE
