"""From what a pixel sees to what it is made of: colour, light it sends out by night and by day, gloss, class.

Whatever shines at night is recognisable by day: lit windows have curtains, open shops have a bright display, moving
cars have their lights on. A translator can therefore know the true night from the day alone.
"""

from collections.abc import Callable

import numpy as np

from jobs.streets import facade_material, ground_material, vehicle_material
from jobs.streets.coverage import SKYLINE_WIDTH
from jobs.streets.points import Material, Points
from jobs.streets.scene import Scene
from jobs.streets.surfaces import Bulb, Fence, Foliage, Plain, Sign, Signal, Skyline, Surface, columns
from jobs.streets.texture import NOISE_B, Array, hashed, mix, noise, paint, rgb

Shader = Callable[[Scene, Points, Array, Material], None]
"""Fills in a material in place, for points of one surface kind with their parameter rows (m, PARAMETERS)."""


def shade_materials(scene: Scene, points: Points) -> Material:
    """Material of all points."""
    geometry = scene.geometry
    parameters = geometry.parameters[points.primitive]
    dark = np.zeros((len(parameters), 3), np.float32)
    gloss = np.zeros(len(parameters), np.float32)
    out = Material(parameters[:, :3].copy(), dark, dark.copy(), gloss, geometry.label[points.primitive].copy())
    surface = geometry.surface[points.primitive]
    for kind in np.unique(surface):
        rows = np.nonzero(surface == kind)[0]
        part = out.take(rows)
        _SHADERS[int(kind)](scene, points.take(rows), parameters[rows], part)
        out.put(rows, part)
    return out


def _plain(scene: Scene, points: Points, parameters: Array, out: Material) -> None:
    x, y, z = points.position.T
    out.albedo *= (0.88 + 0.24 * noise(x * 20 + y * 9, z * 20 + y * 9))[:, None]
    out.gloss[:] = columns(Plain, parameters).gloss * 0.5


def _foliage(scene: Scene, points: Points, parameters: Array, out: Material) -> None:
    crown = columns(Foliage, parameters)
    leaves = noise(points.u * 260 + crown.seed, points.v * 260 + crown.seed * 3) + 0.05
    leaves = leaves + 0.7 * noise(points.u * 700, points.v * 700, NOISE_B)
    out.albedo *= (leaves * (0.55 + 0.6 * points.v))[:, None]


def _fence(scene: Scene, points: Points, parameters: Array, out: Material) -> None:
    paling = hashed(np.floor(points.u * columns(Fence, parameters).length / 0.16))
    out.albedo *= (0.8 + 0.3 * paling)[:, None]


def _cloth(scene: Scene, points: Points, parameters: Array, out: Material) -> None:
    folds = noise(points.local[:, 0] * 30 + points.primitive * 17, points.local[:, 1] * 40)
    out.albedo *= (0.86 + 0.28 * folds)[:, None]


def _head(scene: Scene, points: Points, parameters: Array, out: Material) -> None:
    _, up, ahead = points.local.T
    hair = (up > 0.45) | ((ahead < 0.05) & (up > -0.35))
    paint(out.albedo, hair, parameters[:, 3:6])


def _sign(scene: Scene, points: Points, parameters: Array, out: Material) -> None:
    kind = columns(Sign, parameters).kind
    x, y = (points.u - 0.5) * 2, (points.v - 0.5) * 2
    symbol = np.select(
        [kind == 0, kind == 1, kind == 3],
        [x * x + y * y < 0.55, (np.abs(x) < 0.22) & (np.abs(y) < 0.6), np.abs(x) + np.abs(y) > 0.85],
        (np.abs(y) < 0.12) | (np.abs(y - 0.5) < 0.1),
    )
    paint(out.albedo, symbol & (kind == 2), 0.1)
    paint(out.albedo, symbol & (kind != 2), 0.92)


def _signal(scene: Scene, points: Points, parameters: Array, out: Material) -> None:
    state = columns(Signal, parameters).state
    y = points.v * 3
    lens = np.floor(y)
    inside = (points.u - 0.5) ** 2 + ((y - lens - 0.5) * 0.93) ** 2 < 0.15
    colour = np.array(((0.1, 1, 0.45), (1, 0.7, 0.1), (1, 0.08, 0.05)), np.float32)[np.clip(lens, 0, 2).astype(int)]
    shining = inside & (lens == state)
    paint(out.albedo, np.ones(len(state), bool), 0.03)
    paint(out.albedo, inside, colour * 0.12)
    paint(out.night, shining, colour * 2.4)
    paint(out.day, shining, colour * 1.1)


def _skyline(scene: Scene, points: Points, parameters: Array, out: Material) -> None:
    row = columns(Skyline, parameters)
    column, storey = np.floor(points.u * SKYLINE_WIDTH / 2.2), np.floor(points.v * 40 / 1.3)
    window = hashed(column, storey, row.seed)
    city = row.city > 0
    leaves = 0.8 + 0.4 * noise(points.u * 5000, points.v * 90)
    out.albedo *= np.where(city, 0.82 + 0.25 * window, leaves)[:, None]
    lit = city & (window < 0.18)
    paint(out.albedo, lit, rgb(0.85, 0.70, 0.45))
    paint(out.night, lit, rgb(1, 0.8, 0.5) * np.float32(0.5))


def _lamp(scene: Scene, points: Points, parameters: Array, out: Material) -> None:
    out.night[:] = parameters[:, :3] * 9
    out.day[:] = parameters[:, :3] * 0.1
    out.albedo[:] = mix(np.float32(0.5), parameters[:, :3], np.full(len(parameters), 0.5))


def _bulb(scene: Scene, points: Points, parameters: Array, out: Material) -> None:
    bulb = columns(Bulb, parameters)
    out.night[:] = out.albedo * bulb.night[:, None]
    out.day[:] = out.albedo * bulb.day[:, None]
    out.albedo *= 0.6
    out.gloss[:] = 0.1


def _bare(scene: Scene, points: Points, parameters: Array, out: Material) -> None:
    out.gloss[:] = 0.0


_SHADERS: dict[int, Shader] = {
    Surface.GROUND: ground_material.ground,
    Surface.FACADE: facade_material.facade,
    Surface.PLAIN: _plain,
    Surface.FOLIAGE: _foliage,
    Surface.CAR_SIDE: vehicle_material.car_side,
    Surface.CAR_CABIN: vehicle_material.car_cabin,
    Surface.CAR_SCREEN: vehicle_material.car_screen,
    Surface.CAR_FACE: vehicle_material.car_face,
    Surface.LARGE_SIDE: vehicle_material.large_side,
    Surface.WHEEL: vehicle_material.wheel,
    Surface.CLOTH: _cloth,
    Surface.HEAD: _head,
    Surface.SIGN: _sign,
    Surface.GABLE: _bare,
    Surface.SIGNAL: _signal,
    Surface.SKYLINE: _skyline,
    Surface.LAMP: _lamp,
    Surface.BULB: _bulb,
    Surface.BICYCLE: _bare,
    Surface.FENCE: _fence,
}
