"""Kinds of surface and the parameters each kind carries.

Every primitive has a :class:`Surface` and a row of ``PARAMETERS`` floats. For a kind that needs more than a colour the
row is one of the records below, and reading the columns of many rows back gives a record of arrays
(:func:`columns`). The first three parameters are always the base colour, linear RGB.
"""

from enum import IntEnum
from typing import Any, NamedTuple, TypeVar

from jobs.streets.texture import Array

PARAMETERS = 12
Value = Any
"""A float where a primitive is described, an array (m,) where many are read."""


class Surface(IntEnum):
    """What a primitive is made of; decides its coverage (silhouette) and its material."""

    GROUND = 0
    FACADE = 1
    PLAIN = 2
    FOLIAGE = 3
    CAR_SIDE = 4
    CAR_CABIN = 5
    CAR_SCREEN = 6
    CAR_FACE = 7
    LARGE_SIDE = 8
    WHEEL = 9
    CLOTH = 10
    HEAD = 11
    SIGN = 12
    GABLE = 13
    SIGNAL = 14
    SKYLINE = 15
    LAMP = 16
    BULB = 17
    BICYCLE = 18
    FENCE = 19


CUT_OUTS = frozenset(
    {
        Surface.FOLIAGE, Surface.CAR_SIDE, Surface.CAR_CABIN, Surface.CAR_SCREEN, Surface.SIGN, Surface.GABLE,
        Surface.SKYLINE, Surface.BICYCLE, Surface.FENCE,
    }
)  # fmt: skip
"""Surfaces that do not fill their parallelogram: coverage is asked for every pixel."""


class Plain(NamedTuple):
    """Paint, metal, concrete; ``gloss`` in [0, 1] mirrors the sky."""

    red: Value
    green: Value
    blue: Value
    gloss: Value = 0.0


class Facade(NamedTuple):
    """A building's wall. Metres; ``lit`` is the share of windows with light; ``style`` 0 holes, 1 bands, 2 glass."""

    red: Value
    green: Value
    blue: Value
    bay: Value
    storey: Value
    window_width: Value
    window_height: Value
    lit: Value
    seed: Value
    shops: Value
    style: Value


class Foliage(NamedTuple):
    """A leafy crown; ``conifer`` 1 gives a cone."""

    red: Value
    green: Value
    blue: Value
    seed: Value
    conifer: Value


class CarSide(NamedTuple):
    """Lower car body from sill to belt line: length, height in metres, bonnet base (share of length) and its drop."""

    red: Value
    green: Value
    blue: Value
    length: Value
    height: Value
    sill: Value
    bonnet: Value
    drop: Value
    wheel: Value
    doors: Value


class CarCabin(NamedTuple):
    """Side of the glass house: the share of its length that the rear and front pillars lean inwards at the roof."""

    red: Value
    green: Value
    blue: Value
    rear: Value
    front: Value


class CarScreen(NamedTuple):
    """Windscreen or rear window; ``taper`` is the share of the width lost on either side at the top."""

    red: Value
    green: Value
    blue: Value
    taper: Value


class CarFace(NamedTuple):
    """Front or rear of a vehicle: ``on`` when it is driving, ``brake`` when it is braking, ``large`` bus or truck."""

    red: Value
    green: Value
    blue: Value
    rear: Value
    on: Value
    brake: Value
    large: Value


class LargeSide(NamedTuple):
    """Side of a bus or a truck body, metres."""

    red: Value
    green: Value
    blue: Value
    length: Value
    height: Value
    bus: Value


class Sign(NamedTuple):
    """Traffic sign; ``kind`` 0 ban, 1 order, 2 plate, 3 priority, 4 direction."""

    red: Value
    green: Value
    blue: Value
    kind: Value


class Signal(NamedTuple):
    """Traffic light face; ``state`` 0 green, 1 yellow, 2 red (counted from below)."""

    red: Value
    green: Value
    blue: Value
    state: Value


class Skyline(NamedTuple):
    """Far row of houses (``city`` 1) or trees (0)."""

    red: Value
    green: Value
    blue: Value
    seed: Value
    city: Value


class Bulb(NamedTuple):
    """A small light: emission by night and by day are multiples of the colour."""

    red: Value
    green: Value
    blue: Value
    night: Value
    day: Value


class Fence(NamedTuple):
    """Palings of a fence of ``length`` x ``height`` metres."""

    red: Value
    green: Value
    blue: Value
    length: Value
    height: Value


Record = TypeVar("Record", bound=tuple)


def columns(record: type[Record], parameters: Array) -> Record:
    """Parameter rows (n, PARAMETERS) as one record of arrays (n,)."""
    fields: Any = record
    return fields._make(parameters.T[: len(fields._fields)])
