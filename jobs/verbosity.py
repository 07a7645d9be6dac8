"""How much a command says: `-v`, `-q`, `--log-level`, `--log-format` and `--debug`, the same on every command."""

from __future__ import annotations

import contextvars
import functools
import inspect
import logging
import sys
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from pipeline.logs.run import LogOptions

_PANEL = "Logging"


class LogLevel(StrEnum):
    """Names of the logging module's levels."""

    debug = "debug"
    info = "info"
    warning = "warning"
    error = "error"


class LogFormat(StrEnum):
    """How a log line is written."""

    text = "text"
    json = "json"


@dataclass(frozen=True)
class Verbosity:
    """What the options of a command ask for.

    Attributes:
        level: of log lines on standard error.
        format: of log lines, there and in the log files of a run.
        quiet: no progress and no notes, only problems and results.
        debug: show the traceback of what ends the command.
    """

    level: int = logging.WARNING
    format: Literal["text", "json"] = "text"
    quiet: bool = False
    debug: bool = False

    @classmethod
    def of(cls, verbose: int, quiet: bool, log_level: LogLevel | None, log_format: LogFormat, debug: bool) -> Verbosity:
        """From the options; ``--log-level`` goes before ``-v``, which goes before ``-q``."""
        level = logging.ERROR if quiet else logging.WARNING
        if verbose:
            level = logging.INFO if verbose == 1 else logging.DEBUG
        if log_level is not None:
            level = getattr(logging, log_level.upper())
        return cls(level, "json" if log_format is LogFormat.json else "text", quiet, debug)

    @property
    def log_files(self) -> LogOptions:
        """For the log files of a run: INFO at least, whatever the terminal shows."""
        from pipeline.logs.run import LogOptions

        return LogOptions(min(self.level, logging.INFO), self.format)


_chosen: contextvars.ContextVar[Verbosity] = contextvars.ContextVar("sceneshift_verbosity")


def verbosity() -> Verbosity:
    """What was asked of the command that runs."""
    return _chosen.get(Verbosity())


class Commands(typer.Typer):
    """A Typer app each of whose commands has the options of this module, beside its own."""

    def command(self, name: str | None = None, **options: Any) -> Callable[[Any], Any]:  # type: ignore[override]
        """As :meth:`typer.Typer.command`."""
        register = super().command(name, **options)

        def decorate(function: Callable[..., Any]) -> Callable[..., Any]:
            register(_with_verbosity(function))
            return function

        return decorate


def _options(
    verbose: Annotated[
        int, typer.Option("--verbose", "-v", count=True, help="Say more: -v info, -vv debug.", rich_help_panel=_PANEL)
    ] = 0,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Only problems and results.", rich_help_panel=_PANEL)
    ] = False,
    log_level: Annotated[
        LogLevel | None,
        typer.Option("--log-level", help="Least level of log lines.", rich_help_panel=_PANEL),
    ] = None,
    log_format: Annotated[
        LogFormat,
        typer.Option("--log-format", help="Log lines as text or json, also in files.", rich_help_panel=_PANEL),
    ] = LogFormat.text,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error.", rich_help_panel=_PANEL)
    ] = False,
) -> Verbosity:
    return Verbosity.of(verbose, quiet, log_level, log_format, debug)


def _with_verbosity(function: Callable[..., Any]) -> Callable[..., Any]:
    """The command with the options added to its signature, which is what Typer reads."""
    own = inspect.signature(function, eval_str=True)
    added = inspect.signature(_options, eval_str=True).parameters

    @functools.wraps(function)
    def command(**arguments: Any) -> Any:
        asked = _options(**{name: arguments.pop(name) for name in added})
        _chosen.set(asked)
        _log_to_terminal(asked)
        return function(**arguments)

    command.__signature__ = own.replace(parameters=[*own.parameters.values(), *added.values()])  # type: ignore[attr-defined]
    command.__annotations__ = {name: each.annotation for name, each in {**own.parameters, **added}.items()}
    return command


class _Terminal(logging.Handler):
    """Log lines on standard error; the parts that cost time to import are imported with the first line."""

    def __init__(self, asked: Verbosity) -> None:
        super().__init__(asked.level)
        self.asked = asked
        self._prepared = False

    def handle(self, record: logging.LogRecord) -> bool | logging.LogRecord:
        if not self._prepared:
            from pipeline.logs.handler import FirstOfEachFault

            self.addFilter(FirstOfEachFault(everything=self.level <= logging.DEBUG))
            self._prepared = True
        return super().handle(record)

    def emit(self, record: logging.LogRecord) -> None:
        from pipeline.logs.lines import line_of, write_line

        try:
            # sys.stderr is looked up each time: it is exchanged while Ray starts
            sys.stderr.write(write_line(line_of(record), self.asked.format))
            sys.stderr.flush()
        except Exception:
            self.handleError(record)


def _log_to_terminal(asked: Verbosity) -> None:
    logger = logging.getLogger("sceneshift")
    for handler in [each for each in logger.handlers if isinstance(each, _Terminal)]:
        logger.removeHandler(handler)
    logger.addHandler(_Terminal(asked))
    logger.setLevel(asked.level)
