"""The light description of CycleGAN-Turbo; imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from methods.base import MethodInfo, Preset
from methods.cyclegan_turbo.params import CycleGANTurboParams

_RELEASE = "https://www.cs.cmu.edu/~img2img-turbo/models"
_MINI = "bundled://street-day2night"


_NIGHT, _DAY = {"timeofday": "night"}, {"timeofday": "daytime"}
_RAINY, _CLEAR = {"weather": "rainy"}, {"weather": "clear"}


def _released(summary: str, file: str, direction: str, caption: str, labels: Mapping[str, str]) -> Preset:
    return Preset(summary, f"{_RELEASE}/{file}", {"direction": direction, "caption": caption}, labels)


def _mini(summary: str, direction: str, labels: Mapping[str, str]) -> Preset:
    return Preset(summary, _MINI, {"direction": direction, "image_prep": "multiple_of_8"}, labels)


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
            "driving photos, day to night", "day2night.pkl", "a2b", "driving in the night", _NIGHT
        ),
        "night_to_day": _released("driving photos, night to day", "night2day.pkl", "b2a", "driving in the day", _DAY),
        "clear_to_rainy": _released(
            "driving photos, clear to rain", "clear2rainy.pkl", "a2b", "driving in heavy rain", _RAINY
        ),
        "rainy_to_clear": _released(
            "driving photos, rain to clear", "rainy2clear.pkl", "b2a", "driving in the day", _CLEAR
        ),
        "street_day_to_night": _mini("rendered streets, day to night; bundled, 128 to 256 px", "a2b", _NIGHT),
        "street_night_to_day": _mini("rendered streets, night to day; bundled, 128 to 256 px", "b2a", _DAY),
    },
    inputs=("image",),
    shard_size=128,
    batch_size=(4, 16),
    weight_uris=_weight_uris,
)
