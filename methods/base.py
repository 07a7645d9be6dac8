"""What a translation method is: the contract between `methods` and whoever runs them.

A method is described by a light :class:`MethodInfo` (no torch import, so that listing methods is instant) and built
by :func:`methods.load`. The description names the class that does the work; that class follows :class:`Method`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    import numpy as np
    import torch

    from methods.sharing import Together

T = TypeVar("T")


class MethodParams(BaseModel):
    """Base of every method's parameters: frozen, hashable into the job fingerprint, unknown names refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


@dataclass(frozen=True)
class Preset:
    """A named choice of weights and parameters, such as ``day_to_night``.

    Attributes:
        labels: what is true of every picture that it makes, as attributes of the picture's labels in BDD100K's words
            (``timeofday``: night).
    """

    summary: str
    weights: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Offered:
    """What the samples of a source have beside their picture, as known before anything is read.

    Attributes:
        caption: whether there may be captions.
        columns: names of the columns that pass through.
        masks: names of the masks.
    """

    caption: bool = False
    columns: tuple[str, ...] = ()
    masks: tuple[str, ...] = ()


def _nothing_to_check(params: Any, weights: str | None, offered: Offered) -> None:
    """Methods whose parameters say all there is to check."""


@dataclass(frozen=True)
class MethodInfo:
    """The light description of a method, registered under the entry-point group ``sceneshift.methods``.

    Attributes:
        name: the name used in specs.
        summary: one line for people.
        paper: where the method is published.
        implementation: ``module:Class`` of the class that follows :class:`Method`; imported only when it is built.
        params: the parameters the method takes.
        presets: named weights + parameters.
        inputs: what a sample must have (``image``, ``caption``, ``label_map``, ...). ``condition`` says that the image
            is not a photo: such a method takes the job's ``source.condition`` as its parameter ``condition``, gets the
            stored numbers (``Inputs.stored``) and follows :class:`Conditioned`.
        shard_size: samples per shard; hundreds for a one-step model, tens for a 100-step one.
        batch_size: default images per call of ``translate`` on (cpu, gpu).
        weight_uris: given (params, weights), every URI the method reads weights from: they enter the fingerprint.
        rounded: whether a value between two of the 256 levels is rounded (half to even), as the method's release
            does it; else it is cut off.
        compiles: whether ``compute.compile`` does something: the class is then a :class:`methods.compiling.Compilable`.
        check: given (params, weights, what the source offers), raises InputError for what cannot work; called by `plan`
            and `run` before anything is translated, so it must be quick and import no torch.
    """

    name: str
    summary: str
    paper: str
    implementation: str
    params: type[MethodParams]
    presets: Mapping[str, Preset] = field(default_factory=dict)
    inputs: tuple[str, ...] = ("image",)
    shard_size: int = 128
    batch_size: tuple[int, int] = (4, 16)
    weight_uris: Callable[[Any, str | None], Sequence[str]] = lambda params, weights: [weights] if weights else []
    rounded: bool = False
    compiles: bool = False
    check: Callable[[Any, str | None, Offered], None] = _nothing_to_check


@dataclass(frozen=True)
class Inputs:
    """One decoded sample as a method sees it.

    Attributes:
        key: the sample's key.
        image: (H, W, 3) uint8 RGB, upright (EXIF orientation applied); ``None`` where the source has no image.
        caption: the sample's caption, if any.
        columns: the sample's other columns (label maps as uint8/uint16 arrays, scalars such as ``gamma``).
        stored: the picture's numbers as its file holds them, for methods whose inputs name ``condition``: (H, W) uint8
            or uint16 (class ids, palette indices, depth) or (H, W, 3) uint8, upright. ``image`` is the same file seen
            as a picture.
    """

    key: str
    image: np.ndarray | None
    caption: str | None = None
    columns: Mapping[str, Any] = field(default_factory=dict)
    stored: np.ndarray | None = None


def sample_seed(job_seed: int, key: str, variant: int = 0) -> int:
    """The 63-bit seed of one sample: a function of job seed, key and variant alone, never of rank or order."""
    digest = hashlib.blake2b(f"{job_seed}\0{key}\0{variant}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


@dataclass(eq=False)
class Batch:
    """What ``translate`` gets: samples of one prepared shape.

    Attributes:
        inputs: (B, C, H, W) float32, the stacked results of ``prepare``, on the method's device.
        seeds: one seed per sample (see :func:`sample_seed`).
        keys, captions, columns: one entry per sample.
        draws: recorded noise by stream name, (B, *shape) each, used instead of drawing. For replaying the random
            numbers of a reference run.
        together: the batches of the same samples for other methods in this process, if there are any.
    """

    inputs: torch.Tensor
    seeds: Sequence[int]
    keys: Sequence[str] = ()
    captions: Sequence[str | None] = ()
    columns: Sequence[Mapping[str, Any]] = ()
    draws: Mapping[str, torch.Tensor] = field(default_factory=dict)
    together: Together | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return self.inputs.shape[0]

    def first(self) -> Batch:
        """Its first sample alone, which shares nothing with other methods."""
        return Batch(
            self.inputs[:1],
            self.seeds[:1],
            self.keys[:1],
            self.captions[:1],
            self.columns[:1],
            {name: rows[:1] for name, rows in self.draws.items()},
        )

    def padded(self, count: int) -> Batch:
        """The batch with its last sample repeated up to ``count``: compiled networks want batches of one shape."""
        import torch

        more = count - len(self)
        if more <= 0:
            return self

        def longer(values: Sequence[Any]) -> Sequence[Any]:
            return [*values, *[values[-1]] * more] if values else values

        def stretched(rows: torch.Tensor) -> torch.Tensor:
            return torch.cat([rows, rows[-1:].expand(more, *rows.shape[1:])])

        return Batch(
            stretched(self.inputs),
            longer(self.seeds),
            longer(self.keys),
            longer(self.captions),
            longer(self.columns),
            {name: stretched(rows) for name, rows in self.draws.items()},
        )

    def noise(self, shape: Sequence[int], stream: str) -> torch.Tensor:
        """Standard normal noise (B, *shape), float32, on the device of ``inputs``.

        Each sample draws from its own generator seeded by (sample seed, stream), on the CPU: the numbers are the same
        on every device, in every batch and in every order.
        """
        import torch

        if stream in self.draws:
            return self.draws[stream].to(self.inputs.device)
        rows = [torch.randn(*shape, generator=generator) for generator in self.generators(stream)]
        return torch.stack(rows).to(self.inputs.device)

    def same_pixels(self, other: Batch) -> bool:
        """Whether both hold the same inputs."""
        import torch

        return torch.equal(self.inputs, other.inputs)

    def once(self, key: Hashable, make: Callable[[], T]) -> T:
        """The result of ``make``, or that of another method for the same samples; nobody may change it.

        Args:
            key: all that the result depends on but the samples; methods have it among their ``shares``.
        """
        return self.at_once(key, None, lambda asked: [make()] * len(asked))

    def at_once(self, key: Hashable, method: Any, make: Callable[[Sequence[Any]], Sequence[T]]) -> T:
        """What ``make`` gives for ``method``, where it does the work of several methods at once.

        Args:
            key: as of :meth:`once`.
            make: gets ``method`` and those of the others with this key among their ``shares`` that have these samples
                still before them, and gives a result for each; they get theirs when they ask.
        """
        if self.together is not None:
            return self.together.of(self, key, method, make)
        (result,) = make([method])
        return result

    def generators(self, stream: str) -> list[torch.Generator]:
        """The samples' own CPU generators, each at its beginning: for libraries that draw by themselves."""
        import torch

        found = []
        for seed in self.seeds:
            digest = hashlib.blake2b(f"{seed}\0{stream}".encode(), digest_size=8).digest()
            found.append(torch.Generator().manual_seed(int.from_bytes(digest, "little") >> 1))
        return found


class Method(Protocol):
    """A loaded translator.

    ``prepare`` runs on the CPU, many samples in parallel threads; ``translate`` runs on the device, one batch at a
    time. A batch of B gives what B batches of one give, to float rounding.

    A method that may crop its images also has ``window(width, height)``: (left, top, right, bottom) of the part of an
    upright image that the output shows, or ``None`` for all of it. Labels, masks and target are cropped likewise.

    What several of them beside each other can load once is shared through :mod:`methods.sharing`; what they can compute
    once for the same samples through :meth:`Batch.once`, and ``shares`` then holds the keys of it.

    A method whose inputs name ``label_map`` may have ``masks``: the names of the only masks it reads.
    """

    info: ClassVar[MethodInfo]
    params: MethodParams
    device: torch.device

    @classmethod
    def build(cls, params: Any, weights: str | None, device: torch.device, dtype: torch.dtype) -> Method:
        """Load weights and return a method ready to translate. Raises InputError naming file, found and expected."""
        ...

    def prepare(self, inputs: Inputs) -> torch.Tensor:
        """The (C, H, W) float32 tensor of one sample. Raises BadSample for what the method cannot take."""
        ...

    def translate(self, batch: Batch) -> torch.Tensor:
        """(B, 3, H, W) float32 in [-1, 1]."""
        ...


class Conditioned(Method, Protocol):
    """A method whose inputs name ``condition``."""

    def render(self, inputs: Inputs) -> np.ndarray:
        """(H, W, 3) uint8: the condition as a person sees it; metrics compare with it. Raises BadSample."""
        ...


def to_uint8(images: torch.Tensor, rounded: bool = False) -> np.ndarray:
    """(B, 3, H, W) in [-1, 1] -> (B, H, W, 3) uint8 as ``floor(255 * (0.5 * y + 0.5))``, or ``rounded``.

    Truncation is what torchvision's ToPILImage does and so what most official releases write.
    """
    return levels(images, rounded).permute(0, 2, 3, 1).contiguous().cpu().numpy()


def levels(images: torch.Tensor, rounded: bool = False) -> torch.Tensor:
    """Of any shape in [-1, 1] -> uint8 of the same shape, cut off as :func:`to_uint8` does, or ``rounded``."""
    scaled = images.mul(0.5).add_(0.5).mul_(255)
    return (scaled.round_() if rounded else scaled).clamp_(0, 255).byte()
