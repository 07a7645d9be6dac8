"""`sceneshift logs`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

from jobs.commands.output import open_output
from jobs.console import DONE, Console
from jobs.submission import Head
from methods.counting import counted
from methods.errors import InputError
from pipeline.logs.run import DRIVER
from pipeline.paths import LOGS
from pipeline.run.lock import holder, is_stale
from pipeline.run.parts import at_work
from pipeline.storage import Store, redact

_LOOK_EVERY_SECONDS = 2.0


def logs_command(console: Console, what: str, address: str, *, follow: bool, workers: bool) -> int:
    """Print the log of a submission, or of the newest run of an output, which needs no cluster."""
    if follow and console.as_json:
        raise InputError("--follow: a log that grows is no JSON document; leave out --json")
    if _is_output(what):
        _from_output(console, what, follow=follow, workers=workers)
        return DONE
    head = Head(address)
    id_ = head.find(what)
    if follow:
        head.follow(id_, _write)
    elif console.as_json:
        console.result({"id": id_, "log": head.log(id_)})
    else:
        _write(head.log(id_))
    return DONE


def _is_output(what: str) -> bool:
    return "/" in what or what.endswith((".yaml", ".yml")) or Path(what).is_dir()


def _from_output(console: Console, output: str, *, follow: bool, workers: bool) -> None:
    store, _ = open_output(output)
    run = _newest_run(store)
    if run is None:
        raise InputError(f"{redact(store.uri())}: no run has left a log here ({LOGS} is empty)")
    folder = f"{LOGS}/{run}"
    names = [entry.path for entry in store.list(folder)]
    if console.as_json:
        console.result({"run": run, "logs": {name.rpartition("/")[2]: _text(store, name) for name in names}})
        return
    driver = f"{folder}/{DRIVER}.log"
    others = [name for name in names if name != driver]
    if workers:
        for name in others:
            _write(f"==> {name} <==\n{_text(store, name)}")
    elif others:
        console.note(f"{counted(len(others), 'log file')} of workers: --workers prints them, too")
    if follow:
        _follow(store, driver, _write)
    else:
        _write(_text(store, driver))


def _newest_run(store: Store) -> str | None:
    """Names of runs sort by time."""
    runs = {entry.path.removeprefix(f"{LOGS}/").split("/")[0] for entry in store.list(LOGS)}
    return max(runs, default=None)


def _follow(store: Store, name: str, write: Callable[[str], None]) -> None:
    """The file's lines as they come, until nobody holds the output's lock, or that of a part, any more."""
    shown = 0
    while True:
        lock = holder(store)
        working = (lock is not None and not is_stale(lock)) or at_work(store)
        lines = _text(store, name).splitlines(keepends=True)
        write("".join(lines[shown:]))
        shown = max(shown, len(lines))
        if not working:
            return
        time.sleep(_LOOK_EVERY_SECONDS)


def _text(store: Store, name: str) -> str:
    data = store.read_or_none(name)
    return "" if data is None else data.decode("utf-8", "replace")


def _write(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
