"""`sceneshift status`."""

from __future__ import annotations

import textwrap
import time
from collections.abc import Sequence
from dataclasses import asdict

from rich.markup import escape

from jobs.commands.output import open_output
from jobs.console import DONE, Console
from pipeline.findings import merge, read_findings
from pipeline.labels.source import read_info, tables_of
from pipeline.map_ahead import map_ahead
from pipeline.output.rejections import RejectionReason, rejection_reasons
from pipeline.output.view import read_view
from pipeline.paths import SUCCESS_FILE
from pipeline.plan import read_plan
from pipeline.run.lock import holder, is_stale
from pipeline.run.parts import at_work
from pipeline.sink.index import list_parts
from pipeline.sink.label_counts import LabelTotals, describe_labels
from pipeline.sink.note import read_note
from pipeline.storage import redact


def status_command(console: Console, output: str, *, errors: bool) -> int:
    """Print how far an output is, from its index parts alone; with ``errors``, why samples are missing."""
    store, record = open_output(output)
    why = rejection_reasons(store) if errors else []
    paths = [entry.path for entry in list_parts(store)]
    info = read_info(store)
    totals = LabelTotals(None if info is None else info.pictures)
    notes = [totals.taken(note) for _, note in map_ahead(lambda path: read_note(store.read(path)), paths)]
    files = read_plan(store)
    numbers = [each.shards for each in files]
    total = None if not files or any(n is None for n in numbers) else sum(n or 0 for n in numbers)
    counts = {name: sum(getattr(note, name) for note in notes) for name in ("ok", "filtered", "rejected")}
    reasons: dict[str, int] = {}
    for note in notes:
        for reason, number in note.reasons.items():
            reasons[reason] = reasons.get(reason, 0) + number
    # shards of another table count its pictures by other numbers
    labels = totals.as_tree() | ({"unmatched": None} if len(tables_of(store)) > 1 else {})
    findings = merge(read_findings(store), *(note.findings for note in notes))
    lock, view = holder(store), read_view(store, record.metric_columns)
    finished = store.exists(SUCCESS_FILE)
    parts = at_work(store)
    state = "finished" if finished else "running" if parts or (lock and not is_stale(lock)) else "interrupted"
    console.result(
        {
            "output": redact(store.uri()),
            "state": state,
            "method": record.method,
            "fingerprint": record.fingerprint,
            "source_files": len(files),
            "shards_committed": len(paths),
            "shards_total": total,
            "rows": counts,
            "reasons": reasons,
            **({"errors": [asdict(each) for each in why]} if errors else {}),
            "labels": labels,
            "filter": None if view is None else view.keep,
            "findings": [finding.as_dict() for finding in findings],
            "lock": {k: lock.get(k) for k in ("host", "pid", "run", "beat")} if lock else None,
            "parts": [str(part) for part, _ in parts],
        }
    )
    rows = [
        ("state", state + (", run it again to go on" if state == "interrupted" else "")),
        ("method", record.method),
        ("shards", f"{len(paths)}" + (f" of {total}" if total is not None else "")),
        ("rows", ", ".join(f"{number} {name}" for name, number in counts.items())),
    ]
    rows += [("labels" if at == 0 else "", line) for at, line in enumerate(describe_labels(labels))]
    if lock:
        age = time.time() - float(lock.get("beat", 0))
        rows.append(("driver", f"{lock.get('host')} pid {lock.get('pid')}, last seen {age:.0f} s ago"))
    if parts:
        shown = ", ".join(f"{part} on {found.get('host')} pid {found.get('pid')}" for part, found in parts[:8])
        rows.append(("parts", shown + (f" and {len(parts) - 8} more" if len(parts) > 8 else "")))
    console.table(["", redact(store.uri())], rows)
    if errors:
        _explain(console, why)
    elif reasons:
        console.table(["rejected because", "samples"], sorted(reasons.items(), key=lambda r: -r[1]))
    if view is not None:
        console.say(
            f"  filtered after the job by: {view.keep}; counts above are of the job. Back: sceneshift refilter --undo"
        )
    for finding in findings:
        console.note(finding.text())
    return DONE


def _explain(console: Console, why: Sequence[RejectionReason]) -> None:
    """Each reason with its count, three keys and the first traceback of every place it was raised at."""
    if not why:
        console.say("Nothing was rejected and nothing failed.")
    for each in why:
        what = "failed" if each.failure else "rejected"
        console.say(f"\n[bold]{each.count} {what}[/bold]: {escape(f'{each.stage}, {each.reason}: {each.message}')}")
        if each.keys:
            console.say(escape(f"  {'shards' if each.failure else 'keys'}: {', '.join(each.keys)}"))
        for trace in each.traces:
            about = f", sample {trace.key}" if trace.key else ""
            console.say(escape(f"  first at {trace.place or 'an unknown place'}{about}, in {trace.file}"))
            console.say(escape(textwrap.indent(trace.text, "    ")))
        if not each.traces:
            console.say("  no traceback in the logs of this output")
