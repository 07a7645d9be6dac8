"""The dataset card: README.md of an output, with the front matter that `datasets.load_dataset` needs."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import pyarrow as pa
import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from methods.counting import counted
from pipeline import metrics as known_metrics
from pipeline import quantity
from pipeline.job_record import JobRecord
from pipeline.markdown import cell, code, one_line
from pipeline.output.report.survival import Survival
from pipeline.output.summary import RowCounts, RunSummary
from pipeline.paths import DATA, INDEX, MERGED_INDEX
from pipeline.sink.huggingface import parquet_features, webdataset_features
from pipeline.sink.label_counts import describe_labels
from pipeline.sink.schema import METRIC, data_schema
from pipeline.sink.webdataset import tar_names
from pipeline.sources.layout import Layout
from pipeline.spec import OutputSpec
from pipeline.storage import StorageOptions, protocol_of, redact
from pipeline.uris import beside, seen_from

_SIZES = ((1e3, "n<1K"), (1e4, "1K<n<10K"), (1e5, "10K<n<100K"), (1e6, "100K<n<1M"), (1e7, "1M<n<10M"))
_LARGER = ((1e8, "10M<n<100M"), (1e9, "100M<n<1B"))

_MEANINGS = {
    "key": "the sample's key, as in the source",
    "variant": "which of the sample's variants, from 0",
    "status": "`ok`, `filtered` (translated, but dropped by `keep`) or `rejected`",
    "stage": "where a sample was refused: read, prepare, translate, measure, encode, keep",
    "error": "why, as one stable word",
    "message": "why, as a sentence",
    "shard": "the data file, without folder and ending",
    "row": "place of the picture in its data file",
    "offset": "first byte of the picture in its tar (null for Parquet)",
    "size": "bytes of the picture in its tar (null for Parquet)",
    "source_uri": "the file the sample came from",
    "source_sha256": "SHA-256 of the source picture as it was stored",
    "sha256": "SHA-256 of the translated picture as it is stored",
    "width": "of the translated picture, in pixels",
    "height": "of the translated picture, in pixels",
    "caption": "text of the sample, as in the source",
    "labels": "objects in COCO's terms, in pixels of the translated picture",
    "labels_raw": "the source's own labels of the sample, unchanged",
    "label_problems": "why single annotations could not be read and were left out",
    "seed": "of the random numbers drawn for this sample",
    "method": "method and preset",
    "fingerprint": "of everything that decides the pictures",
    "image": "the translated picture, compressed",
    "source_image": "the source picture, at the size of the translated one",
}


def write_card(
    record: JobRecord, summary: RunSummary, index_schema: pa.Schema | None, filters: Sequence[str] = ()
) -> str:
    """The card as Markdown.

    Args:
        record: the output's job.
        summary: counts and figures of the output.
        index_schema: columns of ``index.parquet``; ``None`` where the index was too large to merge, then ``index/`` is
            the index.
        filters: conditions that were applied to the output after the job.
    """
    spec, layout = record.spec, record.layout
    output = spec.output
    uri, is_tar, is_loose = (
        seen_from(beside(output.uri), output.uri),
        output.format == "webdataset",
        output.format == "files",
    )
    index = MERGED_INDEX if index_schema is not None else f"{INDEX}/*.parquet"
    options = _storage_options(output.storage)
    page = {
        "job": record,
        "spec": spec,
        "rows": summary.rows,
        "method": _method(spec.method.name),
        "weights": [redact(each) for each in record.weights_identity],
        "sources": [seen_from(beside(output.uri), each) for each in spec.source.uris],
        "uri": uri,
        "protocol": protocol_of(output.uri),
        "local": protocol_of(output.uri) == "file",
        "endpoint": output.storage.endpoint_url,
        "storage": _literal(options) if options else "",
        "keywords": "".join(f", {name}={_literal(value)}" for name, value in options.items()),
        "profile": options.get("profile"),
        "is_tar": is_tar,
        "record": tar_names(layout, "").record,
        "suffix": output.image.suffix,
        "index": index,
        "index_uri": posixpath.join(uri, index),
        "data_uri": posixpath.join(uri, DATA),
        "reasons": sorted(summary.reasons.items(), key=lambda item: (-item[1], item[0])),
        "columns": [(name, each, _meaning(name)) for name, each in summary.columns.items() if each.count],
        "dataset": sorted(summary.dataset.items()),
        "dataset_notes": summary.dataset_notes,
        "survival": Survival.of(record, summary),
        "duplicates": summary.duplicate_keys,
        "is_loose": is_loose,
        "labels": describe_labels(summary.labels),
        "changes": record.label_changes,
        "filters": filters,
        "findings": summary.findings,
        "data_columns": [] if is_tar else _described(data_schema(layout, output.pairs, loose=is_loose), layout),
        "index_columns": _described(index_schema, layout) if index_schema is not None else [],
        "members": _members(layout, output) if is_tar else [],
    }
    matter = _front_matter(record, summary.rows, index)
    text = _environment().get_template("card.md.j2").render(page)
    return f"---\n{matter}---\n\n" + re.sub(r"\n{3,}", "\n\n", text)


@cache
def _environment() -> Environment:
    # Markdown, not HTML: values that come from the data go through `cell`.
    environment = Environment(
        loader=PackageLoader("pipeline", "output/report"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {name: getattr(quantity, name) for name in ("count", "measured", "share")}
    environment.filters["counted"] = counted
    environment.filters |= {"cell": cell, "code": code, "py": _literal, "quoted": _quoted}
    return environment


def _front_matter(record: JobRecord, rows: RowCounts, index: str) -> str:
    spec, layout = record.spec, record.layout
    output, is_tar = spec.output, spec.output.format == "webdataset"
    data: dict[str, Any] | None = None
    # A pattern without any file is an error in `datasets`.
    if rows.ok:
        files = f"{DATA}/*.{'tar' if is_tar else 'parquet'}"
        data = {"config_name": "default", "data_files": [{"split": "train", "path": files}], "default": True}
    # One loader serves all configs of a card, so that an index in Parquet cannot stand beside tars.
    table: dict[str, Any] | None = None
    if rows.attempted and not (is_tar and data):
        table = {"config_name": "index", "data_files": [{"split": "train", "path": index}]}
    tree: dict[str, Any] = {
        "pretty_name": one_line(spec.name),
        "tags": ["sceneshift", "image-to-image-translation", spec.method.name],
        "task_categories": ["image-to-image"],
        "size_categories": [next((name for limit, name in (*_SIZES, *_LARGER) if rows.ok < limit), "n>1T")],
    }
    if configs := [each for each in (data, table) if each]:
        tree["configs"] = configs
    if data:
        if is_tar:
            features = webdataset_features(layout, output.image.suffix, output.pairs)
        else:
            features = parquet_features(layout, output.pairs, loose=output.format == "files")
        if features:
            tree["dataset_info"] = [{"config_name": "default", "features": features}]
    return yaml.safe_dump(tree, sort_keys=False, allow_unicode=True, width=10_000)


def _meaning(column: str) -> str:
    """What a metric column means, in its metric's own words; empty for one that is not installed here."""
    for each in known_metrics.registered().values():
        if column in each.columns:
            again = column.endswith("_target") and column.removesuffix("_target") in each.columns
            return "likewise, to the true target" if again else each.summary
    return ""


def _method(name: str) -> dict[str, str]:
    """Summary and paper of the method; empty for one that is not installed here."""
    from methods.registry import registered

    info = registered().get(name)
    return {"summary": info.summary, "paper": info.paper} if info else {"summary": "", "paper": ""}


def _described(schema: Iterable[pa.Field], layout: Layout) -> list[tuple[str, str, str]]:
    """(name, type, meaning) of columns."""
    found = []
    for field in schema:
        kind = "struct" if pa.types.is_struct(field.type) else str(field.type)
        if field.name.startswith(METRIC):
            meaning = _meaning(field.name.removeprefix(METRIC))
        elif field.name == "image" and pa.types.is_string(field.type):
            meaning = "the translated picture's file, relative to this one"
        elif field.name == layout.target:
            meaning = "the true picture in the other domain, from the source"
        elif field.name in layout.masks:
            meaning = "from the source, resized with the picture (nearest pixel)"
        else:
            meaning = _MEANINGS.get(field.name, "passed through from the source")
        found.append((field.name, kind, meaning))
    return found


def _members(layout: Layout, output: OutputSpec) -> list[tuple[str, str]]:
    """(suffix, meaning) of a sample's members in a tar."""
    suffix = output.image.suffix
    names = tar_names(layout, suffix)
    members = [(suffix, "the translated picture")]
    if layout.caption is not None:
        members.append((names.caption, "caption, where there is one"))
    if output.pairs:
        members.append(("source.*", "the source picture, at the size of the translated one"))
    if layout.target is not None:
        members.append((layout.target, "the true picture in the other domain, from the source"))
    members += [(name, "from the source, resized with the picture (nearest pixel)") for name in layout.masks]
    members += [(name, "passed through from the source") for name in names.members.values()]
    return [*members, (names.record, "key, seed, size, labels in COCO's terms, and other columns of the source")]


def _storage_options(storage: StorageOptions) -> dict[str, Any]:
    """What fsspec needs to reach the output; credentials are not in a spec."""
    options: dict[str, Any] = {
        key: value for key in ("endpoint_url", "profile", "anon") if (value := getattr(storage, key))
    }
    if storage.region:
        options["client_kwargs"] = {"region_name": storage.region}
    return options


def _literal(value: Any) -> str:
    """The value as Python source, with double quotes."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_literal(key)}: {_literal(each)}" for key, each in value.items()) + "}"
    # A JSON string is a Python literal.
    return json.dumps(value, ensure_ascii=False) if isinstance(value, str) else repr(value)


def _quoted(text: Any) -> str:
    """Text inside an SQL string that is inside a Python string."""
    return json.dumps(str(text).replace("'", "''"), ensure_ascii=False)[1:-1]
