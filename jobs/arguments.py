"""Arguments and options that several commands have."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

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


def window_override(since: str | None) -> list[str]:
    """The override of the job that ``--since`` means."""
    return [] if since is None else [f"source.modified_after={since!r}"]
