"""Artificial light: street lamps, shop fronts, our own headlights and those of the traffic."""

import numpy as np

from jobs.streets.conditions import Weather
from jobs.streets.scene import Scene
from jobs.streets.texture import NOISE_B, Array, dot, noise, rgb, smooth
from jobs.streets.vehicles import Vehicle

_SHOP, _HALOGEN, _TAIL = rgb(1, 0.8, 0.55), rgb(1, 0.96, 0.86), rgb(1, 0.05, 0.03)
LAMP_POWER, SHOP_POWER, OWN_POWER, TRAFFIC_POWER = 15.0, 1.75, 130.0, 26.0


class _Lit:
    """Points sorted by distance ahead, so that a lamp only visits the stretch of street it can reach."""

    def __init__(self, position: Array, normal: Array, ambient: Array) -> None:
        self.order = np.argsort(position[:, 2], kind="stable")
        self.position, self.normal = position[self.order], normal[self.order]
        self.light = ambient[self.order].astype(np.float32)

    def stretch(self, z: float, reach: float) -> slice:
        low, high = np.searchsorted(self.position[:, 2], (z - reach, z + reach))
        return slice(int(low), int(high))

    def unsorted(self) -> Array:
        out = np.empty_like(self.light)
        out[self.order] = self.light
        return out


def light_by_night(scene: Scene, position: Array, normal: Array, weather: Weather) -> Array:
    """Irradiance, linear RGB (m, 3), of points (m, 3) with unit normals (m, 3)."""
    ambient = rgb(*weather.night_ambient) * (1.2 + 0.6 * normal[:, 1:2])
    lit = _Lit(position, normal, ambient)
    for lamp in scene.lamps:
        if -8 < lamp.position[2] < 95:
            _lamp(lit, lamp.position, lamp.colour * np.float32(LAMP_POWER), 24, cone=True)
    for shop in scene.shops:
        if -8 < shop.position[2] < 95:
            _lamp(lit, shop.position, _SHOP * np.float32(SHOP_POWER), 9, cone=False)
    _own_headlights(lit, scene)
    for vehicle in scene.vehicles:
        if vehicle.driving:
            _traffic_lights(lit, vehicle)
    return lit.unsorted()


def _towards(lit: _Lit, part: slice, source: Array) -> tuple[Array, Array, Array]:
    """Unit directions from a source to points, squared distances, and cosines at the surface."""
    offset = lit.position[part] - source
    squared = dot(offset, offset) + np.float32(1e-4)
    direction = offset / np.sqrt(squared)[:, None]
    return direction, squared, -dot(direction, lit.normal[part])


def _lamp(lit: _Lit, source: Array, power: Array, reach: float, *, cone: bool) -> None:
    part = lit.stretch(float(source[2]), reach)
    direction, squared, cosine = _towards(lit, part, source)
    strength = (np.clip(cosine, 0, 1) * 0.9 + 0.1) / (squared + 3)
    if cone:
        strength = strength * smooth(-0.1, 0.8, -direction[:, 1])
    lit.light[part] += power * strength[:, None]


def _own_headlights(lit: _Lit, scene: Scene) -> None:
    """Two low beams: a hot spot below the cut-off, higher to the right, streaky foreground, dim spill to the sides."""
    yaw = np.deg2rad(scene.view.yaw)
    cosine_yaw, sine_yaw = np.float32(np.cos(yaw)), np.float32(np.sin(yaw))
    for offset in (-0.6, 0.6):
        source = np.array((scene.view.x + offset, 0.66, 1.2), np.float32)
        part = slice(int(np.searchsorted(lit.position[:, 2], 0.5)), int(np.searchsorted(lit.position[:, 2], 75)))
        direction, squared, cosine = _towards(lit, part, source)
        ahead = direction[:, 2] * cosine_yaw + direction[:, 0] * sine_yaw
        aside = direction[:, 0] * cosine_yaw - direction[:, 2] * sine_yaw
        rise = direction[:, 1]
        cut_off = smooth(0.035, -0.015, rise - 0.10 * np.clip(aside, 0, 0.25))
        hot = np.exp(-(((aside - 0.04) / 0.13) ** 2) - ((rise + 0.045) / 0.045) ** 2)
        spill = np.exp(-((aside / 0.42) ** 2)) * smooth(-0.42, -0.10, rise)
        streaks = 0.75 + 0.5 * noise(aside * 130 + offset * 40, rise * 60 + 31, NOISE_B)
        beam = (1.75 * hot + 0.42 * spill) * streaks * cut_off * (ahead > 0)
        stray = 0.05 * np.exp(-((aside / 0.35) ** 2) - ((rise - 0.03) / 0.12) ** 2) * (ahead > 0)
        # The square root stands for the asphalt's forward scatter: grazing light would else leave the road black.
        received = (beam + stray) * np.minimum(np.sqrt(np.clip(cosine, 0.01, 1)), 0.32) / (0.5 * squared + 60)
        lit.light[part] += _HALOGEN * (received * OWN_POWER)[:, None].astype(np.float32)


def _traffic_lights(lit: _Lit, vehicle: Vehicle) -> None:
    """Pools of light before and red glow behind a driving vehicle."""
    place = vehicle.place
    front, rear = place.point(0, 0.65, vehicle.length / 2 + 0.1), place.point(0, 0.8, -vehicle.length / 2 - 0.1)
    part = lit.stretch(float(front[2]), 16)
    direction, squared, cosine = _towards(lit, part, front)
    ahead = dot(direction, place.ahead)
    beam = smooth(0.6, 0.97, ahead) * smooth(0.2, -0.02, direction[:, 1])
    received = beam * np.clip(cosine + 0.15, 0, 1) * (TRAFFIC_POWER if vehicle.twin else 0.6 * TRAFFIC_POWER)
    lit.light[part] += _HALOGEN * (received / (squared + 8))[:, None]
    part = lit.stretch(float(rear[2]), 6)
    direction, squared, _ = _towards(lit, part, rear)
    behind = smooth(-0.2, 0.5, -dot(direction, place.ahead))
    glow = (0.9 if vehicle.braking else 0.28) * behind / (squared + 0.9)
    lit.light[part] += _TAIL * (glow * 0.55)[:, None]
