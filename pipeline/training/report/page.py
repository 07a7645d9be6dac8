"""The training report and the model card: read from a training's output, written beside its weights."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

import methods
from methods.counting import counted
from methods.train import registry
from methods.train.journal import LOG, VALIDATION
from methods.train.loop import BEST
from methods.train.selection import Standing, standing
from pipeline import quantity
from pipeline.markdown import cell, code, fenced
from pipeline.storage import Store, redact
from pipeline.training.claim import selection_of
from pipeline.training.folder import rows_of
from pipeline.training.record import TrainingRecord
from pipeline.training.report.curves import curve
from pipeline.training.spec import TrainSpec
from pipeline.uris import beside, seen_from, tree_seen_from

REPORT = "report.html"
CARD = "README.md"
_RELATIVE = "# local paths are relative to the folder that holds the output\n"
_GRIDS = 6
_WIDEST = 1100
_NAMES = re.compile(r"validation/step-(\d+)/(.+)\.png")


@dataclass(frozen=True)
class CurveChart:
    """A curve with its heading and its last value."""

    title: str
    last: str
    svg: Markup


@dataclass(frozen=True)
class Grid:
    """The pictures of one validation."""

    step: int
    pictures: tuple[tuple[str, str], ...]


def write_training_report(
    spec: TrainSpec, store: Store, record: TrainingRecord, extra: Mapping[str, Any] | None = None
) -> None:
    """Write ``report.html`` and ``README.md`` from what the output of a training holds.

    Args:
        spec: what was trained.
        store: its output.
        record: how far it is.
        extra: a comparison with a teacher (:func:`pipeline.training.comparison.table`), where this was a distillation.
    """
    log, validations = rows_of(store, LOG), rows_of(store, VALIDATION)
    selection = selection_of(store, spec)
    best = standing(validations, selection) if selection is not None else None
    seconds = float(log[-1]["seconds"]) if log else 0.0
    info = registry.info(spec.objective.name)
    page = {
        "spec": spec,
        "info": info,
        "record": record,
        "best": best,
        "best_metric": spec.validation.best,
        "facts": _facts(spec, store, record, seconds),
        "losses": _charts(log, lambda name: not name.startswith("grad_norm.") and name != "rate"),
        "details": _charts(log, lambda name: name.startswith("grad_norm.") or name == "rate"),
        "validation": _charts(validations, lambda name: True, best),
        "scores": _scores(validations, best),
        "grids": _grids(store),
        "settings": _settings(spec, store),
        "comparison": extra,
        "method": _method_block(spec, store, record, best),
        "uri": seen_from(beside(store.uri()), store.uri()),
        "report": REPORT,
        "images_per_second": _pace(log, spec, record),
    }
    store.put(REPORT, _environment(True).get_template("training.html.j2").render(page).encode())
    text = _environment(False).get_template("model_card.md.j2").render(page)
    store.put(CARD, (f"---\n{_front_matter(spec)}---\n\n" + re.sub(r"\n{3,}", "\n\n", text)).encode())


@cache
def _environment(html: bool) -> Environment:
    environment = Environment(
        loader=ChoiceLoader([PackageLoader("pipeline", "training/report"), PackageLoader("pipeline", "output/report")]),
        # names and settings are foreign text: on the page everything is escaped that is not made here, in the card
        # what goes through `cell` and `fenced`
        autoescape=html,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("count", "measured", "share", "size", "duration"):
        environment.filters[name] = getattr(quantity, name)
    environment.filters["counted"] = counted
    environment.filters |= {"cell": cell, "code": code, "fenced": fenced}
    return environment


def _charts(rows: Sequence[Mapping[str, float]], shown: Any, best: Standing | None = None) -> list[CurveChart]:
    names = dict.fromkeys(name for row in rows for name in row if name not in ("step", "seconds") and shown(name))
    found = []
    for name in names:
        points = [(row["step"], float(row[name])) for row in rows if name in row]
        marked = best.step if best is not None else None
        found.append(CurveChart(name, quantity.measured(points[-1][1]), curve(points, name, marked)))
    return found


def _scores(rows: Sequence[Mapping[str, float]], best: Standing | None) -> list[tuple[str, float, float | None]]:
    """(name, last value, value at the best validation) of everything that the last validation found."""
    if not rows:
        return []
    chosen = next((row for row in rows if best is not None and row["step"] == best.step), {})
    return [(name, value, chosen.get(name)) for name, value in rows[-1].items() if name != "step"]


def _grids(store: Store) -> list[Grid]:
    """The pictures of up to six validations, first and last among them: four of the last one, one of the others."""
    by_step: dict[int, list[tuple[str, str]]] = {}
    for entry in store.list("validation"):
        if match := _NAMES.fullmatch(entry.path):
            by_step.setdefault(int(match[1]), []).append((match[2], entry.path))
    steps = sorted(by_step)
    if not steps:
        return []
    picked = sorted({steps[round(n * (len(steps) - 1) / max(_GRIDS - 1, 1))] for n in range(_GRIDS)})
    found = []
    for step in picked:
        # the fixed samples come first where there are any
        named = sorted(by_step[step], key=lambda each: (each[0] != "samples", each[0]))
        few = named[:4] if step == steps[-1] else named[:1]
        found.append(Grid(step, tuple((title, _embedded(store.read(path))) for title, path in few)))
    return found


def _embedded(data: bytes) -> str:
    """A picture as a data URI, smaller where it is wide."""
    with Image.open(io.BytesIO(data)) as opened:
        picture = opened.convert("RGB")
    if picture.width > _WIDEST:
        picture = picture.resize((_WIDEST, max(1, round(picture.height * _WIDEST / picture.width))))
    kept = io.BytesIO()
    picture.save(kept, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(kept.getvalue()).decode()}"


def _facts(spec: TrainSpec, store: Store, record: TrainingRecord, seconds: float) -> list[tuple[str, str]]:
    hours = seconds * record.workers / 3600
    total = sum(record.parameters.values())
    facts = [
        ("objective", spec.objective.name),
        ("steps", f"{record.step:,} of {spec.total_steps:,}"),
        ("samples per step", f"{spec.worker_batch * spec.accumulate * record.workers:,}"),
        ("parameters", f"{total / 1e6:.3g} M in {', '.join(record.parameters) or 'no network'}"),
        ("time", quantity.duration(seconds)),
        ("cost", f"{hours:.3g} {'GPU' if spec.compute.gpus else 'worker'} hours"),
        ("hardware", f"{record.workers} x {record.device}" if record.workers > 1 else record.device),
        ("peak memory", quantity.size(record.memory) if record.memory else "not measured on a CPU"),
        ("precision", spec.precision),
        ("average", "none" if spec.ema is None else f"decay {spec.ema:g}"),
        ("output", seen_from(beside(store.uri()), store.uri())),
        ("fingerprint", spec.fingerprint),
    ]
    for name, counts in record.samples.items():
        facts.insert(3, (f"data.{name}", f"{counted(counts['size'], 'sample')}, {counts['held_out']:,} held out"))
    return facts


def _pace(log: Sequence[Mapping[str, float]], spec: TrainSpec, record: TrainingRecord) -> float | None:
    if not log or not log[-1]["seconds"]:
        return None
    return (log[-1]["step"] - record.began) * spec.worker_batch * spec.accumulate * record.workers / log[-1]["seconds"]


def _method_block(spec: TrainSpec, store: Store, record: TrainingRecord, best: Standing | None) -> str | None:
    """The ``method`` block of a job that uses the weights; ``None`` where no method is known to load them."""
    wanted = spec.validation.method
    name = spec.objective.name if wanted is None else wanted.name
    if name not in methods.registered() or record.weights is None:
        return None
    weights = record.weights
    if best is not None:
        weights = Path(BEST).with_suffix(Path(weights).suffix).name
    block: dict[str, Any] = {"name": name, "weights": store.uri(weights)}
    if wanted is not None and wanted.params:
        block["params"] = wanted.params
    return _shown(store, {"method": block}).rstrip()


def _settings(spec: TrainSpec, store: Store) -> str:
    """The settings that differ from their defaults, as YAML."""
    return _shown(store, spec.model_dump(mode="json", exclude_defaults=True)) + _RELATIVE


def _shown(store: Store, tree: Mapping[str, Any]) -> str:
    """Plain data as YAML for who has the output, and not the machine on which it was made."""
    seen = tree_seen_from(beside(store.uri()), tree)
    return redact(yaml.safe_dump(seen, sort_keys=False, allow_unicode=True))


def _front_matter(spec: TrainSpec) -> str:
    tree = {
        "library_name": "sceneshift",
        "pipeline_tag": "image-to-image",
        "tags": ["sceneshift", spec.objective.name],
    }
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)
