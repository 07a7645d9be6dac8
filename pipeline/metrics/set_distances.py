"""Distances between whole sets under their usual names: each has its network, and refuses others."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from methods.nn.clip_names import RELEASED
from pipeline.metrics.frechet import frechet, frechet_error
from pipeline.metrics.kernel_distance import Kernel, gaussian, mmd, polynomial
from pipeline.metrics.set_metric import SetMetric
from pipeline.metrics.set_params import (
    BackboneParams,
    CmmdParams,
    DinoDistanceParams,
    EffLite0Params,
    InceptionParams,
    KidParams,
    SetParams,
)

if TYPE_CHECKING:
    import torch

    from pipeline.metrics.encoded import EncodedPictures


class _Frechet(SetMetric):
    """Squared Fréchet distance. Biased upwards by few pictures: compare figures of equal ``count`` only."""

    enough = 10_000

    def distance(self, x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
        """As :func:`pipeline.metrics.frechet.frechet`."""
        resamples = self.params.resamples
        return frechet(x, y), frechet_error(x, y, resamples) if resamples > 1 else float("nan")


class _Kernel(SetMetric):
    """Unbiased squared maximum mean discrepancy: 0 for sets of one distribution, may fall below."""

    enough = 1000
    kernel: ClassVar[Kernel] = staticmethod(polynomial)
    scale: ClassVar[float] = 1.0

    def distance(self, x: np.ndarray, y: np.ndarray) -> tuple[float, float]:
        """As :func:`pipeline.metrics.kernel_distance.mmd`."""
        value, error = mmd(x, y, type(self).kernel, self.params.resamples)
        return self.scale * value, self.scale * error


class _OfInception(SetMetric):
    params: InceptionParams

    def title(self) -> str:
        """``fid``, ``fid_clean``, ``kid`` or ``kid_clean``."""
        return self.name if self.params.resize == "torch_fidelity" else f"{self.name}_clean"

    def make_extractor(self) -> EncodedPictures[np.ndarray]:
        """Inception's pooled features, 2048. Raises InputError: another network."""
        from pipeline.metrics.inception_features import shared

        return shared(self._device, self.params.network, self.params.resize)


class Fid(_OfInception, _Frechet):
    """``fid``: Fréchet Inception distance (Heusel et al. 2017), lower is better."""

    name: ClassVar[str] = "fid"

    def __init__(self, device: str | torch.device = "cpu", params: InceptionParams | None = None) -> None:
        super().__init__(device, params or InceptionParams())


class Kid(_OfInception, _Kernel):
    """``kid``: kernel Inception distance (Binkowski et al. 2018). Published tables often give 1000 times the value."""

    name: ClassVar[str] = "kid"

    def __init__(self, device: str | torch.device = "cpu", params: KidParams | None = None) -> None:
        super().__init__(device, params or KidParams())


class Cmmd(_Kernel):
    """``cmmd``: CLIP maximum mean discrepancy (Jayasumana et al. 2024), 1000 times the unbiased estimate.

    The authors' program leaves the pictures' likeness to themselves in, which adds up to 20 / n for n pictures.
    """

    name: ClassVar[str] = "cmmd"
    kernel: ClassVar[Kernel] = staticmethod(gaussian)
    scale: ClassVar[float] = 1000.0
    params: CmmdParams

    def __init__(self, device: str | torch.device = "cpu", params: CmmdParams | None = None) -> None:
        super().__init__(device, params or CmmdParams())

    def title(self) -> str:
        """``cmmd``; of another CLIP with its name."""
        model = self.params.model
        if model == CmmdParams().model:
            return self.name
        return f"{self.name}_{_plain(model) if model in RELEASED else self.params.set_name().removeprefix('clip_')}"

    def make_extractor(self) -> EncodedPictures[np.ndarray]:
        """CLIP's features of unit length."""
        from pipeline.metrics.clip_features import shared_vectors

        return shared_vectors(self._device, self.params.weights())


class DinoDistance(_Frechet):
    """``dino_distance``: the Fréchet distance of DINO's class tokens; blind to ImageNet's classes, unlike Inception."""

    name: ClassVar[str] = "dino_distance"
    params: DinoDistanceParams

    def __init__(self, device: str | torch.device = "cpu", params: DinoDistanceParams | None = None) -> None:
        super().__init__(device, params or DinoDistanceParams())

    def title(self) -> str:
        """``dino_distance``."""
        return self.name

    def make_extractor(self) -> EncodedPictures[np.ndarray]:
        """The class token after the final norm."""
        from pipeline.metrics.dino_features import shared

        return shared(self._device, self.params.network).vectors


class KidEffLite0(_Kernel):
    """``kid_efflite0``: the distance of KID in EfficientNet-Lite0's features; published tables give 1000 times KID."""

    name: ClassVar[str] = "kid_efflite0"

    def __init__(self, device: str | torch.device = "cpu", params: EffLite0Params | None = None) -> None:
        super().__init__(device, params or EffLite0Params())

    def title(self) -> str:
        """``kid_efflite0``."""
        return self.name

    def make_extractor(self) -> EncodedPictures[np.ndarray]:
        """The features before the classifier, 1280."""
        from pipeline.metrics.efflite0 import shared

        return shared(self._device).vectors


class _OfBackbone(SetMetric):
    params: BackboneParams

    def __init__(self, device: str | torch.device, params: SetParams) -> None:
        super().__init__(device, params)

    def title(self) -> str:
        """The metric's name and the network's."""
        return f"{self.name}_{_plain(self.params.model)}"

    def make_extractor(self) -> EncodedPictures[np.ndarray]:
        """The features before the network's classifier."""
        from pipeline.metrics.backbone_features import shared

        return shared(self._device, self.params.library, self.params.model, self.params.network)


class Frechet(_OfBackbone, _Frechet):
    """``frechet_NETWORK``: the Fréchet distance in the features of any network."""

    name: ClassVar[str] = "frechet"


class KernelDistance(_OfBackbone, _Kernel):
    """``kernel_NETWORK``: the distance of KID in the features of any network."""

    name: ClassVar[str] = "kernel"


def _plain(name: str) -> str:
    """A network's name as part of a figure's."""
    return "".join(letter if letter.isalnum() else "_" for letter in name).lower()
