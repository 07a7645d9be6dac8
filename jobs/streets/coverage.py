"""Silhouettes: which points of a cut-out parallelogram are solid, from texture coordinates u, v in [0, 1]."""

from collections.abc import Callable

import numpy as np

from jobs.streets.surfaces import (
    CarCabin,
    CarScreen,
    CarSide,
    Fence,
    Foliage,
    Sign,
    Skyline,
    Surface,
    columns,
)
from jobs.streets.texture import NOISE_B, Array, hashed, noise

SKYLINE_WIDTH = 600.0
BICYCLE_LENGTH, BICYCLE_HEIGHT = 1.72, 1.06
BICYCLE_AXLES, BICYCLE_RADIUS = (0.35, 1.37), 0.34
_BICYCLE_TUBES = (
    ((0.35, 0.34), (0.78, 0.36)), ((0.78, 0.36), (0.66, 0.92)), ((0.35, 0.34), (0.68, 0.78)),
    ((0.68, 0.76), (1.20, 0.80)), ((0.78, 0.36), (1.22, 0.72)), ((1.37, 0.34), (1.18, 1.00)),
    ((1.10, 1.01), (1.24, 1.00)), ((0.54, 0.93), (0.78, 0.93)),
)  # fmt: skip


def _foliage(u: Array, v: Array, parameters: Array) -> Array:
    crown = columns(Foliage, parameters)
    ragged = 0.5 * noise(u * 120 + crown.seed, v * 120 + crown.seed * 7)
    ragged = ragged + 0.5 * noise(u * 420 + crown.seed * 3, v * 420, NOISE_B)
    if crown.conifer:
        radius = np.abs(u - 0.5) * 2 / np.maximum(1.02 - v, 0.02)
    else:
        radius = np.sqrt(((u - 0.5) * 2) ** 2 + ((v - 0.5) * 2) ** 2)
    return radius + (ragged - 0.5) * 1.25 < 0.82


def _car_side(u: Array, v: Array, parameters: Array) -> Array:
    side = columns(CarSide, parameters)
    bonnet = 1 - side.drop * np.clip((u - 0.5 - side.bonnet) / (0.5 - side.bonnet), 0, 1)
    return v <= bonnet


def _car_cabin(u: Array, v: Array, parameters: Array) -> Array:
    cabin = columns(CarCabin, parameters)
    return (u >= cabin.rear * v) & (u <= 1 - cabin.front * v)


def _car_screen(u: Array, v: Array, parameters: Array) -> Array:
    return np.abs(u - 0.5) <= 0.5 - columns(CarScreen, parameters).taper * v


def _sign(u: Array, v: Array, parameters: Array) -> Array:
    kind = int(columns(Sign, parameters).kind)
    x, y = (u - 0.5) * 2, (v - 0.5) * 2
    if kind in (0, 1):
        return x * x + y * y < 1
    if kind == 3:
        return np.abs(x) + np.abs(y) < 1
    return (np.abs(x) < 0.95) & (np.abs(y) < 0.95)


def _gable(u: Array, v: Array, parameters: Array) -> Array:
    return v < 1 - np.abs(u - 0.5) * 2


def _skyline(u: Array, v: Array, parameters: Array) -> Array:
    row = columns(Skyline, parameters)
    x = u * SKYLINE_WIDTH
    if row.city:
        block = 0.4 + 0.6 * hashed(np.floor(x / 70), row.seed + 5)
        return v < 0.25 + 0.75 * hashed(np.floor(x / 14), row.seed) * block
    return v < 0.3 + 0.7 * noise(x * 0.6 + row.seed, x * 0 + row.seed)


def _bicycle(u: Array, v: Array, parameters: Array) -> Array:
    x, y = u * BICYCLE_LENGTH, v * BICYCLE_HEIGHT
    solid = np.zeros(np.shape(u), bool)
    for axle in BICYCLE_AXLES:
        radius = np.hypot(x - axle, y - BICYCLE_RADIUS)
        solid |= (np.abs(radius - BICYCLE_RADIUS + 0.03) < 0.03) | (radius < 0.05)
    for (x0, y0), (x1, y1) in _BICYCLE_TUBES:
        along_x, along_y = x1 - x0, y1 - y0
        t = np.clip(((x - x0) * along_x + (y - y0) * along_y) / (along_x**2 + along_y**2), 0, 1)
        solid |= np.hypot(x - x0 - t * along_x, y - y0 - t * along_y) < 0.028
    return solid


def _fence(u: Array, v: Array, parameters: Array) -> Array:
    fence = columns(Fence, parameters)
    x = u * fence.length
    rails = (np.abs(v - 0.25) < 0.05) | (np.abs(v - 0.75) < 0.05)
    return rails | ((x % 0.16) < 0.1) & (v < 0.96)


_SILHOUETTES: dict[int, Callable[[Array, Array, Array], Array]] = {
    Surface.FOLIAGE: _foliage,
    Surface.CAR_SIDE: _car_side,
    Surface.CAR_CABIN: _car_cabin,
    Surface.CAR_SCREEN: _car_screen,
    Surface.SIGN: _sign,
    Surface.GABLE: _gable,
    Surface.SKYLINE: _skyline,
    Surface.BICYCLE: _bicycle,
    Surface.FENCE: _fence,
}


def covered(surface: int, u: Array, v: Array, parameters: Array) -> Array:
    """True where the parallelogram is solid; ``parameters`` is the primitive's own row (PARAMETERS,)."""
    return _SILHOUETTES[surface](u, v, parameters)
