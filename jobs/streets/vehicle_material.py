"""Car bodies, glass, lights and wheels."""

import numpy as np

from jobs.streets.points import Material, Points
from jobs.streets.scene import Scene
from jobs.streets.surfaces import CarFace, CarSide, LargeSide, columns
from jobs.streets.texture import Array, hashed, paint, rgb
from jobs.streets.vehicles import AXLES

GLASS = rgb(0.05, 0.06, 0.075)
_TAIL, _HEAD = rgb(1.0, 0.04, 0.025), rgb(1.0, 0.96, 0.85)


def car_side(scene: Scene, points: Points, parameters: Array, out: Material) -> None:
    """Lower side of a car: doors, sill and the dark of the wheel arches."""
    side = columns(CarSide, parameters)
    x, y = (points.u - 0.5) * side.length, points.v * side.height + side.sill
    out.albedo *= (0.82 + 0.28 * points.v)[:, None]
    door = (np.abs(x - 0.02 * side.length) < 0.012) | ((side.doors > 1) & (np.abs(x + 0.2 * side.length) < 0.012))
    paint(out.albedo, door & (points.v > 0.12), out.albedo * 0.5)
    handle = (np.abs(np.abs(x + 0.09 * side.length) - 0.11 * side.length) < 0.08) & (np.abs(points.v - 0.82) < 0.03)
    paint(out.albedo, handle, out.albedo * 0.6)
    paint(out.albedo, points.v < 0.12, 0.05)
    axle = np.minimum(np.abs(x - AXLES * side.length), np.abs(x + AXLES * side.length))
    paint(out.albedo, np.hypot(axle, y - side.wheel) < side.wheel + 0.07, 0.02)
    out.gloss[:] = 0.25


def car_cabin(scene: Scene, points: Points, parameters: Array, out: Material) -> None:
    """Side windows between pillars, and the roof rail."""
    u, v = points.u, points.v
    rear, front = parameters[:, 3] * v, 1 - parameters[:, 4] * v
    glass = (v > 0.06) & (v < 0.86) & (u > rear + 0.04) & (u < front - 0.05) & (np.abs(u - 0.46) > 0.018)
    paint(out.albedo, glass, GLASS)
    out.gloss[:] = np.where(glass, 0.6, 0.25)


def car_screen(scene: Scene, points: Points, parameters: Array, out: Material) -> None:
    """Windscreens and rear windows with their pillars."""
    half = 0.5 - parameters[:, 3] * points.v
    glass = (np.abs(points.u - 0.5) < half - 0.035) & (points.v > 0.05) & (points.v < 0.93)
    paint(out.albedo, glass, GLASS)
    out.gloss[:] = np.where(glass, 0.6, 0.25)


def car_face(scene: Scene, points: Points, parameters: Array, out: Material) -> None:
    """Fronts and rears: lights, grille, bumper, plate; wide windows on buses and lorry cabs."""
    face = columns(CarFace, parameters)
    x, y = np.abs(points.u - 0.5) * 2, points.v
    rear, large = face.rear > 0, face.large > 0
    lamp = (x > 0.62) & (x < 0.95) & (np.abs(y - np.where(large, 0.16, 0.62)) < np.where(large, 0.05, 0.13))
    stop_lamp = rear & (x < 0.18) & (np.abs(y - np.where(large, 0.95, 0.93)) < 0.025)
    grille = ~rear & (x < 0.55) & (np.abs(y - np.where(large, 0.16, 0.5)) < np.where(large, 0.06, 0.14))
    bumper = y < np.where(large, 0.07, 0.2)
    plate = (x < 0.24) & (np.abs(y - np.where(large, 0.09, 0.28)) < np.where(large, 0.022, 0.07))
    screen = large & (y > 0.42) & (y < 0.88) & (x < 0.9) & (~rear | ((face.large < 2) & (x < 0.6)))
    doors = rear & (face.large > 1) & (x < 0.02) & (y > 0.22)
    out.albedo *= (0.75 + 0.3 * y)[:, None]
    paint(out.albedo, bumper, 0.08)
    paint(out.albedo, grille, 0.04)
    paint(out.albedo, screen, GLASS)
    paint(out.albedo, doors, 0.2)
    paint(out.albedo, plate, 0.7)
    driving, braking = face.on > 0, face.brake > 0
    paint(out.albedo, (lamp | stop_lamp) & rear, rgb(0.34, 0.03, 0.03))
    head = lamp & ~rear
    paint(out.albedo, head, np.where(driving, 0.85, 0.30)[:, None].repeat(3, 1))
    paint(out.night, lamp & rear & driving, _TAIL * np.where(braking, 3.4, 1.0)[:, None])
    paint(out.night, stop_lamp & braking, _TAIL * 3.4)
    paint(out.day, (lamp | stop_lamp) & rear & braking, _TAIL * 0.9)
    paint(out.day, lamp & rear & driving & ~braking, _TAIL * 0.06)
    paint(out.night, head & driving, _HEAD * 9)
    paint(out.day, head & driving, _HEAD * 0.9)
    out.gloss[:] = np.where(screen, 0.5, np.where(lamp | stop_lamp, 0.05, 0.2))


def large_side(scene: Scene, points: Points, parameters: Array, out: Material) -> None:
    """Sides of buses (lit windows) and of lorries (closed box, door of the cab)."""
    side = columns(LargeSide, parameters)
    x, y = points.u * side.length, points.v
    bus, cab = side.bus == 1, side.bus == 2
    pane = bus & (y > 0.42) & (y < 0.84) & ((x % 1.45) > 0.12)
    cab_pane = cab & (y > 0.5) & (y < 0.86) & (x > 0.5) & (x < side.length - 0.25)
    seats = 0.6 + 0.4 * hashed(np.floor(x / 0.7), 5) * (y < 0.6)
    paint(out.albedo, pane, rgb(0.42, 0.38, 0.28) * seats[:, None])
    paint(out.albedo, cab_pane, GLASS)
    paint(out.albedo, bus & (np.abs(y - 0.3) < 0.03), 0.85)
    paint(out.albedo, (y < 0.06) | (~bus & ~cab & (((x / 1.9) % 1) < 0.012)), out.albedo * 0.5)
    paint(out.night, pane, rgb(0.9, 0.85, 0.7) * (0.8 * seats)[:, None])
    paint(out.day, pane, rgb(0.9, 0.85, 0.7) * (0.06 * seats)[:, None])
    out.gloss[:] = np.where(pane, 0.15, np.where(cab_pane, 0.5, 0.1))


def wheel(scene: Scene, points: Points, parameters: Array, out: Material) -> None:
    """Tyre, rim with spokes, hub; only the outer side (+x of the wheel) has a bright rim."""
    outward, up, ahead = points.local.T
    radius = np.hypot(up, ahead)
    spokes = np.sin(np.arctan2(up, ahead) * 5) > -0.25
    face = np.abs(outward) > 0.2
    paint(out.albedo, face & (radius < 0.66), 0.1)
    paint(out.albedo, face & (radius < 0.62) & spokes, 0.42)
    paint(out.albedo, face & (radius < 0.16), 0.25)
    out.gloss[:] = 0.0
