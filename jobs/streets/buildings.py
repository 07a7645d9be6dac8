"""Rows of buildings on both sides, garden walls and fences before them, and the far skyline."""

from dataclasses import dataclass

import numpy as np

from jobs.streets.geometry import Mesh, Placement
from jobs.streets.road import Road
from jobs.streets.surfaces import Facade, Fence, Plain, Skyline, Surface
from jobs.streets.taxonomy import Label
from jobs.streets.texture import Array, Colour, pick, tinted

SEEDS = 1 << 20
"""Seeds of textures stay below this, so that float32 holds them exactly."""

_WALLS = (
    (0.55, 0.32, 0.25), (0.62, 0.55, 0.45), (0.72, 0.68, 0.60), (0.42, 0.42, 0.45), (0.50, 0.38, 0.30),
    (0.66, 0.60, 0.62), (0.35, 0.40, 0.46), (0.75, 0.70, 0.50), (0.60, 0.42, 0.36),
)  # fmt: skip
_ROOFS = ((0.42, 0.20, 0.15), (0.30, 0.27, 0.27), (0.25, 0.25, 0.30))
_FENCES = ((0.75, 0.74, 0.70), (0.36, 0.26, 0.17), (0.25, 0.30, 0.27))
_AWNINGS = ((0.55, 0.12, 0.10), (0.12, 0.32, 0.18), (0.14, 0.20, 0.42), (0.70, 0.62, 0.45))


@dataclass(frozen=True)
class District:
    """What a kind of street is lined with; ranges are (low, high) in metres."""

    setback: float
    heights: tuple[float, float]
    fronts: tuple[float, float]
    gaps: tuple[float, float]
    trees: float
    people: float
    city: bool


DISTRICTS = {
    "downtown": District(0.0, (10, 42), (8, 20), (0.0, 0.4), 0.35, 9, True),
    "residential": District(4.0, (6, 12), (8, 20), (0.5, 5), 0.75, 3, False),
    "avenue": District(1.5, (8, 24), (8, 20), (0.5, 5), 0.70, 6, True),
    "suburb": District(9.0, (4, 7), (9, 13), (3, 9), 0.80, 2, False),
}


@dataclass(frozen=True)
class ShopLight:
    """Light that a shop front throws on the pavement."""

    position: Array


def add_buildings(mesh: Mesh, road: Road, district: District, rng: np.random.Generator) -> list[ShopLight]:
    """Line both sides of the road; gives the lights of the shops."""
    shops: list[ShopLight] = []
    for side in (-1, 1):
        z = rng.uniform(-14, -4)
        while z < 150:
            front = rng.uniform(*district.fronts)
            crossing = road.crossing
            if crossing and z + front > crossing.start - 2 and z < crossing.end + 2:
                z = crossing.end + rng.uniform(2.5, 4)
                continue
            shops += _building(mesh, road, district, rng, side, z, front)
            z += front + rng.uniform(*district.gaps)
    return shops


def _building(
    mesh: Mesh, road: Road, district: District, rng: np.random.Generator, side: int, z: float, front: float
) -> list[ShopLight]:
    height, depth = rng.uniform(*district.heights), rng.uniform(9, 14)
    middle = z + front / 2
    x = side * (road.edge + district.setback + depth / 2 + rng.uniform(0, 0.6)) + road.bend_at(middle)
    place = Placement(x, middle, road.heading(middle))
    wall = tinted(pick(rng, _WALLS), rng.uniform(0.75, 1.1))
    style = int(rng.choice((0, 1, 2), p=(0.62, 0.20, 0.18))) if district.city else 0
    shop = bool(district.city and rng.random() < 0.8)
    facade = Facade(
        *wall,
        bay=rng.uniform(1.9, 3.4),
        storey=rng.uniform(2.9, 3.6),
        window_width=rng.uniform(0.40, 0.62),
        window_height=rng.uniform(0.45, 0.65),
        lit=rng.uniform(0.18, 0.6),
        seed=float(rng.integers(SEEDS)),
        shops=float(shop),
        style=style,
    )
    size = (depth, height, front - rng.uniform(0, 0.5))
    mesh.box(place, size, Surface.FACADE, Label.BUILDING, facade, top=tinted(wall, 0.55))
    if not district.city:
        if rng.random() < 0.75:
            _pitched_roof(mesh, place, size, wall, rng)
        _front_garden(mesh, road, rng, side, z, front)
    elif rng.random() < 0.25:
        roof_room = Placement(x - side * rng.uniform(0, 3), middle, place.yaw, y=height)
        mesh.box(roof_room, (3, 2.2, 3), Surface.PLAIN, Label.BUILDING, Plain(0.45, 0.45, 0.46))
    if not shop:
        return []
    if rng.random() < 0.45:
        wide = rng.uniform(0.4, 0.9) * front
        start = place.point(-side * depth / 2, 3.05, rng.uniform(-front / 2 + 0.2, front / 2 - wide - 0.2))
        cloth = Plain(*pick(rng, _AWNINGS))
        slope = place.vector(-side * 1.1, -0.55, 0)
        mesh.quad(start, place.vector(0, 0, wide), slope, Surface.PLAIN, Label.BUILDING, cloth)
    return [ShopLight(place.point(-side * (depth / 2 + 0.9), 2.6, 0))]


def _pitched_roof(
    mesh: Mesh, place: Placement, size: tuple[float, float, float], wall: Colour, rng: np.random.Generator
) -> None:
    depth, height, length = size
    tiles = Plain(*pick(rng, _ROOFS))
    ridge, eaves = 2.4, depth / 2 + 0.3
    along = place.vector(0, 0, length)
    for sign in (-1, 1):
        slope = place.vector(-sign * eaves, ridge, 0)
        corner = place.point(sign * eaves, height, -length / 2)
        mesh.quad(corner, slope, along, Surface.PLAIN, Label.BUILDING, tiles)
    for end in (-length / 2, length / 2):
        corner = place.point(-eaves, height, end)
        mesh.quad(corner, place.vector(2 * eaves, 0, 0), (0, ridge, 0), Surface.GABLE, Label.BUILDING, wall)


def _front_garden(mesh: Mesh, road: Road, rng: np.random.Generator, side: int, z: float, front: float) -> None:
    choice = rng.random()
    if choice > 0.6 or z < -2:
        return
    x = side * (road.edge + 0.25) + road.bend_at(z + front / 2)
    place = Placement(x, z + front / 2, road.heading(z + front / 2))
    origin, along = place.point(0, 0, -front / 2), place.vector(0, 0, front)
    if choice < 0.3:
        fence = Fence(*pick(rng, _FENCES), length=front, height=1.05)
        mesh.quad(origin, along, (0, 1.05, 0), Surface.FENCE, Label.FENCE, fence)
    else:
        stone = tinted(pick(rng, _WALLS), 0.9)
        mesh.box(place, (0.25, rng.uniform(0.7, 1.3), front), Surface.PLAIN, Label.WALL, stone, top=stone)


def add_skyline(mesh: Mesh, rng: np.random.Generator) -> None:
    """Far rows that close the horizon: trees, and a town behind them."""
    rows = ((230, Label.VEGETATION, (0.26, 0.29, 0.18), (8, 14)), (260, Label.BUILDING, (0.40, 0.425, 0.475), (20, 50)))
    for z, label, colour, heights in rows:
        city = label == Label.BUILDING
        skyline = Skyline(*colour, seed=float(rng.integers(SEEDS)), city=float(city))
        mesh.quad((-300, 0, z), (600, 0, 0), (0, rng.uniform(*heights), 0), Surface.SKYLINE, label, skyline)
