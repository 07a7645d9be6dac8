"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from methods.errors import InputError

Spec = Annotated[Path, typer.Argument(help="The job file (YAML).", show_default=False)]
Specs = Annotated[
    list[Path], typer.Argument(help="Job files (YAML); of several each has a column.", show_default=False)
]
Output = Annotated[str, typer.Argument(help="An output folder or URI, or the job file that wrote it.")]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the job, such as method.params.caption=snow."),
]
Since = Annotated[
    str | None,
    typer.Option(help="Only files changed since: 36h, 2d, 1w ago, or a date; overrides source.modified_after."),
]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on standard output, for machines.")]


def ended(path: Path, *endings: str) -> Path:
    """A file to write, with the first of these endings behind its name unless it has one of them, in any case.

    ``new/page`` is ``new/page.html``, and so that a version is no ending, ``night-v1.2`` is ``night-v1.2.html``.

    Raises:
        InputError: it is a folder.
    """
    if path.is_dir():
        raise InputError(f"--out {path}: is a folder; name a file in it")
    return path if path.suffix.lower() in endings else path.with_name(f"{path.name}{endings[0]}")


def window_override(since: str | None) -> list[str]:
    """The override of the job that ``--since`` means."""
    return [] if since is None else [f"source.modified_after={since!r}"]
