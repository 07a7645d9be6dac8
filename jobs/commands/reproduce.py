"""`sceneshift reproduce`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from rich.markup import escape

from jobs.commands.output import open_output
from jobs.console import DONE, FAILED, Console
from methods.files import replacing
from pipeline.job import Job
from pipeline.output.reproduce import Reproduction, reproduce


def reproduce_command(
    console: Console, output: str, key: str, variant: int, out: Path | None, *, whole_shard: bool
) -> int:
    """Translate one sample again and compare; exit code 3 when it is not what the index says."""
    store, record = open_output(output)
    found = reproduce(Job.from_record(record, store), key, variant, whole_shard=whole_shard)
    if out is not None and found.row.image is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        with replacing(out) as hidden:
            hidden.write_bytes(found.row.image)
    rejection = found.row.rejection
    console.result(
        {
            "key": key,
            "variant": variant,
            "identical": found.identical,
            "sha256": found.recorded["sha256"],
            "difference": asdict(found.difference) if found.difference else None,
            "rejected": f"{rejection.stage}, {rejection.error}: {rejection.message}" if rejection else None,
            "written": str(out) if out is not None and found.row.image is not None else None,
        }
    )
    console.say(_said(found))
    if out is not None:
        console.say(f"  wrote {out}" if found.row.image is not None else "  nothing to write: there is no picture")
    return DONE if found.identical else FAILED


def _said(found: Reproduction) -> str:
    recorded, rejection = found.recorded, found.row.rejection
    if rejection is not None:
        now = f"{rejection.stage}, {rejection.error}: {rejection.message}"
        said = "Not in the data, as recorded" if found.identical else "Now it is not in the data"
        return f"{said}: {escape(now)}."
    if found.identical:
        return f"[bold]Identical[/bold]: sha256 {recorded['sha256']}"
    if recorded["sha256"] is None:
        return f"Now there is a picture; the index says {recorded['status']} ({recorded['error']})."
    difference = found.difference
    by = "sizes differ"
    if difference is not None:
        by = f"at most {difference.most} grey levels, {difference.mean:.3g} in the mean"
    why = (
        "another device or other versions of the libraries"
        if found.whole_shard
        else "a batch of one rounds otherwise; --whole-shard translates it in the batches of the job"
    )
    return f"[bold red]Not identical[/bold red]: {by} ({why})"
