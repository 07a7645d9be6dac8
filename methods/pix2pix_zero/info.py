"""The light description of pix2pix-zero; imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

from methods.base import MethodInfo, Preset
from methods.nn.captioner_files import captioner_uris
from methods.pix2pix_zero.params import Pix2PixZeroParams
from methods.pix2pix_zero.prompts import prompts_of
from methods.street_labels import STREET_LABELS

_SD = "CompVis/stable-diffusion-v1-4"


def _concept(name: str) -> str:
    return f"hf://pix2pix-zero-library/{name}_sd14/{name}_sd14.pt"


def _released(summary: str, source: str, target: str) -> Preset:
    return Preset(summary, _SD, {"source": _concept(source), "target": _concept(target)})


def _weather(source: str, target: str, summary: str) -> Preset:
    return Preset(f"driving pictures, {summary}", _SD, {"source": source, "target": target}, STREET_LABELS[target])


def _streets(weather: str, guidance: float) -> Preset:
    return Preset(
        f"rendered streets, day to {weather}; bundled, 128 px",
        "bundled://street-text-to-image",
        {
            "direction": f"bundled://street-direction-{weather}",
            "image_prep": "resize_128x128",
            "steps": 25,
            "guidance_amount": 1.0,
            "guidance_scale": guidance,
            # latents of 16 x 16: too few values for statistics of white noise
            "regularisation_rounds": 0,
        },
        STREET_LABELS[weather],
    )


def _weight_uris(params: Pix2PixZeroParams, weights: str | None) -> Sequence[str]:
    concepts = [uri for uri in (params.direction, params.source, params.target) if uri is not None]
    files = [str(prompts_of(uri) or uri) for uri in concepts]
    captioner = captioner_uris(params.captioner) if params.captioner else []
    return [*([weights] if weights else []), *files, *captioner]


INFO = MethodInfo(
    name="pix2pix_zero",
    summary="Zero-shot edits on a frozen Stable Diffusion: one concept into another, the layout kept.",
    paper="https://arxiv.org/abs/2302.03027",
    implementation="methods.pix2pix_zero.method:Pix2PixZero",
    params=Pix2PixZeroParams,
    presets={
        "cat_to_dog": _released("cats to dogs, the authors' embeddings", "cat", "dog"),
        "dog_to_cat": _released("dogs to cats, the authors' embeddings", "dog", "cat"),
        "horse_to_zebra": _released("horses to zebras, the authors' embeddings", "horse", "zebra"),
        "day_to_night": _weather("day", "night", "day to night"),
        "clear_to_fog": _weather("clear", "fog", "clear weather to fog"),
        "clear_to_rain": _weather("clear", "rain", "clear weather to rain"),
        "clear_to_snow": _weather("clear", "snow", "clear weather to snow"),
        "street_night": _streets("night", 1.5),
        "street_snow": _streets("snow", 3.0),
    },
    rounded=True,
    inputs=("image", "caption"),
    shard_size=32,
    batch_size=(4, 8),
    compiles=True,
    weight_uris=_weight_uris,
)
