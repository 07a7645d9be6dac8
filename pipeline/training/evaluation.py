"""What a training's weights are worth to who runs them: held-out samples through the code of `run`, and its metrics."""

from __future__ import annotations

import contextlib
import logging
import re
import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import methods
from methods.errors import BadSample, InputError
from methods.train import registry
from methods.train.objective import Validation
from pipeline import codec, job
from pipeline.metrics.set_features import RANK
from pipeline.metrics.set_metric import SetMetric
from pipeline.metrics.summary import Summary
from pipeline.output.set_figures import figures_of
from pipeline.records import Row, Sample, Shard
from pipeline.spec import JobSpec
from pipeline.training.spec import TrainSpec
from pipeline.training.streams import Stream

_log = logging.getLogger(f"sceneshift.{__name__}")

GRID = "samples"
"""Title of the picture with the fixed samples: source, output (or several), target."""

_SHOWN = 4
_CELL = 256
_GAP = 4
_OF_METHOD = re.compile(r"(?<![\w.])method\.(?=params\b|preset\b)")


class Evaluation:
    """Called with exported weights; says what the method that loads them makes of the held-out samples.

    With one stream a sample's target is its own; for objectives that learn pictures from conditions, the condition is
    translated and the picture is the target. With two unpaired streams, the samples of the first are translated, and
    the pictures of the second stand for the target domain: metrics of whole sets compare with them, those of single
    pictures do not. With ``validation.reference`` metrics of whole sets compare with that.

    Args:
        spec: what is trained; its ``validation`` names metrics and method.
        streams: where the held-out samples come from, by name.

    Raises:
        InputError: an unknown metric, no method to run the weights, or one whose parameters are wrong.
    """

    def __init__(self, spec: TrainSpec, streams: Mapping[str, Stream]) -> None:
        wanted = spec.validation
        names = list(spec.data)
        first = streams[names[0]]
        count = wanted.samples
        column = _condition_column(spec)
        self._samples = [from_condition(sample, column) for sample in first.kept(count)]
        self._unpaired = len(names) > 1 and all(sample.target is None for sample in self._samples)
        if self._unpaired:
            others = [sample.image for sample in streams[names[1]].kept(count) if sample.image is not None]
            self._samples = [
                replace(sample, target=others[number % len(others)] if others else None)
                for number, sample in enumerate(self._samples)
            ]
        # a job keeps what it makes of its reference in its output: the training's is not touched before it begins
        self._scratch = tempfile.TemporaryDirectory(prefix="sceneshift-validation-")
        self._objective = spec.objective.name
        self._tree = _job_tree(spec, names[0], column, self._scratch.name)
        self._said: set[str] = set()
        # of the held-out pictures themselves, which no training changes: by the name of a metric's features
        self._features: dict[str, dict[bytes, np.ndarray]] = {}
        with _as_validation():
            job.check(JobSpec.model_validate(self._tree))

    def __call__(self, weights: Path) -> Validation:
        """Metrics by column (means) and set, and the grid of samples. Raises InputError when all are refused."""
        with _as_validation():
            return self._validated(weights)

    def _validated(self, weights: Path) -> Validation:
        from pipeline.translate.shard import translate_shard
        from pipeline.translate.translator import Translator

        tree = {**self._tree, "method": {**self._tree["method"], "weights": str(weights)}}
        with self._loading(weights):
            ready = job.prepare(JobSpec.model_validate(tree))
            translator = Translator(ready)
        with contextlib.ExitStack() as open_things:
            open_things.callback(translator.close)
            for metric in translator.metrics:
                if isinstance(metric, SetMetric):
                    memory = self._features.setdefault(metric.params.set_name(), {})
                    open_things.enter_context(metric.load().remembering(memory))
            shard = Shard("validation", "validation", 0, tuple(self._samples), last=True)
            rows = translate_shard(translator, shard).rows
            done = [row for row in rows if row.rejection is None]
            if not done:
                why = next((row.rejection for row in rows if row.rejection is not None), None)
                raise InputError(
                    f"validation: method '{self._tree['method']['name']}' refuses every held-out sample"
                    + (f": {why.error}: {why.message}" if why else "")
                )
            return Validation(self._measured(ready, translator.metrics, done), {GRID: self._grid(rows)})

    @contextlib.contextmanager
    def _loading(self, weights: Path) -> Iterator[None]:
        """What is wrong with the weights, which lie somewhere for a moment, is wrong with the choice of the method.

        Or with its parameters, where the message begins with one.
        """
        try:
            yield
        except InputError as error:
            if str(weights) not in str(error):
                raise
            if str(error).startswith("method.params."):
                raise InputError(str(error).replace(str(weights), "what is trained")) from None
            why, name = str(error).replace(str(weights), "its weights"), self._tree["method"]["name"]
            raise InputError(
                f"validation.method: '{name}' does not load what objective '{self._objective}' trains ({why})"
            ) from None

    def _measured(self, ready: job.Job, built: Sequence[Any], rows: Sequence[Row]) -> dict[str, float]:
        sums: dict[str, Summary] = {}
        for row in rows:
            for column, value in row.metrics.items():
                # a picture of the other set is no truth for this one
                if not (self._unpaired and column.endswith("_target")):
                    sums.setdefault(column, Summary()).add([value])
        found = {column: each.mean for column, each in sums.items() if each.count}
        figures, notes = figures_of(ready, RowFeatures(rows), built)
        for note in notes:
            if note not in self._said:
                self._said.add(note)
                _log.warning("validation.metrics: %s; validation.count says how many", note)
        return found | figures

    def _grid(self, rows: Sequence[Row]) -> np.ndarray:
        """(H, W, 3) uint8: a line per sample with its source, its outputs and its target (paired data)."""
        lines = []
        by_key: dict[str, list[Row]] = {}
        for row in rows:
            by_key.setdefault(row.key, []).append(row)
        for sample in self._samples[:_SHOWN]:
            cells = [sample.image, *(row.image for row in by_key.get(sample.key, []))]
            cells += [] if self._unpaired or sample.target is None else [sample.target]
            lines.append([_cell(data) for data in cells])
        high = max(cell.shape[0] for line in lines for cell in line) + _GAP
        wide = max(cell.shape[1] for line in lines for cell in line) + _GAP
        sheet = np.full((len(lines) * high - _GAP, max(map(len, lines)) * wide - _GAP, 3), 255, np.uint8)
        for y, line in enumerate(lines):
            for x, cell in enumerate(line):
                top, left = y * high, x * wide
                sheet[top : top + cell.shape[0], left : left + cell.shape[1]] = cell
        return sheet


class RowFeatures:
    """The features of rows in memory, as :class:`pipeline.output.set_figures.SetFeatures`."""

    def __init__(self, rows: Sequence[Row]) -> None:
        kept: dict[str, list[np.ndarray]] = {}
        for row in rows:
            for name, value in row.features.items():
                if value is not None:
                    kept.setdefault(name, []).append(value)
        self._kept = {name: np.stack(values) for name, values in kept.items()}

    @property
    def names(self) -> Collection[str]:
        """All there are."""
        return self._kept.keys()

    def all(self, name: str) -> np.ndarray:
        """(n, D): every row, in the order of the samples."""
        return self._kept[name]

    def sample(self, name: str, count: int) -> np.ndarray | None:
        """As :class:`pipeline.metrics.set_features.FeatureReader`."""
        if name not in self._kept:
            return None
        order = np.argsort(self._kept[f"{name}_{RANK}"][:, 0], kind="stable")
        return self._kept[name][order[:count]]


@contextlib.contextmanager
def _as_validation() -> Iterator[None]:
    """What a job calls its reference and its method's parameters have other names here."""
    try:
        yield
    except InputError as error:
        text = str(error).replace("metrics_reference:", "validation.reference:")
        raise InputError(_OF_METHOD.sub(r"validation.\g<0>", text)) from None


def _cell(data: bytes | None) -> np.ndarray:
    """The picture within a square of the grid; grey where there is none."""
    try:
        if data is None:
            raise BadSample("no_image", "nothing here")
        pixels = codec.decode(data).pixels
    except BadSample:
        return np.full((_CELL, _CELL, 3), 224, np.uint8)
    height, width = pixels.shape[:2]
    scale = _CELL / max(height, width)
    return codec.resize(pixels, (max(1, round(width * scale)), max(1, round(height * scale))))


def from_condition(sample: Sample, column: str | None) -> Sample:
    """A training sample as a job sees it: the condition in mask ``column`` is the picture, the picture its target.

    Samples without that mask, and all of them for ``None``, stay as they are.
    """
    if column is None or column not in sample.masks:
        return sample
    masks = {name: data for name, data in sample.masks.items() if name != column}
    return replace(sample, image=sample.masks[column], target=sample.image, masks=masks)


def _condition_column(spec: TrainSpec) -> str | None:
    info, params = registry.resolve(spec.objective.name, spec.objective.params)
    masks = next(iter(spec.data.values())).masks
    column: str | None = getattr(params, "column", None) if info.pairs == "condition" else None
    return column if column is not None and masks != "auto" and column in masks else None


def _job_tree(spec: TrainSpec, stream: str, column: str | None, out: str) -> dict[str, Any]:
    wanted = spec.validation
    method = wanted.method
    name = spec.objective.name if method is None else method.name
    if method is None and name not in methods.registered():
        raise InputError(
            f"validation.metrics: no method is called '{name}' as the objective is: name the one that runs its weights "
            "under validation.method"
        )
    source = (wanted.data or spec.data)[stream].model_dump(mode="json")
    if column is not None:
        masks = [name for name in source["masks"] if name != column]
        source |= {"image": column, "target": None, "masks": masks, "condition": spec.objective.params.get("condition")}
    return {
        "name": spec.name,
        "source": source,
        "method": {"name": name, **({} if method is None else {"preset": method.preset, "params": method.params})},
        "output": {"uri": out, "pairs": True, "image": {"format": "png"}},
        "metrics": list(wanted.metrics),
        "metrics_reference": None if wanted.reference is None else wanted.reference.model_dump(mode="json"),
        "variants": wanted.variants,
        "compute": {"gpus": spec.compute.gpus, "torch_threads": spec.compute.torch_threads},
        "seed": spec.seed,
    }
