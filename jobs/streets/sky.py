"""The sky by day and by night, from view directions."""

import numpy as np

from jobs.streets.conditions import Condition
from jobs.streets.scene import SkyState
from jobs.streets.texture import NOISE_B, Array, dot, hashed, mix, noise, rgb, smooth, unit

_ZENITH, _HORIZON = rgb(0.16, 0.36, 0.78), rgb(0.70, 0.80, 0.92)
_NIGHT_ZENITH, _NIGHT_HORIZON = rgb(0.0012, 0.0020, 0.0062), rgb(0.0200, 0.0165, 0.0200)


def sky_colour(state: SkyState, condition: Condition, rays: Array) -> Array:
    """Linear RGB of the sky along ``rays`` (..., 3)."""
    direction = unit(rays)
    height = np.clip(direction[..., 1], 0, 1)
    rise = np.sqrt(height)
    plane_x, plane_z = direction[..., 0] / (height + 0.1), direction[..., 2] / (height + 0.1)
    clouds = noise(plane_x * 20 + state.offset[0], plane_z * 20 + state.offset[1])
    if condition.time == "night":
        return _night(state, condition, direction, height, rise, clouds)
    if condition.weather.overcast:
        structure = 0.18 * (clouds - 0.5) * (condition.weather.name != "fog")
        return rgb(*condition.weather.cloud_sky) * (1.12 - 0.22 * rise + structure)[..., None]
    colour = mix(_HORIZON, _ZENITH, rise * 0.95)
    clouds = clouds * 0.75 + noise(plane_x * 70, plane_z * 70, NOISE_B) * 0.25
    cover = smooth(1 - state.clouds, 1.28 - state.clouds, clouds) * smooth(0, 0.1, height)
    shade = smooth(1 - state.clouds, 1.1, clouds)
    colour = mix(colour, mix(rgb(1.02, 1.0, 0.98), rgb(0.66, 0.68, 0.73), shade), cover * 0.92)
    towards_sun = np.clip(dot(direction, state.sun), 0, 1)
    return colour + (towards_sun**350 * 6 + towards_sun**12 * 0.25)[..., None] * rgb(1, 0.93, 0.8)


def _night(state: SkyState, condition: Condition, direction: Array, height: Array, rise: Array, clouds: Array) -> Array:
    colour = mix(_NIGHT_HORIZON, _NIGHT_ZENITH, np.minimum(rise * 1.15, 1))
    if condition.weather.overcast:
        return colour * 0.5 + rgb(*condition.weather.night_air) * 0.45
    # The same clouds as by day, faintly lit from the town below.
    cover = smooth(1 - state.clouds, 1.28 - state.clouds, clouds)
    cell = hashed(np.floor(np.arctan2(direction[..., 0], direction[..., 2]) * 420), np.floor(direction[..., 1] * 420))
    stars = (cell > 0.9988) & (height > 0.12)
    colour = colour + (stars * (1 - cover) * 0.16)[..., None]
    return mix(colour, colour * 1.5 + 0.0022, cover * 0.7)
