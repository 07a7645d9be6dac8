"""The training job: one YAML file, validated, in the style of :class:`pipeline.spec.JobSpec`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from methods.errors import InputError
from methods.train import registry
from pipeline.spec import SourceSpec, fingerprint, read_tree, validated
from pipeline.storage import StorageOptions

Every = Annotated[int, Field(ge=1)]


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

    workers: Every = 1
    """Processes that train one model together, each with its own batches."""
    gpus: Literal[0, 1] = 0
    """GPUs per worker, 0 or 1."""
    cpus: Annotated[float, Field(gt=0)] = 1
    """CPUs per worker."""
    threads: Every = 2
    """Decoding threads per worker."""
    torch_threads: Every = 1
    """Torch threads per CPU worker."""
    address: str | None = None
    """Ray cluster for several workers; none starts one on this machine."""
    max_failures: Annotated[int, Field(ge=0)] = 3
    """How often a group of workers that lost one is started again from the last checkpoint."""


class TrainSpec(_Block):
    """One training run. ``TrainSpec.load`` reads it from YAML."""

    name: str = "training"
    """Name of the training, for logs and cards."""
    objective: ObjectiveSpec
    """What is trained."""
    data: dict[str, SourceSpec]
    """A source for every stream the objective draws from."""
    validation: ValidationSpec = ValidationSpec()
    """What is validated on."""
    output: TrainOutputSpec
    """Where checkpoints, logs, pictures and the final weights go."""
    steps: Literal["auto"] | Every = "auto"
    """Optimizer steps; ``auto`` takes the objective's published number."""
    batch_size: Literal["auto"] | Every = "auto"
    """Samples per step and worker; ``auto`` takes the objective's published number."""
    seed: int = 0
    """Seed of all random numbers."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the networks' arithmetic; weights and optimizers are float32 either way."""
    memory_format: Literal["contiguous", "channels_last"] = "contiguous"
    """Memory layout of convolutions; which one is faster depends on the machine."""
    continue_from: str | None = None
    """Another training's output: the newest checkpoint there (networks, discriminators, optimizers, averages, count of
    steps) is what this run begins with, on its own data and parameters. ``steps`` counts on.
    """
    ema: Annotated[float, Field(gt=0, lt=1)] | None = None
    """Decay of the averaged weights that are validated and exported; ``null`` for none."""
    checkpoint_every: Every = 500
    """Steps between checkpoints; the last step always writes one."""
    validate_every: Literal["auto"] | Every = "auto"
    """Steps between validations, if there is something to validate on; ``auto``: 500. The last step validates too."""
    log_every: Every = 20
    """Steps between lines of the log."""
    keep_checkpoints: Every = 2
    """How many checkpoints are kept, the newest ones."""
    compute: TrainComputeSpec = TrainComputeSpec()
    """Where the work is done."""

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
        if spec.validate_every != "auto" and not spec.validation.samples:
            raise InputError(
                f"{where}: validate_every: there is nothing to validate on: name held-out data under validation.data, "
                "or give validation.count to hold samples of the training data out"
            )
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
    def worker_batch(self) -> int:
        """Samples a stream gives one worker per iteration."""
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
            "workers": self.compute.workers,
            **{key: tree[key] for key in ("seed", "precision", "ema", "continue_from")},
            **({"held_out": self.validation.samples} if self.validation.from_training_data else {}),
            # trainings that began before there was a choice keep their fingerprint
            **({} if self.memory_format == "contiguous" else {"memory_format": self.memory_format}),
        }

    @property
    def fingerprint(self) -> str:
        """16 hex digits that stand for :meth:`shaping`."""
        return fingerprint(self.shaping())
