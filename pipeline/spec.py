"""The job: one YAML file, validated. `JobSpec` is what every other room is handed."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from methods.errors import InputError, first_line
from methods.plugins import nearest
from methods.uris import WeightsUri, expanded
from pipeline.markdown import one_line
from pipeline.metrics.label_check_params import LabelCheckParams
from pipeline.paths import DATA, IMAGES, INDEX, OWN
from pipeline.picture_files import ENDINGS
from pipeline.plain_yaml import LONGEST, parse_yaml
from pipeline.storage import StorageOptions
from pipeline.target_spec import CaptionChange, ReferenceSpec, TargetSpec
from pipeline.uris import WEB, absolute, check, lies_under, protocol_of, redact
from pipeline.window import window_start


class _Block(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class LabelsSpec(_Block):
    """Where labels come from: files for the dataset (``uri``), or JSON members / columns of the samples."""

    format: Literal["auto", "coco", "bdd100k", "yolo", "voc", "cityscapes", "kitti", "openimages"] = "auto"
    """Format of the label files or of the samples' own label records; ``auto`` finds out."""
    uri: str | None = None
    """File, folder or glob with the labels of the whole dataset; none takes each sample's label member or column."""
    required: bool = False
    """Whether labels that match no picture, or less than half of them, are an error before anything is translated."""
    strict: bool = False
    """Whether one annotation that cannot be read rejects its picture; else it is left out, counted and named."""
    size: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]] | None = None
    """[width, height] of the pictures that the labels were made for, where that is not the pictures' own size."""
    set: dict[str, str | bool | int | float] = {}
    """What is true of every translated picture, such as ``timeofday: night``; replaces what its labels say."""
    check: LabelCheckParams | None = None
    """Checks with a detector that labelled objects are still there after the translation, and that none were invented:
    ``{detector: fasterrcnn_resnet50_fpn_v2}``. ``keep`` may use its ``labels.survival`` and ``labels.invented``.
    """
    caption: CaptionChange | None = None
    """What becomes of the caption: a template such as ``"{caption}, at night"``, or words and what they become, such as
    ``{in the day: at night}``.
    """


class SourceSpec(_Block):
    """The dataset to translate."""

    uri: str | list[str]
    """File, folder or glob; or a list of them. Tars, Parquet files, image folders, or a Parquet/CSV manifest."""
    format: Literal["auto", "webdataset", "parquet", "folder", "manifest"] = "auto"
    """How to read it; ``auto`` decides by file names."""
    layout: Literal["auto", "none", "yolo", "voc", "cityscapes", "bdd100k", "coco", "kitti"] = "auto"
    """How the folder of a known dataset is laid out: where its pictures are, and where their labels. ``auto``
    recognises it, ``none`` takes every picture found.
    """
    folders: list[str] = []
    """Only pictures below these folders of ``uri``; none given takes all."""
    image: str = "auto"
    """Member suffix (``jpg``, ``rgb.png``) or column that holds the picture; ``auto`` finds the usual ones."""
    condition: str | None = None
    """What the picture is when it is no photo (``coco_stuff``, ``sketch``, ``depth``, ...), for methods that take
    conditions.
    """
    target: str | None = "auto"
    """Member or column with the true picture in the other domain, for paired metrics."""
    caption: str | None = "auto"
    """Member or column with the caption of the picture."""
    labels: LabelsSpec = LabelsSpec()
    """Where the labels of the pictures come from."""
    masks: Literal["auto"] | list[str] = "auto"
    """Members or columns whose geometry follows the picture (label maps, depth); resized to nearest."""
    carry: Literal["auto"] | list[str] = "auto"
    """Other members or columns to pass through; ``auto`` keeps what the first source file has."""
    key: str = "auto"
    """The column that holds the sample key (Parquet and manifests)."""
    key_from: Literal["auto", "first_dot", "last_dot"] = "auto"
    """Where a file name stops to be the key and begins to say what the file is: in ``22.05.png`` the key is ``22`` by
    the first dot, ``22.05`` by the last. ``auto`` takes the first dot in tars and the last in folders.
    """
    types: dict[str, str] = {}
    """Types of columns of a CSV manifest that are not to stay text: ``int64``, ``double``, ``bool``, ``timestamp``."""
    limit: Annotated[int, Field(ge=1)] | None = None
    """Translate only the first so many samples of every source file; for trying out."""
    modified_after: str | None = None
    """Look only at files that changed since then: how long ago (``36h``, ``2d``, ``1w``), or a date or time in quotes
    (``"2026-11-01"``, UTC where it names no zone). Files of earlier runs stay in the output and are not looked at
    again; older ones that no run has translated are counted and said.
    """
    storage: StorageOptions = StorageOptions()
    """Options of the object store that holds the source."""

    @field_validator("types")
    @classmethod
    def _known_types(cls, value: dict[str, str]) -> dict[str, str]:
        # pyarrow, which knows the types, is only needed where a spec names some.
        if value:
            from pipeline.sources.columns import type_of

            for kind in value.values():
                type_of(kind)
        return value

    @field_validator("modified_after")
    @classmethod
    def _known_moment(cls, value: str | None) -> str | None:
        if value is not None:
            window_start(value, time.time())
        return value

    @property
    def uris(self) -> list[str]:
        """The URIs as a list."""
        return [self.uri] if isinstance(self.uri, str) else list(self.uri)


class MethodSpec(_Block):
    """Which translator, with which weights and parameters."""

    name: str
    """Name of the method; ``sceneshift methods`` lists them."""
    preset: str | None = None
    """A named choice of weights and parameters of the method."""
    weights: WeightsUri | None = None
    """Weights to load, in place of the preset's: a path, a URI, ``bundled://name`` or a hub id; or ``{uri, storage}``
    with the options of its object store."""
    params: dict[str, Any] = {}
    """Parameters of the method; ``sceneshift methods NAME`` lists them."""


class ImageSpec(_Block):
    """How output pictures are compressed."""

    format: Literal["jpeg", "png", "webp"] = "jpeg"
    """How pictures are compressed."""
    quality: Annotated[int, Field(ge=1, le=100)] = 95
    """Quality of JPEG and WebP, 1 to 100."""

    @property
    def suffix(self) -> str:
        """File name ending without the dot."""
        return ENDINGS[self.format]


class OutputSpec(_Block):
    """Where the translated dataset goes."""

    uri: str
    """Folder or URI of the output; it must belong to this job alone."""
    format: Literal["parquet", "webdataset", "files"] = "parquet"
    """Shards as Parquet files, as WebDataset tars, or as loose pictures (`images/`) beside Parquet files of labels."""
    image: ImageSpec = ImageSpec()
    """How output pictures are compressed."""
    size: Literal["source", "method"] = "source"
    """``source`` gives every picture its source's size back (labels stay exact), ``method`` keeps the size the method
    works at (labels are scaled).
    """
    pairs: bool = False
    """Also store the source picture beside the translated one."""
    shard_size: Literal["auto"] | Annotated[int, Field(ge=1, le=100_000)] = "auto"
    """Samples per shard; ``auto`` asks the method."""
    storage: StorageOptions = StorageOptions()
    """Options of the object store that holds the output."""


class ComputeSpec(_Block):
    """How the work is spread. Nothing here changes what comes out, but for rounding by batch size, dtype and
    compilation."""

    workers: Literal["auto"] | Annotated[int, Field(ge=1)] | tuple[int, int] = "auto"
    """A fixed number, or [min, max] for an autoscaling pool; ``auto``: one per GPU, else one per CPU core."""
    gpus: Annotated[float, Field(ge=0)] = 0
    """GPUs per worker (0 for CPU); fractions share a device."""
    cpus: Annotated[float, Field(gt=0)] = 1
    """CPUs per worker."""
    batch_size: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    """Images per call of the method; ``auto`` asks the method."""
    threads: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
    """Decode and encode threads per worker; ``auto``: 4 beside a GPU, 2 on a CPU."""
    torch_threads: Annotated[int, Field(ge=1)] = 1
    """Torch threads per CPU worker; more than one on busy cores is far slower."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of the method's arithmetic."""
    compile: Literal[True, False, "auto"] = False
    """Compile the method's networks with ``torch.compile``: up to minutes before a worker's first picture of each size,
    faster pictures after. ``auto`` compiles on a GPU, where the method has something to compile. Pictures may differ
    from uncompiled ones by a grey level: it enters the fingerprint."""
    address: str | None = None
    """Ray cluster (``ray://...``, ``host:port``, ``auto``); none starts one on this machine."""
    stall_timeout: Annotated[float, Field(gt=0)] = 1800
    """Seconds without any finished shard after which the job is stopped as hung."""
    max_attempts: Annotated[int, Field(ge=1)] = 2
    """How often a shard may kill its process before it is searched for the sample that does it."""
    price_per_hour: Annotated[float, Field(ge=0)] | None = None
    """What one worker costs per hour, in any currency; the report then gives the cost of 1,000 images."""

    @property
    def compiled(self) -> bool:
        """Whether networks are compiled, where there are some."""
        return self.gpus > 0 if self.compile == "auto" else self.compile

    @field_validator("workers")
    @classmethod
    def _ordered(cls, value: Any) -> Any:
        if isinstance(value, tuple) and not 1 <= value[0] <= value[1]:
            raise ValueError(f"[min, max] needs 1 <= min <= max, got {list(value)}")
        return value


class JobSpec(_Block):
    """One translation job. ``JobSpec.load`` reads it from YAML."""

    name: str = "job"
    """Name of the job, for logs, card and report."""
    source: SourceSpec
    """The dataset to translate."""
    method: MethodSpec
    """The translation method."""
    output: OutputSpec
    """Where the translated dataset goes."""
    metrics: list[str | dict[str, dict[str, Any] | None]] = ["psnr", "ssim", "structure"]
    """Metrics that are computed per picture or for the whole set, by name or as ``{name: {parameter: value}}``; an
    empty list measures nothing.
    """
    metrics_reference: ReferenceSpec | None = None
    """What metrics of sets (``fid``, ``kid``, ...) compare the outputs with; none takes the true targets, else the
    sources.
    """
    keep: str | None = None
    """Condition on the metrics that a picture must meet to be kept, such as ``structure < 0.03``; others become
    ``filtered`` rows.
    """
    variants: Annotated[int, Field(ge=1)] = 1
    """Results per sample, each from noise of its own; for methods that draw random numbers."""
    compute: ComputeSpec = ComputeSpec()
    """How the work is spread; does not change what comes out."""
    seed: int = 0
    """Seed of all random numbers; each sample has a seed of its own that depends on this one and its key."""
    max_rejects: Annotated[float, Field(ge=0)] = 0.5
    """Share (below 1) or count of rejected samples at which the job stops with exit code 1."""
    targets: dict[Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]{0,63}$")], TargetSpec] = {}
    """Several translations of one read, such as night, rain and fog, by name: each is an output of its own at
    ``output.uri/NAME``, with the bytes that a job of its own would write.
    """

    @field_validator("metrics")
    @classmethod
    def _once_each(cls, value: list[Any]) -> list[Any]:
        twice = sorted({str(entry) for entry in value if value.count(entry) > 1})
        if twice:
            raise ValueError(f"{', '.join(twice)} is listed twice")
        return value

    @model_validator(mode="after")
    def _separate(self) -> JobSpec:
        out = self.output.uri
        if protocol_of(out) in WEB:
            raise ValueError(f"output.uri: {redact(out)}: the web cannot be written to; name a folder or a bucket")
        same_store = self.source.storage.endpoint_url == self.output.storage.endpoint_url
        for uri in self.source.uris if same_store or protocol_of(out) == "file" else []:
            if uri.rstrip("/") == out.rstrip("/"):
                raise ValueError(f"source and output are the same place ({out}); give the output a folder of its own")
            # What it writes lies below these folders, which may be links to elsewhere.
            if lies_under(out, uri) or any(lies_under(f"{out}/{name}", uri) for name in (DATA, INDEX, IMAGES, OWN)):
                raise ValueError(
                    f"the output {redact(out)} lies under the source {redact(uri)}, which would then read what it "
                    "wrote; give the output a folder beside the source"
                )
        if protocol_of(out) != "file" and ("?" in out or "*" in out):
            raise ValueError(f"output.uri: {redact(out)}: a wildcard or query names no one place")
        return self

    @classmethod
    def load(cls, path: str | Path, overrides: Iterable[str] = ()) -> JobSpec:
        """Read a YAML job; ``overrides`` are ``dotted.key=value`` with YAML values.

        Raises:
            InputError: unreadable file, bad YAML, unknown key (the nearest is named), or a value that does not fit.
        """
        return cls.parse(
            read_tree(path, overrides, "a job is a mapping with `source`, `method` and `output`"), str(path)
        )

    @classmethod
    def parse(cls, tree: Mapping[str, Any], where: str = "spec") -> JobSpec:
        """Validate a mapping: environment variables expand in URIs, local URIs become absolute."""
        return validated(cls, tree, where)

    def as_tree(self) -> dict[str, Any]:
        """The spec as plain data, defaults filled in; JSON- and YAML-ready. Without targets it does not name them."""
        return self.model_dump(mode="json", exclude=None if self.targets else {"targets"})

    def shaping(self) -> dict[str, Any]:
        """The part of the spec that decides the bytes in data/ and index/ (weights are added by the fingerprint)."""
        tree = self.as_tree()
        places = ("uri", "storage", "labels", "layout", "modified_after")
        source = {k: v for k, v in tree["source"].items() if k not in places}
        source["labels"] = {k: v for k, v in tree["source"]["labels"].items() if k not in ("uri", "required", "check")}
        # outputs that began before labels could be checked keep their fingerprint
        source["labels"] |= {"check": check} if (check := tree["source"]["labels"]["check"]) else {}
        output = {k: v for k, v in tree["output"].items() if k not in ("uri", "storage")}
        keys = ("method", "metrics", "keep", "variants", "seed")
        compute = {"dtype": self.compute.dtype} | ({"compile": True} if self.compute.compiled else {})
        return {k: tree[k] for k in keys} | {"source": source, "output": output} | compute


def read_tree(path: str | Path, overrides: Iterable[str], shape: str) -> dict[str, Any]:
    """A YAML file as plain data with ``dotted.key=value`` overrides put in; ``shape`` says what it should have been.

    Raises:
        InputError: unreadable file, bad YAML, no mapping, or an override that cannot be put in.
    """
    try:
        with open(path, "rb") as file:
            # one byte more than is allowed is enough to see that it is too long
            text = file.read(LONGEST + 1).decode("utf-8")
    except FileNotFoundError:
        raise InputError(f"{path}: no such job file") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file (byte {error.start} is no UTF-8)") from None
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or first_line(error)
        raise InputError(f"{path}: cannot be read ({why.lower()})") from None
    tree = parse_yaml(text, str(path))
    if not isinstance(tree, dict):
        raise InputError(f"{path}: {shape}")
    for override in overrides:
        _set(tree, override)
    return tree


_Spec = TypeVar("_Spec", bound=BaseModel)


def validated(model: type[_Spec], tree: Mapping[str, Any], where: str) -> _Spec:
    """``model`` from plain data: environment variables expand in URIs, local URIs become absolute.

    Raises:
        InputError: unknown key (the nearest is named), or a value that does not fit.
    """
    _check_keys(model, tree, "", where)
    try:
        return model.model_validate(_expand(tree, ()))
    except ValidationError as error:
        first = error.errors()[0]
        loc = _where(first["loc"])
        # of a setting that takes one of several things ('auto', or a number), each says what it would have to be
        said = dict.fromkeys(
            each["msg"].removeprefix("Value error, ") for each in error.errors() if _where(each["loc"]) == loc
        )
        message = ", or ".join([next(iter(said)), *(text.removeprefix("Input should be ") for text in list(said)[1:])])
        # What stands in a `storage` block by mistake may be a secret.
        hidden = first["type"] in ("missing", "value_error") or "storage" in first["loc"]
        got = "" if hidden else f" (got {_short(first['input'])})"
        raise InputError(f"{where}: {loc + ': ' if loc else ''}{message}{got}") from None
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    except Exception as error:
        raise InputError(f"{where}: cannot be made a job ({redact(first_line(error))})") from None


def _short(value: Any) -> str:
    said = redact(repr(value))
    return said if len(said) <= 80 else said[:77] + "..."


def fingerprint(tree: Mapping[str, Any]) -> str:
    """16 hex digits that stand for a JSON-ready mapping, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(tree, sort_keys=True, default=str).encode()).hexdigest()[:16]


_PLACE_KEYS = {"uri", "continue_from"}
_URI_KEYS = {*_PLACE_KEYS, "weights", "endpoint_url"}


def _expand(value: Any, path: tuple[str, ...]) -> Any:
    if path and path[-1] == "params":
        # the parameters of methods and objectives know themselves which of them are URIs
        return value
    if isinstance(value, Mapping):
        return {k: _expand(v, (*path, str(k))) for k, v in value.items()}
    if isinstance(value, list):
        return [_expand(v, path) for v in value]
    if isinstance(value, str) and path and path[-1] in _URI_KEYS:
        text = expanded(value, ".".join(path))
        # weights may be hub ids, which look like paths
        if path[-1] in _PLACE_KEYS and "weights" not in path:
            return absolute(text)
        check(text)
        return text
    return value


def _where(loc: Iterable[Any]) -> str:
    """The location of an error as the file spells it: ``compute.batch_size``."""
    return ".".join(str(part) for part in loc if not _is_branch(part))


def _is_branch(part: Any) -> bool:
    """Whether an error location names the branch of a union rather than a key."""
    return isinstance(part, str) and (part in ("str", "int", "auto") or part.startswith("constrained-") or "[" in part)


def _check_keys(model: type[BaseModel], tree: Mapping[str, Any], path: str, where: str) -> None:
    for key, value in tree.items():
        if key not in model.model_fields:
            hint = nearest(str(key), list(model.model_fields))
            raise InputError(f"{where}: unknown key '{one_line(path + str(key))}': {hint}")
        inner = model.model_fields[key].annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel) and isinstance(value, Mapping):
            _check_keys(inner, value, f"{path}{key}.", where)
        elif get_origin(inner) is dict and isinstance(value, Mapping):
            named = get_args(inner)[1]
            for name, block in value.items():
                if isinstance(named, type) and issubclass(named, BaseModel) and isinstance(block, Mapping):
                    _check_keys(named, block, f"{path}{key}.{name}.", where)


def _set(tree: dict[str, Any], override: str) -> None:
    dotted, equals, text = override.partition("=")
    override = one_line(override)
    if not equals or not dotted:
        raise InputError(f"--set {override}: write it as key=value, such as method.params.gamma=0.4")
    *folders, last = dotted.split(".")
    node: Any = tree
    for folder in folders:
        node = node.setdefault(folder, {})
        if not isinstance(node, dict):
            raise InputError(f"--set {override}: '{folder}' holds a value, not a block")
    node[last] = parse_yaml(text, f"--set {dotted}")
