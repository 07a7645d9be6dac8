"""`sceneshift compare`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from jobs.commands.output import open_output
from jobs.console import DONE, Console
from methods.counting import counted
from methods.files import replacing
from pipeline.output.compare.compare import compare, comparison_page
from pipeline.output.compare.pairing import PairedFigures
from pipeline.quantity import measured, share
from pipeline.storage import redact


def compare_command(console: Console, outputs: Sequence[str], out: Path) -> int:
    """Compare outputs over the samples they have in common; writes a page."""
    found = compare([open_output(each) for each in outputs])
    out.parent.mkdir(parents=True, exist_ok=True)
    with replacing(out) as hidden:
        hidden.write_text(comparison_page(found), encoding="utf-8")
    console.result(
        {
            "samples": found.common.count,
            "outputs": [
                {
                    "name": each.name,
                    "output": redact(each.store.uri()),
                    "index": each.rows.origin,
                    "rows": dict(each.counts),
                    "not_in_all": each.alone,
                    "cost_of_1000": asdict(each.cost) if each.cost else None,
                    "label_check": each.survival,
                }
                for each in found.outputs
            ],
            "against_first": {
                output.name: [asdict(figure) for figure in figures]
                for output, figures in zip(found.outputs[1:], found.figures, strict=True)
            },
            "settings": {name: list(values) for name, values in found.settings},
            "page": str(out),
        }
    )
    console.say(
        f"{counted(found.common.count, 'sample', 'is/are')} in the data of all {counted(len(found.outputs), 'output')}."
    )
    for each in found.outputs:
        if each.rows.unfinished:
            console.problem(f"{each.name} ({redact(each.store.uri())}): {each.rows.origin}")
    for output, figures in zip(found.outputs[1:], found.figures, strict=True):
        names = ["metric", "A", output.name, f"{output.name} - A", "95 % interval", f"{output.name} wins"]
        if figures:
            console.table(names, [_row(figure) for figure in figures])
    console.say(f"  page     {out}")
    return DONE


def _row(figure: PairedFigures) -> tuple[str, ...]:
    interval = "-" if figure.interval is None else " to ".join(map(measured, figure.interval))
    wins = share(figure.wins, figure.pairs) if figure.better else "-"
    return (
        figure.metric,
        measured(figure.first),
        measured(figure.second),
        measured(figure.difference),
        interval,
        wins,
    )
