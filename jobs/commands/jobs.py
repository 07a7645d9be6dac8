"""`sceneshift jobs`."""

from __future__ import annotations

import time

from jobs.console import DONE, Console
from jobs.submission import MARK, Head


def jobs_command(console: Console, address: str, *, everything: bool) -> int:
    """List the submitted jobs, the newest last."""
    found = [each for each in Head(address).jobs() if everything or MARK in (each.metadata or {})]
    tree = [
        {
            "id": each.submission_id,
            "status": str(each.status.value),
            "command": (each.metadata or {}).get(MARK),
            "output": (each.metadata or {}).get("output"),
            "started": _time(each.start_time),
            "ended": _time(each.end_time),
            "exit_code": each.driver_exit_code,
        }
        for each in found
    ]
    console.result(tree)
    if not tree:
        console.say("No jobs were submitted there.")
        return DONE
    columns = ("id", "status", "command", "started", "ended", "output")
    console.table(columns, [[each[name] or "-" for name in columns] for each in tree])
    return DONE


def _time(milliseconds: int | None) -> str | None:
    return None if not milliseconds else time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(milliseconds / 1000))
