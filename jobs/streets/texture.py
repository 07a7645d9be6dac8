"""Value noise, integer hashes and small array helpers that every surface is made of."""

from collections.abc import Sequence
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
Colour = tuple[float, float, float]
"""Linear RGB."""
NOISE_SIZE = 256


def rgb(red: float, green: float, blue: float) -> Array:
    """A colour (or any 3-vector) as float32 (3,)."""
    return np.array((red, green, blue), np.float32)


def pick(rng: np.random.Generator, colours: Sequence[Colour]) -> Colour:
    """One of ``colours`` at random."""
    return colours[int(rng.integers(len(colours)))]


def tinted(colour: Colour, factor: float) -> Colour:
    """A lighter or darker shade."""
    red, green, blue = colour
    return red * factor, green * factor, blue * factor


def hashed(*keys: Any) -> Array:
    """Uniform float32 in [0, 1) from integer-valued keys (broadcast together): the same in every view and condition."""
    state: Any = np.uint32(2166136261)
    with np.errstate(over="ignore"):
        for key in keys:
            state = (state ^ np.asarray(key).astype(np.int64).astype(np.uint32)) * np.uint32(16777619)
            state = (state ^ (state >> np.uint32(15))) * np.uint32(2246822519)
            state = state ^ (state >> np.uint32(13))
    return (state >> np.uint32(8)).astype(np.float32) / np.float32(1 << 24)


def _fractal(seed: int, octaves: int = 6) -> Array:
    """Tileable fractal value noise in [0, 1], float32 (NOISE_SIZE, NOISE_SIZE)."""
    rng = np.random.default_rng(seed)
    field = np.zeros((NOISE_SIZE, NOISE_SIZE), np.float32)
    amplitude = 1.0
    for octave in range(octaves):
        cells = 4 << octave
        grid = rng.random((cells, cells)).astype(np.float32)
        position = np.arange(NOISE_SIZE) * cells / NOISE_SIZE
        low = position.astype(int)
        fraction = (position - low).astype(np.float32)
        fraction = fraction * fraction * (3 - 2 * fraction)
        high = (low + 1) % cells
        rows = grid[:, low] * (1 - fraction) + grid[:, high] * fraction
        field += amplitude * (rows[low] * (1 - fraction)[:, None] + rows[high] * fraction[:, None])
        amplitude *= 0.55
    return (field - field.min()) / (field.max() - field.min())


NOISE = _fractal(7)
NOISE_B = _fractal(8)


def noise(x: Any, y: Any, field: Array = NOISE) -> Array:
    """Nearest sample of a tileable noise field at texel coordinates ``x``, ``y`` (any shape); float32 in [0, 1]."""
    column = np.floor(x).astype(np.int64) & (NOISE_SIZE - 1)
    row = np.floor(y).astype(np.int64) & (NOISE_SIZE - 1)
    return field[row, column]


def dot(a: Array, b: Array) -> Array:
    """Scalar products over the last axis, of length 3 (broadcast). No BLAS: its result depends on its thread count."""
    return a[..., 0] * b[..., 0] + a[..., 1] * b[..., 1] + a[..., 2] * b[..., 2]


def unit(vectors: Array) -> Array:
    """Vectors (..., 3) scaled to length one."""
    return vectors / np.sqrt(dot(vectors, vectors))[..., None]


def smooth(low: float, high: float, x: Any) -> Array:
    """Smoothstep: 0 at ``low``, 1 at ``high`` (``low`` may be the larger one)."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def mix(a: Any, b: Any, weight: Any) -> Array:
    """Blend colours ``a`` and ``b`` (..., 3) by ``weight`` (...)."""
    return a + (b - a) * np.asarray(weight)[..., None]


def paint(colours: Array, mask: Array, colour: Any) -> None:
    """Set ``colours`` (n, 3) to ``colour`` ((3,), (n, 3) or a grey) where ``mask`` (n,) holds, in place."""
    value = np.asarray(colour, np.float32)
    if value.ndim == 2:
        colours[mask] = value[mask]
    else:
        colours[mask] = value
