"""Bicycles and motorcycles, parked or ridden."""

from collections.abc import Sequence

import numpy as np

from jobs.streets.coverage import BICYCLE_AXLES, BICYCLE_HEIGHT, BICYCLE_LENGTH, BICYCLE_RADIUS
from jobs.streets.geometry import Mesh, Placement
from jobs.streets.surfaces import Bulb, Plain, Surface
from jobs.streets.taxonomy import Label
from jobs.streets.texture import Array
from jobs.streets.vehicles import Vehicle, body_paint

_RUBBER = Plain(0.03, 0.03, 0.03)
_METAL = Plain(0.35, 0.35, 0.37, 0.3)
HEADLIGHT = Bulb(1.0, 0.96, 0.85, 9.0, 0.9)
TAIL_LIGHT = Bulb(1.0, 0.05, 0.03, 1.6, 0.30)


def bicycle(mesh: Mesh, place: Placement, rng: np.random.Generator, instance: int, *, lights: bool) -> None:
    """A bicycle along ``place``'s heading; ``lights`` when it is being ridden."""
    label = Label.BICYCLE
    colour = body_paint(rng)
    along = place.vector(0, 0, BICYCLE_LENGTH)
    origin = place.point(0, 0, -BICYCLE_LENGTH / 2)
    mesh.quad(origin, along, (0, BICYCLE_HEIGHT, 0), Surface.BICYCLE, label, colour, instance)
    for axle in BICYCLE_AXLES:
        # A flat frame vanishes seen from behind: the tyres' treads and the bar give it its width.
        ahead = axle - BICYCLE_LENGTH / 2
        tread = place.point(-0.025, 0, ahead)
        mesh.quad(tread, place.vector(0.05, 0, 0), (0, 2 * BICYCLE_RADIUS, 0), Surface.PLAIN, label, _RUBBER, instance)
    bar = (place.point(-0.28, 1.0, 0.34), place.point(0.28, 1.0, 0.34))
    mesh.limb(*bar, 0.03, Surface.PLAIN, label, _METAL, instance)
    mesh.limb(place.point(0, 0.95, -0.34), place.point(0, 0.95, -0.08), 0.07, Surface.PLAIN, label, _RUBBER, instance)
    if lights:
        _bulb(mesh, place.point(0, 0.92, 0.46), 0.05, HEADLIGHT._replace(night=4.0), label, instance)
        _bulb(mesh, place.point(0, 0.72, -0.42), 0.05, TAIL_LIGHT, label, instance)


def motorcycle(mesh: Mesh, place: Placement, rng: np.random.Generator, instance: int, *, lights: bool) -> Vehicle:
    """A motorcycle along ``place``'s heading; ``lights`` when it is being ridden."""
    label = Label.MOTORCYCLE
    colour = body_paint(rng)
    up = np.array((0, 1, 0), np.float32)

    def blob(
        right: float, height: float, ahead: float, size: tuple[float, float, float], parameters: Sequence[float]
    ) -> None:
        axes = (place.right * size[0], up * size[1], place.ahead * size[2])
        mesh.ellipsoid(place.point(right, height, ahead), axes, Surface.PLAIN, label, parameters, instance)

    for ahead in (-0.68, 0.70):
        axes = (place.right * 0.08, up * 0.31, place.ahead * 0.31)
        mesh.ellipsoid(place.point(0, 0.31, ahead), axes, Surface.WHEEL, label, _RUBBER, instance)
    blob(0, 0.82, 0.18, (0.17, 0.16, 0.34), (*colour, 0.5))
    blob(0, 0.80, -0.38, (0.15, 0.09, 0.42), Plain(0.04, 0.04, 0.045, 0.1))
    blob(0, 0.48, 0.05, (0.19, 0.24, 0.36), Plain(0.12, 0.12, 0.13, 0.3))
    blob(0, 0.92, 0.55, (0.16, 0.18, 0.14), (*colour, 0.4))
    blob(0, 0.62, -0.62, (0.11, 0.10, 0.26), (*colour, 0.4))
    for side in (-1, 1):
        top, axle = place.point(side * 0.09, 0.92, 0.45), place.point(side * 0.09, 0.31, 0.70)
        mesh.limb(top, axle, 0.04, Surface.PLAIN, label, _METAL, instance)
    mesh.limb(
        place.point(-0.34, 1.04, 0.42), place.point(0.34, 1.04, 0.42), 0.035, Surface.PLAIN, label, _RUBBER, instance
    )
    head, tail = (HEADLIGHT, TAIL_LIGHT) if lights else (Bulb(0.7, 0.7, 0.68, 0, 0), Bulb(0.35, 0.03, 0.03, 0, 0))
    _bulb(mesh, place.point(0, 0.88, 0.69), 0.085, head, label, instance)
    _bulb(mesh, place.point(0, 0.76, -0.83), 0.075, tail, label, instance)
    return Vehicle(place, 0.5, 2.0, lights, False, twin=False)


def _bulb(mesh: Mesh, centre: Array, radius: float, bulb: Bulb, label: Label, instance: int) -> None:
    axes = tuple(np.eye(3, dtype=np.float32) * np.float32(radius))
    mesh.ellipsoid(centre, (axes[0], axes[1], axes[2]), Surface.BULB, label, bulb, instance)
