"""Cars, buses and trucks: bodies, glass, under-bodies and wheels as geometry."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jobs.streets.geometry import Mesh, Placement, Vector
from jobs.streets.surfaces import CarCabin, CarFace, CarScreen, CarSide, LargeSide, Plain, Surface
from jobs.streets.taxonomy import Label
from jobs.streets.texture import Colour, pick, tinted

WHEEL_RADIUS = 0.33
AXLES = 0.31
"""Axles of a car lie this share of its length before and behind its middle."""

_PAINTS = (
    (0.75, 0.75, 0.77), (0.06, 0.06, 0.07), (0.50, 0.52, 0.54), (0.55, 0.05, 0.05), (0.07, 0.14, 0.40),
    (0.85, 0.85, 0.82), (0.28, 0.30, 0.30), (0.10, 0.28, 0.20), (0.72, 0.60, 0.20),
)  # fmt: skip
_CARGO_BOXES = ((0.78, 0.78, 0.76), (0.70, 0.66, 0.52), (0.20, 0.30, 0.48), (0.62, 0.64, 0.66))
_TYRE = Plain(0.025, 0.025, 0.027)
_UNDER = Plain(0.015, 0.015, 0.016)


@dataclass(frozen=True)
class CarShape:
    """A body type. Glass house corners are shares of the length from the middle, rear to front."""

    length: float
    height: float
    rear_base: float
    rear_roof: float
    front_roof: float
    front_base: float
    doors: int = 2


CAR_SHAPES = (
    CarShape(4.0, 1.46, -0.49, -0.44, 0.16, 0.32),
    CarShape(4.6, 1.42, -0.36, -0.22, 0.12, 0.28),
    CarShape(4.5, 1.68, -0.49, -0.42, 0.17, 0.32),
    CarShape(4.9, 1.95, -0.49, -0.47, 0.27, 0.38, doors=1),
)
"""Hatchback, saloon, off-roader, van."""


@dataclass(frozen=True)
class Vehicle:
    """A vehicle's footprint and lights, for shadows on the road and for light at night."""

    place: Placement
    width: float
    length: float
    driving: bool
    braking: bool
    twin: bool = True


def body_paint(rng: np.random.Generator) -> Colour:
    """A car's colour."""
    return tinted(pick(rng, _PAINTS), rng.uniform(0.85, 1.1))


def car(mesh: Mesh, place: Placement, rng: np.random.Generator, instance: int, *, driving: bool) -> Vehicle:
    """Add a car of a random body type."""
    shape = CAR_SHAPES[int(rng.integers(len(CAR_SHAPES)))]
    width = float(rng.uniform(1.72, 1.9))
    colour = body_paint(rng)
    braking = bool(driving and rng.random() < 0.5)
    length, height, sill = shape.length, shape.height, 0.17
    belt, half, rear, front = height * 0.58, width / 2, -shape.length / 2, shape.length / 2
    roof_half = half * 0.84
    drop = 0.12 * height
    gloss = (*colour, 0.5)
    across, up = place.right * np.float32(width), np.array((0, 1, 0), np.float32)

    def add(origin: Vector, edge_u: Vector, edge_v: Vector, surface: Surface, parameters: Sequence[float]) -> None:
        mesh.quad(origin, edge_u, edge_v, surface, Label.CAR, parameters, instance)

    side = CarSide(
        *colour, length, belt - sill, sill, shape.front_base, drop / (belt - sill), WHEEL_RADIUS, shape.doors
    )
    glass_rear, glass_front = shape.rear_base * length, shape.front_base * length
    roof_rear, roof_front = shape.rear_roof * length, shape.front_roof * length
    house = glass_front - glass_rear
    cabin = CarCabin(*colour, (roof_rear - glass_rear) / house, (glass_front - roof_front) / house)
    taper = (half - roof_half) / width
    for sign in (-1, 1):
        add(
            place.point(sign * half, sill, rear), place.vector(0, 0, length), up * (belt - sill), Surface.CAR_SIDE, side
        )
        lean = place.vector(-sign * (half - roof_half), height - belt, 0)
        add(place.point(sign * half, belt, glass_rear), place.vector(0, 0, house), lean, Surface.CAR_CABIN, cabin)
    bonnet = place.vector(0, -drop, front - glass_front)
    add(place.point(-half, belt, glass_front), across, bonnet, Surface.PLAIN, gloss)
    lean_front = place.vector(0, height - belt, roof_front - glass_front)
    lean_rear = place.vector(0, height - belt, roof_rear - glass_rear)
    add(place.point(-half, belt, glass_front), across, lean_front, Surface.CAR_SCREEN, CarScreen(*colour, taper))
    add(place.point(-half, belt, glass_rear), across, lean_rear, Surface.CAR_SCREEN, CarScreen(*colour, taper))
    roof = place.right * np.float32(2 * roof_half)
    add(
        place.point(-roof_half, height, roof_rear),
        roof,
        place.vector(0, 0, roof_front - roof_rear),
        Surface.PLAIN,
        gloss,
    )
    add(place.point(-half, belt, rear), across, place.vector(0, 0, glass_rear - rear), Surface.PLAIN, gloss)
    face_front = CarFace(*colour, 0, driving, 0, 0)
    face_rear = CarFace(*colour, 1, driving, braking, 0)
    add(place.point(-half, sill, front), across, up * (belt - drop - sill), Surface.CAR_FACE, face_front)
    add(place.point(-half, sill, rear), across, up * (belt - sill), Surface.CAR_FACE, face_rear)
    _under_body(mesh, place, width, length, sill, Label.CAR, instance)
    for ahead in (-AXLES * length, AXLES * length):
        _wheels(mesh, place, half, ahead, WHEEL_RADIUS, Label.CAR, instance)
    return Vehicle(place, width, length, driving, braking)


def bus(mesh: Mesh, place: Placement, rng: np.random.Generator, instance: int) -> Vehicle:
    """Add a city bus in service: lit inside by night, driving."""
    colour, braking = body_paint(rng), bool(rng.random() < 0.5)
    width, height, length = 2.45, 2.75, 10.2
    _large_body(mesh, place, (width, height, length), (0, 0.32), colour, 1, Label.BUS, instance, braking)
    for ahead in (-length * 0.27, length * 0.33):
        _wheels(mesh, place, width / 2, ahead, 0.48, Label.BUS, instance)
    return Vehicle(place, width, length, True, braking)


def truck(mesh: Mesh, place: Placement, rng: np.random.Generator, instance: int) -> Vehicle:
    """Add a delivery truck: cab and box, driving."""
    colour, braking = body_paint(rng), bool(rng.random() < 0.5)
    cargo = pick(rng, _CARGO_BOXES)
    width, length = 2.35, 7.8
    cab, box = 1.9, 5.7
    _large_body(
        mesh,
        place,
        (width, 2.55, box),
        ((box - length) / 2, 0.62),
        cargo,
        0,
        Label.TRUCK,
        instance,
        braking,
        front=False,
    )
    _large_body(
        mesh,
        place,
        (width - 0.15, 1.95, cab),
        ((length - cab) / 2, 0.38),
        colour,
        2,
        Label.TRUCK,
        instance,
        False,
        rear=False,
    )
    chassis = place.point(-0.5, 0.45, -length / 2)
    for sign in (-1, 1):
        rail = place.point(sign * 0.5, 0.42, -length / 2)
        mesh.quad(rail, place.vector(0, 0, length), (0, 0.25, 0), Surface.PLAIN, Label.TRUCK, _UNDER, instance)
    mesh.quad(chassis, place.vector(1.0, 0, 0), (0, 0.2, 0), Surface.PLAIN, Label.TRUCK, _UNDER, instance)
    for ahead in (-length * 0.28, length * 0.34):
        _wheels(mesh, place, width / 2 - 0.05, ahead, 0.45, Label.TRUCK, instance)
    return Vehicle(place, width, length, True, braking)


def _large_body(
    mesh: Mesh,
    place: Placement,
    size: tuple[float, float, float],
    offset: tuple[float, float],
    colour: Colour,
    kind: int,
    label: Label,
    instance: int,
    braking: bool,
    *,
    front: bool = True,
    rear: bool = True,
) -> None:
    """A box body of (width, height, length) whose middle lies ``offset`` = (ahead, up) away; kind 1 is a bus."""
    width, height, length = size
    middle, base = offset
    back, nose, half = middle - length / 2, middle + length / 2, width / 2
    up, across = np.array((0, height, 0), np.float32), place.right * np.float32(width)
    side = LargeSide(*colour, length, height, kind)
    for sign in (-1, 1):
        origin = place.point(sign * half, base, back)
        mesh.quad(origin, place.vector(0, 0, length), up, Surface.LARGE_SIDE, label, side, instance)
    roof = place.point(-half, base + height, back)
    mesh.quad(roof, across, place.vector(0, 0, length), Surface.PLAIN, label, tinted(colour, 0.9), instance)
    faces = (
        (nose, front, CarFace(*colour, 0, 1, 0, 1)),
        (back, rear, CarFace(*colour, 1, 1, float(braking), 2 if kind == 0 else 1)),
    )
    for ahead, has_lights, face in faces:
        surface, parameters = (Surface.CAR_FACE, face) if has_lights else (Surface.PLAIN, tinted(colour, 0.8))
        mesh.quad(place.point(-half, base, ahead), across, up, surface, label, parameters, instance)
    under = place.point(-half, base, back)
    mesh.quad(under, across, place.vector(0, 0, length), Surface.PLAIN, label, _UNDER, instance)


def _under_body(
    mesh: Mesh, place: Placement, width: float, length: float, sill: float, label: Label, instance: int
) -> None:
    corner = place.point(-width / 2, sill, -length / 2)
    mesh.quad(corner, place.vector(width, 0, 0), place.vector(0, 0, length), Surface.PLAIN, label, _UNDER, instance)


def _wheels(
    mesh: Mesh, place: Placement, half: float, ahead: float, radius: float, label: Label, instance: int
) -> None:
    """A pair of wheels, tread and hub, whose outer faces stand a finger's breadth proud of the body."""
    up, along = np.array((0, radius, 0), np.float32), place.ahead * np.float32(radius)
    for sign in (-1, 1):
        axes = (place.right * np.float32(sign * 0.13), up, along)
        mesh.ellipsoid(place.point(sign * (half - 0.11), radius, ahead), axes, Surface.WHEEL, label, _TYRE, instance)
