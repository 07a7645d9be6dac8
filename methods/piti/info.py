"""The light description of PITI; imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

from methods.base import MethodInfo, Preset
from methods.piti.params import PITIParams
from methods.street_labels import STREET_LABELS


def _weight_uris(params: PITIParams, weights: str | None) -> Sequence[str]:
    named = (weights, params.upsampler, params.panoptic_json if params.condition == "panoptic" else None)
    return [uri for uri in named if uri is not None]


INFO = MethodInfo(
    name="piti",
    summary="Label maps, sketches and geometry to photos of 256 x 256, by a pretrained diffusion model.",
    paper="https://arxiv.org/abs/2205.12952",
    implementation="methods.piti.method:PITI",
    params=PITIParams,
    presets={
        "paper": Preset("as released, with the guidance of the paper's text", params={"guidance": "normalised"}),
        "preview": Preset("few steps, to look at a dataset", params={"steps": "25", "upsampler_steps": "10"}),
        "street_labels": Preset(
            "label maps of rendered streets to streets by day; bundled, 64 px",
            "bundled://street-piti",
            {"condition": "bdd100k", "steps": "200"},
            STREET_LABELS["day"],
        ),
    },
    rounded=True,
    inputs=("condition", "label_map"),
    shard_size=32,
    batch_size=(1, 16),
    compiles=True,
    weight_uris=_weight_uris,
)
