"""What the commands print: tables and sentences on a terminal, one JSON document with ``--json``."""

from __future__ import annotations

import contextlib
import json
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import typer

from jobs.interrupts import GO_ON, interruption, terminable
from jobs.library_warnings import logged_warnings
from jobs.verbosity import verbosity
from methods.errors import InputError, first_line

if TYPE_CHECKING:
    from jobs.parameters import Parameter

DONE, OVER_LIMIT, WRONG_INPUT, FAILED = 0, 1, 2, 3


class Console:
    """Standard output for results, standard error for progress and problems."""

    def __init__(self, as_json: bool) -> None:
        self.as_json = as_json
        self.quiet = as_json or verbosity().quiet
        """Whether progress and notes are left out."""
        self._results = sys.stdout

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
            print(json.dumps(tree, indent=1, default=str), file=self._results)

    def progress(self, text: str) -> None:
        """One line on standard error about what goes on; silent with ``--json`` and ``-q``."""
        if not self.quiet:
            self.problem(text)

    def note(self, text: str) -> None:
        """One line on standard error about what a user may want to know; silent with ``-q``."""
        if not verbosity().quiet:
            self.problem(f"note: {text}")

    def problem(self, text: str) -> None:
        """One line on standard error."""
        print(f"sceneshift: {text}", file=sys.stderr)


def run_safely(console: Console, command: Callable[[Console], int]) -> None:
    """Run a command; user errors become one line and exit code 2, all others one line and exit code 3.

    With ``--debug`` the traceback comes before the line. With ``--json`` what libraries print on standard output, as
    Ray does about nodes that it lost, goes to standard error: a machine reads one document.
    """
    elsewhere = contextlib.redirect_stdout(sys.stderr) if console.as_json else contextlib.nullcontext()
    try:
        with terminable(), logged_warnings(), elsewhere:
            code = command(console)
    except typer.Exit:
        raise
    except (KeyboardInterrupt, SystemExit) as error:
        stopped = interruption(error)
        if stopped is None:
            raise
        console.problem(f"stopped by {stopped[0]}{''.join(f': {note}' for note in notes_of(error))}; {GO_ON}")
        raise typer.Exit(stopped[1]) from None
    except Exception as error:
        # Named rather than imported: pipeline.errors stays out of `--help`.
        known = type(error).__name__ == "JobFailed" or isinstance(error, InputError)
        code = WRONG_INPUT if isinstance(error, InputError) else FAILED
        from pipeline.storage import redact

        if verbosity().debug:
            print(redact("".join(traceback.format_exception(error))), end="", file=sys.stderr)
        text = redact(str(error) if known else _unexpected(error))
        console.problem(text)
        console.result({"error": text, "exit_code": code})
        raise typer.Exit(code) from None
    if code:
        raise typer.Exit(code)


def notes_of(error: BaseException) -> list[str]:
    """What was added to an exception on its way."""
    return list(getattr(error, "__notes__", []))


def _unexpected(error: Exception) -> str:
    """A bug of ours or of a plug-in, as one line."""
    from pipeline.logs.faults import place_of

    said = f"{type(error).__name__}: {first_line(error)} (raised at {place_of(error)}"
    return f"{said})" if verbosity().debug else f"{said}; --debug shows the traceback)"
