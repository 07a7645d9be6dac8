"""The light description of pix2pix-Turbo; imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

from methods.base import MethodInfo, Preset
from methods.pix2pix_turbo.params import Pix2PixTurboParams

_RELEASE = "https://www.cs.cmu.edu/~img2img-turbo/models"


def _weight_uris(params: Pix2PixTurboParams, weights: str | None) -> Sequence[str]:
    if weights is None:
        return []
    own = weights.startswith("bundled://") or weights.endswith(".safetensors")
    # the text encoder of the base decides too, where a caption is not in the file; a hub id that is never fetched
    # must not be asked for
    return [weights] if own else [weights, params.base]


INFO = MethodInfo(
    name="pix2pix_turbo",
    summary="Paired translation in one step of SD-Turbo: edges or sketches to pictures, by caption.",
    paper="https://arxiv.org/abs/2403.12036",
    implementation="methods.pix2pix_turbo.method:Pix2PixTurbo",
    params=Pix2PixTurboParams,
    presets={
        "edge_to_image": Preset(
            "a picture's Canny edges to a picture of the caption",
            f"{_RELEASE}/edge_to_image_loras.pkl",
            {"input": "canny"},
        ),
        "sketch_to_image_stochastic": Preset(
            "a drawing to pictures of the caption, another one for every variant",
            f"{_RELEASE}/sketch_to_image_stochastic_lora.pkl",
            {"input": "sketch", "gamma": 0.4},
        ),
        "street_edges": Preset(
            "a rendered street by day from a picture's Canny edges; bundled, 128 to 256 px",
            "bundled://street-edges",
            {"input": "canny", "caption": "a street in the day"},
        ),
    },
    inputs=("image", "caption"),
    shard_size=128,
    batch_size=(4, 16),
    compiles=True,
    weight_uris=_weight_uris,
)
