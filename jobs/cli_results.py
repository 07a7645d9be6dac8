"""The commands about finished outputs beyond `status` and `verify`: `compare`, `refilter`, `reproduce`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from jobs.arguments import Json, Output, ended
from jobs.console import Console, run_safely
from jobs.verbosity import Commands


def compare(
    outputs: Annotated[list[str], typer.Argument(help="Two outputs or more; each is compared with the first.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The page to write, NAME.html.")] = Path("compare.html"),
    json: Json = False,
) -> None:
    """Compare outputs sample by sample: paired differences with intervals, win rates, pictures side by side."""
    from jobs.commands.compare import compare_command

    run_safely(Console(json), lambda console: compare_command(console, outputs, ended(out, ".html", ".htm")))


def refilter(
    output: Output,
    keep: Annotated[
        str | None, typer.Option(help="What is kept from now on, as in a job's keep: 'structure < 0.03'.")
    ] = None,
    undo: Annotated[bool, typer.Option("--undo", help="Take the filter back.")] = False,
    json: Json = False,
) -> None:
    """Filter an output again without translating it again; the data stays, and the filter can be taken back."""
    from jobs.commands.refilter import refilter_command

    run_safely(Console(json), lambda console: refilter_command(console, output, keep, undo=undo))


def reproduce(
    output: Output,
    key: Annotated[str, typer.Argument(help="The sample's key, as in the index.")],
    variant: Annotated[int, typer.Option(min=0, help="Which of its variants.")] = 0,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write the picture here, as the job stores it.")
    ] = None,
    whole_shard: Annotated[
        bool, typer.Option("--whole-shard", help="Translate all of its shard, in the same batches as the job.")
    ] = False,
    json: Json = False,
) -> None:
    """Translate one sample again from the index alone, and compare it with what is stored."""
    from jobs.commands.reproduce import reproduce_command

    run_safely(
        Console(json),
        lambda console: reproduce_command(console, output, key, variant, out, whole_shard=whole_shard),
    )


def add_result_commands(app: Commands) -> None:
    """Put the commands of this module into the command line."""
    for command in (compare, refilter, reproduce):
        app.command()(command)
