"""People: walkers and riders, built from joints and limbs."""

from dataclasses import dataclass

import numpy as np

from jobs.streets.geometry import Mesh, Placement
from jobs.streets.surfaces import Plain, Surface
from jobs.streets.taxonomy import Label
from jobs.streets.texture import Array, Colour, pick, tinted

_TOPS = (
    (0.60, 0.10, 0.10), (0.10, 0.20, 0.45), (0.75, 0.72, 0.65), (0.12, 0.12, 0.13), (0.20, 0.42, 0.25),
    (0.80, 0.55, 0.10), (0.50, 0.30, 0.50),
)  # fmt: skip
_TROUSERS = ((0.10, 0.12, 0.22), (0.12, 0.12, 0.12), (0.40, 0.36, 0.28))
_SKINS = ((0.75, 0.55, 0.44), (0.50, 0.34, 0.24), (0.85, 0.66, 0.55))
_HELMETS = ((0.08, 0.08, 0.09), (0.75, 0.75, 0.72), (0.55, 0.08, 0.08))


@dataclass(frozen=True)
class Outfit:
    """Colours a person wears; ``coat`` reaches to the knees."""

    top: Colour
    trousers: Colour
    skin: Colour
    hair: Colour
    coat: bool = False


def dress(rng: np.random.Generator, *, helmet: bool = False) -> Outfit:
    """Random clothes; a helmet takes the place of the hair."""
    hair = pick(rng, _HELMETS) if helmet else tinted((0.08, 0.06, 0.05), rng.uniform(0.6, 4))
    return Outfit(pick(rng, _TOPS), pick(rng, _TROUSERS), pick(rng, _SKINS), hair, coat=bool(rng.random() < 0.3))


def walker(mesh: Mesh, place: Placement, rng: np.random.Generator, instance: int) -> None:
    """A person walking or standing at ``place``."""
    tall = rng.uniform(1.55, 1.88)
    stride = rng.uniform(0.0, 0.24) * rng.choice((-1, 1))
    outfit = dress(rng)

    def at(right: float, up: float, ahead: float) -> Array:
        return place.point(right, up * tall, ahead)

    for side in (-1, 1):
        step = stride * side
        hip, foot = at(side * 0.09, 0.50, 0), at(side * 0.10, 0.045, step)
        knee = at(side * 0.10, 0.28, step * 0.5 + 0.05)
        _leg(mesh, hip, knee, foot, place, outfit, Label.PERSON, instance)
        hand = at(side * 0.30, 0.46, -step * 0.9 + 0.06)
        _arm(mesh, at(side * 0.20, 0.80, 0), hand, outfit, Label.PERSON, instance)
    if outfit.coat:
        axes = (place.vector(0.21, 0, 0), place.vector(0, 0.2 * tall, 0), place.vector(0, 0, 0.16))
        mesh.ellipsoid(at(0, 0.46, 0), axes, Surface.CLOTH, Label.PERSON, outfit.top, instance)
    _trunk(mesh, at(0, 0.50, 0), at(0, 0.80, 0.02), place, outfit, Label.PERSON, instance)
    _head(mesh, at(0, 0.925, 0.03), place, outfit, Label.PERSON, instance)


def rider(mesh: Mesh, place: Placement, seat: float, hands: float, feet: float, outfit: Outfit, instance: int) -> None:
    """A person sitting at ``seat`` metres height, holding a bar ``hands`` metres high, feet ``feet`` metres high.

    ``place`` is the middle of the two-wheeler, 0.2 m ahead of the seat.
    """
    hip, chest = place.point(0, seat + 0.06, -0.2), place.point(0, seat + 0.50, 0.05)
    for side in (-1, 1):
        lift = 0.09 * side
        thigh = place.point(side * 0.11, seat + 0.02, -0.2)
        knee = place.point(side * 0.15, (seat + feet) / 2 + 0.16 + lift, 0.18)
        foot = place.point(side * 0.13, feet + lift, 0.02)
        _leg(mesh, thigh, knee, foot, place, outfit, Label.RIDER, instance)
        shoulder, hand = place.point(side * 0.20, seat + 0.50, 0.05), place.point(side * 0.26, hands, 0.42)
        _arm(mesh, shoulder, hand, outfit, Label.RIDER, instance)
    _trunk(mesh, hip, chest, place, outfit, Label.RIDER, instance)
    _head(mesh, place.point(0, seat + 0.76, 0.14), place, outfit, Label.RIDER, instance)


def _leg(
    mesh: Mesh, hip: Array, knee: Array, foot: Array, place: Placement, outfit: Outfit, label: Label, instance: int
) -> None:
    mesh.limb(hip, knee, 0.085, Surface.CLOTH, label, outfit.trousers, instance)
    mesh.limb(knee, foot, 0.062, Surface.CLOTH, label, tinted(outfit.trousers, 0.9), instance)
    toes = foot + place.vector(0, -0.02, 0.13)
    mesh.limb(foot + place.vector(0, -0.02, -0.05), toes, 0.05, Surface.PLAIN, label, Plain(0.04, 0.04, 0.04), instance)


def _arm(mesh: Mesh, shoulder: Array, hand: Array, outfit: Outfit, label: Label, instance: int) -> None:
    mesh.limb(shoulder, hand, 0.06, Surface.CLOTH, label, tinted(outfit.top, 0.92), instance)
    mesh.limb(hand, hand - (shoulder - hand) * np.float32(0.06), 0.045, Surface.CLOTH, label, outfit.skin, instance)


def _trunk(
    mesh: Mesh, hips: Array, chest: Array, place: Placement, outfit: Outfit, label: Label, instance: int
) -> None:
    spine = chest - hips
    long = float(np.linalg.norm(spine))
    up = spine / long
    right = place.right
    ahead = np.cross(right, up)
    middle = hips + spine * np.float32(0.72)
    upper = (right * 0.235, up * (0.42 * long + 0.03), ahead * 0.145)
    mesh.ellipsoid(middle, upper, Surface.CLOTH, label, outfit.top, instance)
    lower = (right * 0.185, up * (0.40 * long), ahead * 0.135)
    mesh.ellipsoid(hips + spine * np.float32(0.25), lower, Surface.CLOTH, label, outfit.top, instance)


def _head(mesh: Mesh, centre: Array, place: Placement, outfit: Outfit, label: Label, instance: int) -> None:
    axes = (place.right * 0.095, np.array((0, 0.125, 0), np.float32), place.ahead * 0.11)
    colours = (*outfit.skin, *outfit.hair)
    mesh.ellipsoid(centre, axes, Surface.HEAD, label, colours, instance)
