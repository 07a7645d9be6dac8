"""A job made ready: spec, resolved method, layout, identity. What workers are handed, small and picklable."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import methods
from methods.base import MethodInfo, Offered
from methods.errors import InputError
from methods.plugins import nearest
from methods.uris import resolved, resolved_uri
from pipeline import metrics
from pipeline.fence import FencedStore, Lease
from pipeline.job_record import FORMAT_VERSION, JobRecord
from pipeline.keep import KeepExpression
from pipeline.labels.changes import LabelChanges
from pipeline.labels.formats import PER_SAMPLE
from pipeline.labels.siblings import Siblings
from pipeline.labels.source import TableSource, converted
from pipeline.labels.table import LabelTable, TableInfo
from pipeline.metrics.reference import Statistics, is_statistics
from pipeline.metrics.set_params import SetParams
from pipeline.records import SourceFile
from pipeline.sources import detect, open_source
from pipeline.sources.base import Source
from pipeline.sources.label_siblings import label_siblings
from pipeline.sources.layout import Layout
from pipeline.spec import JobSpec, SourceSpec, fingerprint
from pipeline.storage import Store
from pipeline.targets import naming, target_jobs
from pipeline.uris import redact


@dataclass(frozen=True)
class Job:
    """Everything that stays the same while a job runs.

    ``fingerprint`` stands for all that decides the bytes in data/ and index/: method, weights by content, parameters,
    codec, metrics, layout. Two runs with one fingerprint write the same bytes for the same source file.
    ``label_table`` names the table made of the dataset's label files, ``label_siblings`` in what their folders differ
    from the pictures'; ``notes`` say what was recognised in the source.
    ``generation`` counts the jobs that one output has held; ``lease`` is the right to write to it, while a job runs.
    ``metric_entries`` are the spec's metrics, their URIs ready for any machine; ``metric_weights`` says what stands for
    the content of each of those.
    """

    spec: JobSpec
    params: dict[str, Any]
    weights: str | None
    weights_identity: tuple[str, ...]
    source_format: str
    layout: Layout
    shard_size: int
    batch_size: int
    metric_columns: tuple[str, ...]
    fingerprint: str
    label_table: str | None = None
    label_siblings: Siblings | None = None
    notes: tuple[str, ...] = ()
    generation: int = 1
    lease: Lease | None = None
    metric_entries: tuple[metrics.Entry, ...] = ()
    metric_weights: Mapping[str, str] = field(default_factory=dict)

    @property
    def store(self) -> Store:
        """Where the output goes. Of a job that runs, what is put there is checked against its lease."""
        uri, options = self.spec.output.uri, self.spec.output.storage
        return Store(uri, options) if self.lease is None else FencedStore(uri, options, self.lease)

    @property
    def info(self) -> MethodInfo:
        """The method's description."""
        return methods.info(self.spec.method.name)

    @property
    def weights_by_uri(self) -> dict[str, str]:
        """What stands for the content of all weights that a worker loads, the method's and the metrics', by URI."""
        uris = self.info.weight_uris(self.info.params.model_validate(self.params), self.weights)
        return dict(zip(uris, self.weights_identity, strict=True)) | dict(self.metric_weights)

    @property
    def device(self) -> str:
        """``cuda`` when workers have a GPU."""
        return "cuda" if self.spec.compute.gpus > 0 else "cpu"

    @property
    def compiled(self) -> bool:
        """Whether workers compile the method's networks."""
        return self.spec.compute.compiled and self.info.compiles

    @property
    def method_label(self) -> str:
        """How the index names the method: ``cyclegan_turbo/day_to_night``."""
        preset = self.spec.method.preset
        return self.spec.method.name + (f"/{preset}" if preset else "")

    @property
    def label_changes(self) -> LabelChanges:
        """What the translation changes about labels: what the preset declares, and what the spec sets."""
        labels = self.spec.source.labels
        declared = self.info.presets[self.spec.method.preset].labels if self.spec.method.preset else {}
        return LabelChanges.of(declared, labels.set, labels.caption)

    def source(self, known: tuple[SourceFile, ...] = ()) -> Source:
        """The source, opened with the groups of loose images that an earlier plan has fixed."""
        return open_source(self.spec.source, self.source_format, self.shard_size, known)

    @classmethod
    def from_record(cls, record: JobRecord, store: Store) -> Job:
        """The job of an output, from its ``job.json``; the output is where it was found, not where it was made."""
        output = record.spec.output.model_copy(update={"uri": store.root, "storage": store.options})
        return cls(
            spec=record.spec.model_copy(update={"output": output}),
            params=record.params,
            weights=record.weights,
            weights_identity=record.weights_identity,
            source_format=record.source_format,
            layout=record.layout,
            shard_size=record.shard_size,
            batch_size=record.batch_size,
            metric_columns=record.metric_columns,
            fingerprint=record.fingerprint,
            generation=record.generation,
            metric_entries=record.metric_entries or tuple(record.spec.metrics),
            metric_weights=record.metric_weights,
        )

    def describe(self) -> dict[str, Any]:
        """What ``_sceneshift/job.json`` holds."""
        return {
            "version": FORMAT_VERSION,
            "fingerprint": self.fingerprint,
            "generation": self.generation,
            "method": self.method_label,
            "params": self.params,
            "weights": self.weights,
            "weights_identity": list(self.weights_identity),
            "source_format": self.source_format,
            "layout": self.layout.model_dump(mode="json"),
            "shard_size": self.shard_size,
            "batch_size": self.batch_size,
            "metric_columns": list(self.metric_columns),
            "metric_entries": _without_secrets(list(self.metric_entries)),
            "metric_weights": {redact(uri): content for uri, content in self.metric_weights.items()},
            "shaping": self.spec.shaping(),
            "label_changes": self.label_changes.as_tree(),
            "spec": _without_secrets(self.spec.as_tree()),
        }


def prepare(spec: JobSpec, *, stored: JobRecord | None = None) -> Job:
    """Resolve a spec: find the method and its weights, look at the source once, resolve the fingerprint.

    ``stored`` is the record of an output that is being resumed: its layout is taken, and weights keep the names that
    they have there if they still are what these say. Nothing is written.

    Raises:
        InputError: anything of the spec that cannot work, in one line.
    """
    from pipeline.sources.peek import resolve_layout
    from pipeline.sources.roots import resolve_root

    if spec.targets:
        raise InputError(f"the job has targets ({', '.join(spec.targets)}); what is asked for is made of a single job")
    source, taken = resolve_root(spec.source)
    spec = spec.model_copy(update={"source": source})
    label_table = _label_table(source)
    info, params, weights = methods.resolve(
        spec.method.name, spec.method.preset, spec.method.weights, _method_params(spec)
    )
    weights = None if weights is None else resolved_uri(weights, "method.weights")
    # what workers are handed; the fingerprint has URIs as the spec has them, and their content beside them
    ready = resolved(params)
    columns = _columns(spec)
    shard_size = info.shard_size if spec.output.shard_size == "auto" else spec.output.shard_size
    source_format = detect(spec.source)
    if stored is not None:
        layout = stored.layout
    else:
        layout = resolve_layout(spec.source, source_format, shard_size)
        if label_table is not None:
            masks = [name for name in label_table.info.masks if name not in layout.masks]
            layout = layout.model_copy(update={"masks": (*layout.masks, *masks)})
    siblings, beside = None, None
    if label_table is not None and source_format == "folder":
        with contextlib.closing(LabelTable(label_table.path)) as table:
            siblings, beside = label_siblings(spec.source, table)
    unread = _format_without_labels(spec.source, layout)
    if spec.compute.compile is True and not info.compiles:
        able = ", ".join(sorted(name for name, each in methods.registered().items() if each.compiles))
        raise InputError(
            f"compute.compile: method '{info.name}' has no network that can be compiled ({able} have): set it to false"
        )
    if spec.compute.batch_size == "auto":
        batch_size = info.batch_size[1 if spec.compute.gpus > 0 else 0]
    else:
        batch_size = spec.compute.batch_size
    from methods.weights import identity

    before = () if stored is None else (*stored.weights_identity, *stored.metric_weights.values())
    identities = tuple(identity(uri, before) for uri in info.weight_uris(ready, weights))
    info.check(ready, weights, _offered(spec, layout))
    metric_weights = _metric_weights(spec, before)
    shaping = spec.shaping()
    shaping["method"] = {"name": spec.method.name, "params": params.model_dump(mode="json")}
    tree = {
        "version": FORMAT_VERSION,
        "shaping": shaping,
        "weights": list(identities),
        "layout": layout.model_dump(mode="json"),
        "source_format": source_format,
        "shard_size": shard_size,
    }
    if metric_weights:
        tree["metric_weights"] = sorted(metric_weights.values())
    if spec.metrics_reference is not None:
        # features of the sources are not kept then
        tree["metrics_reference"] = True
    named = () if label_table is None else label_table.info.classes
    job = Job(
        spec=spec,
        params=ready.model_dump(mode="json"),
        weights=weights,
        weights_identity=identities,
        source_format=source_format,
        layout=layout,
        shard_size=shard_size,
        batch_size=batch_size,
        metric_columns=columns,
        fingerprint="",
        label_table=None if label_table is None else label_table.path.name,
        label_siblings=siblings,
        notes=(
            *([taken] if taken else []),
            *([beside] if beside else []),
            *([unread] if unread else []),
            *(() if label_table is None else label_table.info.notes),
            *_check_notes(spec, named),
        ),
        metric_entries=_ready_metrics(spec, metric_weights, named),
        metric_weights=metric_weights,
    )
    tree["label_changes"] = job.label_changes.as_tree()
    stale = [name for name in job.label_changes.attributes if name in layout.carry]
    if stale:
        said = ", ".join(f"'{name}' (now {job.label_changes.attributes[name]})" for name in stale)
        note = f"passed through as the source has it, though the translation changes it: column {said}"
        job = replace(job, notes=(*job.notes, note))
    return replace(job, fingerprint=fingerprint(tree))


def _format_without_labels(source: SourceSpec, layout: Layout) -> str | None:
    """What to say where a format of labels is named and nothing is read as labels.

    Raises:
        InputError: it is a format that is read from files alone.
    """
    format = source.labels.format
    if format == "auto" or source.labels.uri is not None or layout.labels is not None:
        return None
    said = f"source.labels.format says {format}, but no such labels were found beside the pictures"
    if format in PER_SAMPLE:
        return f"{said}: the pictures pass without labels; name their files with source.labels.uri"
    raise InputError(f"{said}: name their files with source.labels.uri, or leave the format out")


def check(spec: JobSpec) -> None:
    """Check what can be known of a spec without its source and its weights: method, preset, parameters, metrics, keep.

    Raises:
        InputError: one of them cannot work.
    """
    for name, each in (target_jobs(spec) or {"": spec}).items():
        with naming(name):
            methods.resolve(each.method.name, each.method.preset, each.method.weights, _method_params(each))
            _columns(each)


def weight_uris(spec: JobSpec) -> tuple[str, ...]:
    """Where the weights come from that a job's method and metrics load; nothing is fetched.

    Raises:
        InputError: as :func:`check`.
    """
    found: dict[str, None] = {}
    for name, each in (target_jobs(spec) or {"": spec}).items():
        with naming(name):
            found |= dict.fromkeys(_weight_uris(each))
    return tuple(found)


def _weight_uris(spec: JobSpec) -> list[str]:
    info, params, weights = methods.resolve(
        spec.method.name, spec.method.preset, spec.method.weights, _method_params(spec)
    )
    weights = None if weights is None else resolved_uri(weights, "method.weights")
    measured = [uri for entry in measured_by(spec) for uri in metrics.weight_uris(entry)]
    return [*info.weight_uris(resolved(params), weights), *measured]


def _columns(spec: JobSpec) -> tuple[str, ...]:
    """The index columns of the spec's metrics. Raises InputError for an unknown metric or a wrong ``keep``."""
    columns = tuple(column for entry in measured_by(spec) for column in metrics.columns(entry))
    if twice := sorted({column for column in columns if columns.count(column) > 1}):
        raise InputError(f"metrics: column '{twice[0]}' is measured twice: leave one of its metrics out")
    if spec.keep is not None:
        KeepExpression.parse(spec.keep, columns)
    return columns


def measured_by(spec: JobSpec) -> list[metrics.Entry]:
    """What a job measures: its metrics, and the check of its labels."""
    check = spec.source.labels.check
    return [*spec.metrics, *([] if check is None else [{"label_check": check.model_dump(mode="json")}])]


def _check_notes(spec: JobSpec, named: Sequence[str]) -> list[str]:
    """What a check of labels does not know of them.

    Raises:
        InputError: a class of ``labels.check.classes`` that the label files do not name.
    """
    check = spec.source.labels.check
    if check is None:
        return []
    for wanted in check.classes or ():
        if named and wanted not in named:
            raise InputError(f"labels.check.classes: the labels have no '{wanted}': {nearest(wanted, named)}")
    if named or check.classes is not None:
        return []
    return [
        "labels.check: the labels do not say beforehand which classes they have, so that objects of every class of the "
        "detector count as invented; name those of the labels with source.labels.check.classes"
    ]


def _ready_metrics(spec: JobSpec, weights: Mapping[str, str], named: Sequence[str]) -> tuple[metrics.Entry, ...]:
    """The metrics with their URIs ready for any machine, and what those of sets are compared with.

    Args:
        named: the classes that the label files name, if any.

    Raises:
        InputError: a reference that no metric uses, or a file of statistics that has not what a metric needs.
    """
    reference = spec.metrics_reference
    measured = measured_by(spec)
    check = spec.source.labels.check
    if check is not None and named:
        measured[-1] = {"label_check": {**check.model_dump(mode="json"), "named": list(named)}}
    if reference is None:
        return tuple(metrics.ready(entry) for entry in measured)
    if not any(metrics.resolve(entry)[0].of_set for entry in measured_by(spec)):
        known = ", ".join(name for name in metrics.names() if metrics.info(name).of_set)
        raise InputError(f"metrics_reference: no metric uses it: add one of a whole set to metrics ({known})")
    statistics = Statistics.read(reference.uri, reference.storage) if is_statistics(reference.uri) else None
    if statistics is None:
        detect(SourceSpec(uri=reference.uri, storage=reference.storage))
    ready: list[metrics.Entry] = []
    for entry in measured:
        info, params = metrics.resolve(entry)
        if isinstance(params, SetParams) and params.against in ("auto", "reference"):
            params = params.model_copy(update={"against": "reference"})
            if statistics is not None:
                statistics.of(params, params.content(weights), redact(reference.uri), info.name)
        ready.append(info.name if params is None else {info.name: params.model_dump(mode="json")})
    return tuple(ready)


def _metric_weights(spec: JobSpec, before: Sequence[str]) -> dict[str, str]:
    """What stands for the content of the weights of all metrics, by URI; ``before`` as :func:`identity` has it.

    Raises:
        InputError: weights that cannot be had, with the metric that needs them.
    """
    from methods.weights import identity

    found: dict[str, str] = {}
    for entry in measured_by(spec):
        for uri in metrics.weight_uris(entry):
            try:
                found[uri] = identity(uri, before)
            except InputError as error:
                name = metrics.resolve(entry)[0].name
                raise InputError(
                    f"metric '{name}': {error}; where there is a network, `sceneshift weights pull JOB` fetches all "
                    "that a job loads"
                ) from None
        params = metrics.resolve(entry)[1]
        if isinstance(params, SetParams):
            # a network that comes with a package has no URI
            found[params.weights()] = params.content(found)
    return found


@dataclass(frozen=True)
class _LabelTable:
    path: Path
    info: TableInfo


def _label_table(source: SourceSpec) -> _LabelTable | None:
    """The table of the dataset's label files on this node, made if need be."""
    labels = source.labels
    if labels.uri is None:
        return None
    path = converted(TableSource(labels.uri, labels.format, source.storage))
    with contextlib.closing(LabelTable(path)) as table:
        return _LabelTable(path, table.info)


def _offered(spec: JobSpec, layout: Layout) -> Offered:
    # labels may bring captions (COCO's), which only reading them shows
    labelled = spec.source.labels.uri is not None or layout.labels is not None
    return Offered(layout.caption is not None or labelled, tuple(layout.carry), layout.masks)


def _without_secrets(value: Any) -> Any:
    """Plain data with every text redacted: presigned addresses and the like are not for those who read an output."""
    if isinstance(value, dict):
        return {name: _without_secrets(each) for name, each in value.items()}
    if isinstance(value, list):
        return [_without_secrets(each) for each in value]
    return redact(value) if isinstance(value, str) else value


def _method_params(spec: JobSpec) -> dict[str, Any]:
    """What the spec sets on the method, ``source.condition`` among it. Raises InputError if it takes no condition."""
    params, condition = dict(spec.method.params), spec.source.condition
    if condition is None:
        return params
    if "condition" not in methods.info(spec.method.name).inputs:
        raise InputError(f"source.condition: {condition}: method '{spec.method.name}' takes photos, not conditions")
    if params.setdefault("condition", condition) != condition:
        raise InputError(f"source.condition is {condition}, but method.params.condition is {params['condition']}")
    return params
