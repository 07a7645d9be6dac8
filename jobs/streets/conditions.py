"""Conditions a scene can be rendered in: a time of day with a weather, and what each weather does to light and air."""

import difflib
from dataclasses import dataclass
from typing import Literal

from methods.errors import InputError

Time = Literal["day", "night"]


@dataclass(frozen=True)
class Weather:
    """How one weather looks; colours are linear RGB, extinction is per metre."""

    name: str
    bdd100k: str
    phrase: str
    extinction: float
    day_air: tuple[float, float, float]
    night_air: tuple[float, float, float]
    night_ambient: tuple[float, float, float]
    overcast: float = 0.0
    cloud_sky: tuple[float, float, float] = (0.0, 0.0, 0.0)
    lamp_gain: float = 1.0
    halo_gain: float = 1.0
    exposure: float = 1.0


CLEAR = Weather(
    "clear", "clear", "", 0.0016, (0.68, 0.77, 0.88), (0.018, 0.017, 0.021), (0.0065, 0.0085, 0.016), exposure=1.12
)
FOG = Weather(
    "fog", "foggy", " in dense fog", 0.028, (0.74, 0.75, 0.76), (0.100, 0.094, 0.090), (0.014, 0.014, 0.017),
    overcast=0.9, cloud_sky=(0.72, 0.73, 0.74), lamp_gain=1.8, halo_gain=2.6, exposure=0.98,
)  # fmt: skip
RAIN = Weather(
    "rain", "rainy", " in the rain", 0.011, (0.45, 0.48, 0.52), (0.030, 0.028, 0.031), (0.010, 0.010, 0.016),
    overcast=0.62, cloud_sky=(0.42, 0.45, 0.49), lamp_gain=1.8, halo_gain=1.6,
)  # fmt: skip
SNOW = Weather(
    "snow", "snowy", " in the snow", 0.011, (0.76, 0.78, 0.81), (0.058, 0.057, 0.064), (0.024, 0.026, 0.036),
    overcast=0.92, cloud_sky=(0.74, 0.76, 0.79), lamp_gain=1.5, halo_gain=1.5, exposure=0.98,
)  # fmt: skip


@dataclass(frozen=True)
class Condition:
    """One look of a scene. Only shading depends on it: geometry, materials and truth are shared by all conditions."""

    name: str
    time: Time
    weather: Weather


CONDITIONS: dict[str, Condition] = {
    condition.name: condition
    for condition in (
        Condition("day", "day", CLEAR),
        Condition("night", "night", CLEAR),
        Condition("fog", "day", FOG),
        Condition("rain", "day", RAIN),
        Condition("snow", "day", SNOW),
        Condition("night-fog", "night", FOG),
        Condition("night-rain", "night", RAIN),
        Condition("night-snow", "night", SNOW),
    )
}


def condition(name: str | Condition) -> Condition:
    """The condition called ``name``; :class:`InputError` names the nearest one where there is none."""
    if isinstance(name, Condition):
        return name
    if name in CONDITIONS:
        return CONDITIONS[name]
    near = difflib.get_close_matches(name, CONDITIONS, 1, cutoff=0.5)
    hint = f"did you mean '{near[0]}'?" if near else f"choose from {', '.join(CONDITIONS)}."
    raise InputError(f"conditions: there is no condition '{name}': {hint}")
