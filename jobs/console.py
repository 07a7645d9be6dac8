"""What the commands print: tables and sentences on a terminal, one JSON document with ``--json``."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import typer

from methods.errors import InputError

if TYPE_CHECKING:
    from jobs.parameters import Parameter

DONE, OVER_LIMIT, WRONG_INPUT, FAILED = 0, 1, 2, 3


class Console:
    """Standard output for results, standard error for progress and problems."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json

    def say(self, text: str = "") -> None:
        """A sentence for a person; silent with ``--json``."""
        if not self.as_json:
            from rich.console import Console as Rich

            # Paths and commands must stay in one piece to be copied.
            Rich().print(text, soft_wrap=True, highlight=False)

    def table(self, columns: Sequence[str], rows: Sequence[Sequence[Any]], title: str | None = None) -> None:
        """A table for a person; silent with ``--json``."""
        if self.as_json:
            return
        from rich import box
        from rich.console import Console as Rich
        from rich.markup import escape
        from rich.table import Table

        table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left")
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*[escape(str(cell)) for cell in row])
        Rich().print(table)

    def parameters(self, found: Sequence[Parameter]) -> None:
        """The parameters of a method or an objective: name, type and default on one line, the meaning below."""
        import shutil
        import textwrap

        from rich.markup import escape

        width = min(shutil.get_terminal_size((80, 24)).columns, 100)
        for each in found:
            default = "required" if each.default is None else f"default {each.default}"
            self.say(f"[bold]{escape(each.name)}[/bold]  {escape(each.type)}, {escape(default)}")
            for line in textwrap.wrap(each.meaning, width - 4):
                self.say(f"    {escape(line)}")

    def result(self, tree: Any) -> None:
        """The document of ``--json``; silent otherwise."""
        if self.as_json:
            print(json.dumps(tree, indent=1, default=str))

    def problem(self, text: str) -> None:
        """One line on standard error."""
        print(f"sceneshift: {text}", file=sys.stderr)


def run_safely(console: Console, command: Callable[[Console], int]) -> None:
    """Run a command; user errors become one line and exit code 2, machinery errors one line and exit code 3."""
    try:
        code = command(console)
    except InputError as error:
        console.problem(str(error))
        console.result({"error": str(error), "exit_code": WRONG_INPUT})
        raise typer.Exit(WRONG_INPUT) from None
    except Exception as error:
        # Named rather than imported: pipeline.run.driver would bring pyarrow into `--help`.
        if type(error).__name__ != "JobFailed":
            raise
        console.problem(str(error))
        console.result({"error": str(error), "exit_code": FAILED})
        raise typer.Exit(FAILED) from None
    if code:
        raise typer.Exit(code)
