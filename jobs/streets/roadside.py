"""What stands along the kerb: street lamps, trees, signs and traffic lights."""

from dataclasses import dataclass

import numpy as np

from jobs.streets.buildings import District
from jobs.streets.geometry import Mesh, Placement
from jobs.streets.instances import Instances
from jobs.streets.road import Road
from jobs.streets.surfaces import Foliage, Plain, Sign, Signal, Surface
from jobs.streets.taxonomy import Label
from jobs.streets.texture import Array, rgb, tinted

LAMP_HEIGHT = 6.5
WARM, COLD = (1.0, 0.68, 0.34), (0.82, 0.92, 1.0)
_WARM_POLE, _COLD_POLE = Plain(0.10, 0.13, 0.11), Plain(0.45, 0.46, 0.48)
_BARK = Plain(0.26, 0.19, 0.13)
_SIGNS = ((0.75, 0.08, 0.08), (0.08, 0.2, 0.65), (0.9, 0.9, 0.88), (0.85, 0.65, 0.05), (0.1, 0.45, 0.2))
SIGNAL_STATES = ("green", "yellow", "red")


@dataclass(frozen=True)
class StreetLamp:
    """A lamp head: position (3,) and colour (3,) of its light."""

    position: Array
    colour: Array


def add_lamps(mesh: Mesh, road: Road, rng: np.random.Generator) -> list[StreetLamp]:
    """Lamps along both kerbs. Sodium lamps hang on dark poles, white ones on grey poles, so that day tells of night."""
    lamps = []
    step = rng.uniform(18, 28)
    colour, pole = (WARM, _WARM_POLE) if rng.random() < 0.6 else (COLD, _COLD_POLE)
    for side in (-1, 1):
        for z in np.arange(rng.uniform(4, 12), 120, step):
            if road.near_crossing(z, 1):
                continue
            foot = Placement(side * (road.half + 0.45) + road.bend_at(z), float(z), 0)
            reach = -1.6 * side
            mesh.box(foot, (0.16, LAMP_HEIGHT, 0.16), Surface.PLAIN, Label.POLE, pole, top=pole)
            arm = foot.point(0, LAMP_HEIGHT - 0.05, 0)
            mesh.quad(arm, (reach, 0.25, 0), (0, 0.09, 0), Surface.PLAIN, Label.POLE, pole)
            head = Placement(foot.x + reach, foot.z, 0, y=LAMP_HEIGHT + 0.05)
            mesh.box(head, (0.7, 0.14, 0.32), Surface.LAMP, Label.POLE, colour, top=pole)
            mesh.quad(head.point(-0.35, -0.01, -0.16), (0.7, 0, 0), (0, 0, 0.32), Surface.LAMP, Label.POLE, colour)
            lamps.append(StreetLamp(foot.point(reach, LAMP_HEIGHT, 0), rgb(*colour)))
    return lamps


def add_trees(mesh: Mesh, road: Road, district: District, rng: np.random.Generator) -> None:
    """Rows of trees on the pavements or, in a suburb, in the gardens."""
    for side in (-1, 1):
        z = rng.uniform(3, 9)
        while z < 110:
            if rng.random() < district.trees and not road.near_crossing(z, 3):
                out = 1.1 if district.setback < 9 else road.pavement + rng.uniform(1, 5)
                _tree(mesh, side * (road.half + out) + road.bend_at(z), z, rng)
            z += rng.uniform(5, 11)


def _tree(mesh: Mesh, x: float, z: float, rng: np.random.Generator) -> None:
    height = rng.uniform(4.5, 8.5)
    wide, trunk = height * rng.uniform(0.55, 0.8), height * 0.35
    conifer = float(rng.random() < 0.2)
    light = rng.uniform(0.7, 1.25)
    green = (0.2 * light + rng.uniform(0, 0.16), 0.36 * light, 0.12 * light)
    place = Placement(x, z, 0)
    mesh.box(place, (0.28, trunk + 1, 0.28), Surface.PLAIN, Label.VEGETATION, _BARK, top=_BARK)
    tall = (0, height - trunk * 0.7, 0)
    for layer in range(3):
        span = wide * (1 - 0.12 * layer)
        corner = place.point(
            -span / 2 + rng.normal(0, 0.25), trunk * (0.55 if conifer else 0.8), (layer - 1) * wide * 0.22
        )
        leaves = Foliage(*tinted(green, 0.8 + 0.1 * layer), float(rng.integers(1 << 16)), conifer)
        mesh.quad(corner, (span, 0, 0), tall, Surface.FOLIAGE, Label.VEGETATION, leaves)
    leaves = Foliage(*tinted(green, 0.9), float(rng.integers(1 << 16)), conifer)
    mesh.quad(place.point(0, trunk * 0.8, -wide / 2), (0, 0, wide), tall, Surface.FOLIAGE, Label.VEGETATION, leaves)


def add_signs(mesh: Mesh, road: Road, rng: np.random.Generator, instances: Instances) -> None:
    """Up to three traffic signs a side, facing us."""
    for side in (-1, 1):
        for _ in range(rng.integers(0, 4)):
            z = rng.uniform(9, 50)
            post = Placement(side * (road.half + 0.35) + road.bend_at(z), z, 0)
            grey = Plain(0.5, 0.5, 0.52)
            mesh.box(post, (0.08, 2.3, 0.08), Surface.PLAIN, Label.POLE, grey, top=grey)
            kind = int(rng.integers(len(_SIGNS)))
            instance = instances.add(Label.TRAFFIC_SIGN)
            plate = Sign(*_SIGNS[kind], kind)
            corner = post.point(-0.36, 2.1, -0.05)
            mesh.quad(corner, (0.72, 0, 0), (0, 0.72, 0), Surface.SIGN, Label.TRAFFIC_SIGN, plate, instance)


def add_signals(mesh: Mesh, road: Road, rng: np.random.Generator, instances: Instances) -> None:
    """Traffic lights before the crossing: one on either kerb and one over our lanes, all in one state."""
    if not road.crossing:
        return
    dark = Plain(0.2, 0.2, 0.2)
    state = int(rng.integers(len(SIGNAL_STATES)))
    z = road.crossing.start - 0.8
    for side in (-1, 1):
        x = side * (road.half + 0.3) + road.bend_at(z)
        post = Placement(x, z, 0)
        mesh.box(post, (0.14, 5.6 if side > 0 else 3.6, 0.14), Surface.PLAIN, Label.POLE, dark, top=dark)
        if side > 0:
            mesh.quad(post.point(0, 5.45, 0), (-3.2, 0, 0), (0, 0.1, 0), Surface.PLAIN, Label.POLE, dark)
            _signal(mesh, Placement(x - 3.0, z, 0, y=4.65), state, instances)
        _signal(mesh, Placement(x, z, 0, y=2.6), state, instances)


def _signal(mesh: Mesh, place: Placement, state: int, instances: Instances) -> None:
    instance = instances.add(Label.TRAFFIC_LIGHT, colour=SIGNAL_STATES[state])
    housing = Plain(0.06, 0.06, 0.06)
    label = Label.TRAFFIC_LIGHT
    mesh.box(place, (0.34, 0.95, 0.28), Surface.PLAIN, label, housing, instance, top=housing)
    corner = place.point(-0.17, 0, -0.15)
    mesh.quad(corner, (0.34, 0, 0), (0, 0.95, 0), Surface.SIGNAL, label, Signal(*housing[:3], state), instance)
