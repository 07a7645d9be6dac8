"""The training job: one YAML file, validated, in the style of :class:`pipeline.spec.JobSpec`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from operator import attrgetter
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from methods.errors import InputError
from methods.train import registry
from methods.train.loggers import LoggerName, check_logger
from methods.train.recipe import Recipe
from methods.train.selection import Selection
from pipeline.metrics.direction import better
from pipeline.spec import MethodSpec, ReferenceSpec, SourceSpec, fingerprint, read_tree, validated
from pipeline.storage import StorageOptions
from pipeline.training.augment import AugmentSpec

Every = Annotated[int, Field(ge=1)]
MetricEntry = str | dict[str, dict[str, Any] | None]
"""A metric's name, or its name with parameters, as in a job."""
_HIGHER = re.compile(r"top1|accuracy|recall|precision")
"""What objectives say of themselves; metrics know it of their columns."""


class _Block(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ObjectiveSpec(_Block):
    """What is trained, with which parameters."""

    name: str
    """Name of the objective; ``sceneshift objectives`` lists them."""
    params: dict[str, Any] = {}
    """Parameters of the objective; ``sceneshift objectives NAME`` lists them."""


class ValidationSpec(_Block):
    """What is validated on: held-out sources, or samples of the training data that are held out by their keys."""

    data: dict[str, SourceSpec] = {}
    """A source per stream of the objective, held out from training. Without any, ``count`` samples of each stream's
    training data are held out.
    """
    count: Literal["auto"] | Every = "auto"
    """Samples that are validated on; ``auto``: 8 of each source under ``data``, and no validation without any."""
    metrics: list[MetricEntry] = []
    """Metrics of ``sceneshift run``, measured on what the method makes of the held-out samples."""
    method: MethodSpec | None = None
    """The method that runs the weights, with its parameters, for ``metrics`` and in the model card; ``null`` for that
    of the objective's name.
    """
    reference: ReferenceSpec | None = None
    """What ``fid`` and other metrics of whole sets compare with: a dataset of the target domain, or a file of its
    statistics (``sceneshift stats``); ``null`` for the targets of the held-out samples.
    """
    variants: Every = 1
    """Outputs per held-out sample, for methods that draw random numbers; all are measured and shown."""
    best: str | None = None
    """The value of a validation, such as ``psnr_target``, by which the best weights (``best.safetensors``) and their
    checkpoint are kept beside the newest.
    """
    direction: Literal["auto", "higher", "lower"] = "auto"
    """Which values of ``best`` are better; ``auto``: higher for PSNR, SSIM, CLIP's scores and shares of right answers,
    else lower.
    """
    patience: Every | None = None
    """Validations without a better ``best`` after which the training ends; ``null`` for never."""

    @field_validator("method")
    @classmethod
    def _without_weights(cls, value: MethodSpec | None) -> MethodSpec | None:
        if value is not None and value.weights is not None:
            raise ValueError("weights are those that are trained: leave them out")
        return value

    @property
    def selection(self) -> Selection | None:
        """How validations are compared; ``None`` where no best one is kept."""
        if self.best is None:
            return None
        known = better(self.best) or ("higher" if _HIGHER.search(self.best) else "lower")
        higher = (known if self.direction == "auto" else self.direction) == "higher"
        return Selection(self.best, higher, self.patience)

    @property
    def samples(self) -> int:
        """How many samples of each stream are validated on; 0 for no validation."""
        return (8 if self.data else 0) if self.count == "auto" else self.count

    @property
    def from_training_data(self) -> bool:
        """Whether the samples are taken out of the training data."""
        return not self.data and self.samples > 0


class TrainOutputSpec(_Block):
    """Where checkpoints, logs, pictures and the final weights go: a folder or an object store."""

    uri: str
    """Folder or URI of the training; it must belong to this training alone."""
    storage: StorageOptions = StorageOptions()
    """Options of the object store that holds the output."""


class TrainComputeSpec(_Block):
    """Where the work is done."""

    workers: Every | tuple[Every, Every] = 1
    """Processes that train one model together, each with its own batches; or [least, most] of them: a training then
    goes on with fewer when some are lost, and with more when there is room.
    """
    gpus: Literal[0, 1] = 0
    """GPUs per worker, 0 or 1."""
    cpus: Annotated[float, Field(gt=0)] = 1
    """CPUs per worker."""
    threads: Every = 2
    """Decoding threads per worker."""
    torch_threads: Every = 1
    """Torch threads per CPU worker."""
    cache_mb: Annotated[int, Field(ge=0)] = 256
    """Megabytes of decoded samples that each worker keeps in memory, so that small sets are decoded once; 0: none."""
    cache_disk_mb: Annotated[int, Field(ge=0)] = 0
    """Megabytes of further decoded samples that each worker keeps on a disk, as they are: a 512 x 512 picture takes
    0.8. The space is free again when the worker ends.
    """
    cache_folder: str | None = None
    """A folder on that disk; ``null`` for that of temporary files, which on some machines is memory."""
    address: str | None = None
    """Ray cluster for several workers; none starts one on this machine."""
    max_failures: Annotated[int, Field(ge=0)] = 3
    """How often a group of workers that lost one is started again from the last checkpoint."""

    @field_validator("workers")
    @classmethod
    def _ordered(cls, value: Any) -> Any:
        if isinstance(value, tuple) and value[0] > value[1]:
            raise ValueError(f"[least, most] needs least <= most, got {list(value)}")
        return value

    @property
    def on_ray(self) -> bool:
        """Whether Ray does the work: several workers, or a cluster."""
        return self.worker_range[1] > 1 or bool(self.address)

    @property
    def worker_range(self) -> tuple[int, int]:
        """The least and the most processes."""
        return (self.workers, self.workers) if isinstance(self.workers, int) else self.workers


class TrainingRunSpec(Recipe):
    """What a training and a distillation have in common: the recipe, how long, what is kept, and where."""

    name: str = "training"
    """Name of the training, for logs and cards."""
    output: TrainOutputSpec
    """Where checkpoints, logs, pictures and the final weights go."""
    steps: Literal["auto"] | Every = "auto"
    """Steps of the run; ``auto`` takes the objective's published number."""
    batch_size: Literal["auto"] | Every = "auto"
    """Samples per batch and worker; ``auto`` takes the objective's published number."""
    continue_from: str | None = None
    """Another training's output: the newest checkpoint there (networks, discriminators, optimizers, averages, count of
    steps) is what this run begins with, on its own data and parameters. ``steps`` counts on.
    """
    checkpoint_every: Every = 500
    """Steps between checkpoints; the last step always writes one."""
    validate_every: Literal["auto"] | Every = "auto"
    """Steps between validations, if there is something to validate on; ``auto``: 500. The last step validates too."""
    log_every: Every = 20
    """Steps between lines of the log."""
    loggers: tuple[LoggerName, ...] = ("tensorboard",)
    """Where curves and pictures go besides ``report.html``: TensorBoard's files, Weights & Biases (``wandb``, an extra;
    its own ``WANDB_MODE=offline`` sends nothing).
    """
    keep_checkpoints: Every = 2
    """How many checkpoints are kept, the newest ones, beside the best."""
    augment: AugmentSpec = AugmentSpec()
    """How training samples are varied."""
    compute: TrainComputeSpec = TrainComputeSpec()
    """Where the work is done."""


_NO_SAMPLES = (
    "there is nothing to validate on: name held-out data under validation.data, or give validation.count to hold "
    "samples of the training data out"
)
_NO_RAY = "it is for workers on Ray, and this is one worker without: leave it out"
_NO_BEST = "name under validation.best what is to get better"
_NEEDS = (
    ("validation.metrics", "validation.samples", _NO_SAMPLES),
    ("validation.best", "validation.samples", _NO_SAMPLES),
    ("validate_every", "validation.samples", _NO_SAMPLES),
    ("validation.reference", "validation.metrics", "name under validation.metrics what is compared with it"),
    ("validation.variants", "validation.metrics", "name under validation.metrics what is measured on them"),
    ("validation.direction", "validation.best", _NO_BEST),
    ("validation.patience", "validation.best", _NO_BEST),
    ("compute.cache_folder", "compute.cache_disk_mb", "say under compute.cache_disk_mb how much may be kept there"),
    ("compute.cpus", "compute.on_ray", _NO_RAY),
    ("compute.max_failures", "compute.on_ray", _NO_RAY),
)
"""A setting, what it does nothing without, and what to do."""


_OF_JOBS = tuple(f"labels.{name}" for name in ("uri", "required", "strict", "size", "set", "check", "caption"))
"""Settings of a source that say what a job does with labels."""


def _given(spec: BaseModel, setting: str) -> bool:
    """Whether a setting (dotted) has another value than its default."""
    block, _, name = setting.rpartition(".")
    holder = attrgetter(block)(spec) if block else spec
    return getattr(holder, name) != type(holder).model_fields[name].get_default(call_default_factory=True)


class TrainSpec(TrainingRunSpec):
    """One training run. ``TrainSpec.load`` reads it from YAML."""

    objective: ObjectiveSpec
    """What is trained."""
    data: dict[str, SourceSpec]
    """A source for every stream the objective draws from."""
    validation: ValidationSpec = ValidationSpec()
    """What is validated on."""
    where: dict[str, str] = Field(default={})
    """By stream that reads an output of ``sceneshift run``, an expression over its metrics, such as
    ``structure < 0.02``; other samples are left out.
    """
    balance: dict[str, str] = Field(default={})
    """By stream, a column or a path into the label JSON (``attributes.weather``) or another JSON member
    (``json.weather``) whose values come equally often within each window of 512 samples of the stream's order.
    """

    @model_validator(mode="after")
    def _separate(self) -> TrainSpec:
        out = self.output.uri.rstrip("/")
        if any(uri.rstrip("/") == out for source in self.data.values() for uri in source.uris):
            raise ValueError(f"data and output are the same place ({out}); give the output a folder of its own")
        if self.continue_from is not None and self.continue_from.rstrip("/") == out:
            raise ValueError("continue_from is the output itself, which is gone on with anyway: leave it out")
        return self

    @classmethod
    def load(cls, path: str | Path, overrides: Iterable[str] = ()) -> TrainSpec:
        """Read a YAML training job; ``overrides`` are ``dotted.key=value`` with YAML values.

        Raises:
            InputError: as :meth:`pipeline.spec.JobSpec.load`.
        """
        shape = "a training job is a mapping with `objective`, `data` and `output`"
        return cls.parse(read_tree(path, overrides, shape), str(path))

    @classmethod
    def parse(cls, tree: Mapping[str, Any], where: str = "spec") -> TrainSpec:
        """Validate a mapping, the objective's own parameters and streams included."""
        spec = validated(cls, tree, where)
        for setting, other, advice in _NEEDS:
            if _given(spec, setting) and not attrgetter(other)(spec):
                raise InputError(f"{where}: {setting}: {advice}")
        for name in spec.loggers:
            check_logger(name)
        measured_on = spec.validation.metrics and ("validation.data" if spec.validation.data else "data")
        for block, sources in (("data", spec.data), ("validation.data", spec.validation.data)):
            for name, source in sources.items():
                for setting in _OF_JOBS if block != measured_on else ():
                    if _given(source, setting):
                        raise InputError(
                            f"{where}: {block}.{name}.{setting}: it is for jobs and for validation.metrics; a training "
                            "reads the label record that each sample has of its own: leave it out"
                        )
        for key, named in (("where", spec.where), ("balance", spec.balance)):
            if unknown := [name for name in named if name not in spec.data]:
                raise InputError(f"{where}: {key}: no stream '{unknown[0]}', it can name: {', '.join(spec.data)}")
        try:
            info, _ = registry.resolve(spec.objective.name, spec.objective.params)
        except InputError as error:
            raise InputError(f"{where}: {error}") from None
        for block, given in (("data", spec.data), ("validation.data", spec.validation.data)):
            unknown = [name for name in given if name not in info.streams]
            lost = [name for name in info.streams if name not in given]
            if unknown or (lost and given) or (lost and block == "data"):
                wanted = ", ".join(f"{name} ({what})" for name, what in info.streams.items())
                found = ", ".join(given) or "nothing"
                raise InputError(f"{where}: {block} names {found}, but objective '{info.name}' draws from: {wanted}")
        return spec

    def as_tree(self) -> dict[str, Any]:
        """The spec as plain data, defaults filled in."""
        return self.model_dump(mode="json")

    @property
    def total_steps(self) -> int:
        """Iterations of the run."""
        return registry.info(self.objective.name).steps if self.steps == "auto" else self.steps

    @property
    def recipe(self) -> Recipe:
        """What the loop does alike for all objectives."""
        return Recipe.model_validate({name: getattr(self, name) for name in Recipe.model_fields})

    @property
    def worker_batch(self) -> int:
        """Samples of a stream in one worker's batch."""
        return registry.info(self.objective.name).batch_size if self.batch_size == "auto" else self.batch_size

    def shaping(self) -> dict[str, Any]:
        """What decides the weights that come out, but for the length of the run, which may be extended."""
        _, params = registry.resolve(self.objective.name, self.objective.params)
        tree = self.as_tree()
        data = {name: {k: v for k, v in source.items() if k != "storage"} for name, source in tree["data"].items()}
        return {
            "objective": {"name": self.objective.name, "params": params.model_dump(mode="json")},
            "data": data,
            "batch_size": self.worker_batch,
            "workers": tree["compute"]["workers"],
            **{key: tree[key] for key in ("seed", "precision", "ema", "continue_from")},
            **({"held_out": self.validation.samples} if self.validation.from_training_data else {}),
            # of these what was chosen: trainings that began before there was a choice keep their fingerprint
            **({"augment": tree["augment"]} if self.augment.any else {}),
            **({"where": self.where} if self.where else {}),
            **({"balance": self.balance} if self.balance else {}),
            **{key: tree[key] for key, about in Recipe.model_fields.items() if tree[key] != about.default},
        }

    @property
    def fingerprint(self) -> str:
        """16 hex digits that stand for :meth:`shaping`."""
        return fingerprint(self.shaping())
