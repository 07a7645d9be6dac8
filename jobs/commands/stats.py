"""`sceneshift stats`: the statistics of a dataset, for jobs to be compared with."""

from __future__ import annotations

from typing import Any

from jobs.console import DONE, Console
from methods.counting import counted
from methods.errors import InputError
from methods.weights import identity
from pipeline import metrics
from pipeline.metrics.reference import is_statistics
from pipeline.output.statistics import dataset_statistics
from pipeline.plain_yaml import parse_yaml
from pipeline.spec import SourceSpec, validated
from pipeline.storage import Store


def stats_command(console: Console, source: str, out: str, wanted: list[str], device: str) -> int:
    """Write the features of a fixed sample of a dataset's pictures.

    Args:
        wanted: metrics of sets, each as a job file has it: ``fid`` or ``{fid: {resize: clean}}``.
    """
    if not is_statistics(out):
        raise InputError(f"{out}: name the file NAME.npz, by which a job knows that it holds statistics")
    entries: list[Any] = [parse_yaml(text, f"--metric {text}") for text in wanted]
    asked = metrics.build(entries, device=device)
    for metric in asked:
        if not hasattr(metric, "finish"):
            known = ", ".join(name for name in metrics.names() if metrics.info(name).of_set)
            raise InputError(f"--metric {metric.name}: is measured of each picture; metrics of sets are {known}")
    networks = {uri: identity(uri) for entry in entries for uri in metrics.weight_uris(entry)}
    spec = validated(SourceSpec, {"uri": source}, "SOURCE")
    found = dataset_statistics(spec, asked, networks, lambda seen: console.progress(counted(seen, "picture")))
    Store(out).put("", found.to_bytes())
    sizes = {name: len(rows) for name, rows in found.features.items()}
    console.result({"statistics": out, "pictures": found.pictures, "unreadable": found.unreadable, "features": sizes})
    console.say(f"Wrote {out}: {counted(found.pictures, 'picture')}, features of {max(sizes.values()):,}")
    if found.unreadable:
        console.problem(f"note: {counted(found.unreadable, 'picture')} cannot be read: left out")
    return DONE
