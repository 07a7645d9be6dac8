"""`sceneshift init`."""

from __future__ import annotations

from pathlib import Path

from jobs.console import DONE, Console
from jobs.starter import starter_job
from methods.errors import InputError


def init_command(console: Console, method: str, out: Path) -> int:
    """Write a commented job file to begin with."""
    text = starter_job(method)
    if out.exists():
        raise InputError(f"{out}: is there already; give another file by --out")
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")
    console.result({"job": str(out), "method": method})
    console.say(f"wrote {out}: set source.uri and output.uri, then try  sceneshift preview {out}")
    return DONE
