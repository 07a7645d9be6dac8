"""The light description of CycleGAN-Turbo; imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

from methods.base import MethodInfo, Preset
from methods.cyclegan_turbo.params import CycleGANTurboParams
from methods.street_labels import STREET_LABELS

_RELEASE = "https://www.cs.cmu.edu/~img2img-turbo/models"
_MINI = "bundled://street-day2night"


def _released(summary: str, file: str, direction: str, caption: str, target: str) -> Preset:
    params = {"direction": direction, "caption": caption}
    return Preset(summary, f"{_RELEASE}/{file}", params, STREET_LABELS[target])


def _mini(summary: str, direction: str, target: str) -> Preset:
    params = {"direction": direction, "image_prep": "multiple_of_8"}
    return Preset(summary, _MINI, params, STREET_LABELS[target])


def _weight_uris(params: CycleGANTurboParams, weights: str | None) -> Sequence[str]:
    if weights is None:
        return []
    own = weights.startswith("bundled://") or weights.endswith(".safetensors")
    return [weights] if own else [weights, params.base]


INFO = MethodInfo(
    name="cyclegan_turbo",
    summary="Unpaired translation in one step of SD-Turbo: day to night, clear to rain, and back.",
    paper="https://arxiv.org/abs/2403.12036",
    implementation="methods.cyclegan_turbo.method:CycleGANTurbo",
    params=CycleGANTurboParams,
    presets={
        "day_to_night": _released(
            "driving photos, day to night", "day2night.pkl", "a2b", "driving in the night", "night"
        ),
        "night_to_day": _released("driving photos, night to day", "night2day.pkl", "b2a", "driving in the day", "day"),
        "clear_to_rainy": _released(
            "driving photos, clear to rain", "clear2rainy.pkl", "a2b", "driving in heavy rain", "rain"
        ),
        "rainy_to_clear": _released(
            "driving photos, rain to clear", "rainy2clear.pkl", "b2a", "driving in the day", "clear"
        ),
        "street_day_to_night": _mini("rendered streets, day to night; bundled, 128 to 256 px", "a2b", "night"),
        "street_night_to_day": _mini("rendered streets, night to day; bundled, 128 to 256 px", "b2a", "day"),
    },
    inputs=("image",),
    shard_size=128,
    batch_size=(4, 16),
    compiles=True,
    weight_uris=_weight_uris,
)
