"""Parameters of the metrics that are measured by a network; imports neither torch nor numpy."""

from __future__ import annotations

from typing import Literal

from methods.nn.clip_names import ClipUri, released_uri
from methods.nn.lpips_names import HEADS, NETWORKS
from methods.uris import WeightsUri
from pipeline.metrics.params import MetricParams

DINO = "https://dl.fbaipublicfiles.com/dino/dino_vitbase8_pretrain/dino_vitbase8_pretrain.pth"
"""DINO's ViT-B/8 where its authors publish it."""


class LpipsParams(MetricParams):
    """Parameters of ``lpips``."""

    network: Literal["alex", "vgg", "squeeze"] = "alex"
    """The network; its name is added to the columns of all but AlexNet, the usual one of LPIPS as a metric."""
    weights: WeightsUri | None = None
    """ImageNet weights of the network as torchvision saves them; none is where torchvision publishes them."""
    heads: WeightsUri | None = None
    """LPIPS' linear weights (``alex.pth``, ...); none is where its authors publish them."""

    def columns(self) -> tuple[str, ...]:
        name = "lpips" if self.network == "alex" else f"lpips_{self.network}"
        return name, f"{name}_target"

    def weight_uris(self) -> tuple[str, ...]:
        return self.weights or NETWORKS[self.network], self.heads or HEADS[self.network]


class DinoStructureParams(MetricParams):
    """Parameters of ``dino_structure``."""

    weights: WeightsUri = DINO
    """A DINO vision transformer: the official file, timm's (``hf://timm/vit_base_patch8_224.dino/model.safetensors``)
    or a transformers ``ViTModel``. Published values are those of ViT-B/8."""


class _ClipParams(MetricParams):
    model: ClipUri = "ViT-B/32"
    """OpenAI's model by its short name, or a URI: a state dict in OpenAI's layout, or a folder of a transformers
    ``CLIPModel``. Values compare only between equal models."""

    def weight_uris(self) -> tuple[str, ...]:
        return (released_uri(self.model),)


class ClipScoreParams(_ClipParams):
    """Parameters of ``clip_score``."""

    text: str | None = None
    """What the pictures should show; none takes each output's caption."""


class ClipDirectionParams(_ClipParams):
    """Parameters of ``clip_direction``."""

    source: str | None = None
    """What the sources show (``a street by day``); none takes each source's caption."""
    target: str | None = None
    """What the outputs should show (``a street at night``); none takes each output's caption."""
