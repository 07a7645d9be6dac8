"""The ground: asphalt with markings and zebra crossings, kerbs, pavements, lawns, and the dark under vehicles."""

import numpy as np

from jobs.streets.points import Material, Points
from jobs.streets.scene import Scene
from jobs.streets.taxonomy import Label
from jobs.streets.texture import NOISE_B, Array, mix, noise, paint, rgb, smooth

_WHITE, _YELLOW = rgb(0.82, 0.82, 0.80), rgb(0.80, 0.60, 0.10)


def ground(scene: Scene, points: Points, parameters: Array, out: Material) -> None:
    """Fill in the material of ground points."""
    road = scene.road
    z = points.position[:, 2]
    x = points.position[:, 0] - road.bend * z * z
    across = np.abs(x)
    fine, coarse = noise(x * 12, z * 12), noise(x * 1.7, z * 1.1, NOISE_B)
    junction = np.abs(z - road.crossing.z) < road.crossing.width / 2 if road.crossing else np.zeros(len(x), bool)
    asphalt = (across < road.half) | junction
    pavement = ~asphalt & (across < road.edge)
    rest = ~asphalt & ~pavement
    city = scene.district.city
    colour = rgb(0.2, 0.2, 0.21) * (0.72 + 0.35 * fine + 0.3 * coarse)[:, None]
    joints = (np.abs((x * 1.25) % 1 - 0.5) > 0.46) | (np.abs((z * 1.25) % 1 - 0.5) > 0.46)
    slabs = rgb(0.50, 0.48, 0.45) * (0.75 + 0.25 * fine - 0.12 * joints + 0.15 * coarse)[:, None]
    paint(colour, pavement, slabs)
    yard = rgb(0.42, 0.40, 0.37) if city else rgb(0.22, 0.34, 0.12)
    paint(colour, rest, yard * (0.6 + 0.5 * fine + 0.3 * coarse)[:, None])
    paint(colour, (np.abs(across - road.half) < 0.12) & ~junction, rgb(0.62, 0.61, 0.58))
    white, yellow = _markings(scene, x, z, junction)
    wear = 0.55 + 0.45 * (noise(x * 25, z * 25, NOISE_B) > 0.38)
    colour = mix(colour, _WHITE, wear * white)
    colour = mix(colour, _YELLOW, wear * yellow)
    out.albedo[:] = colour * _contact_shadow(scene, points.position)[:, None]
    off_road = Label.SIDEWALK if city else Label.TERRAIN
    out.label[:] = np.select([asphalt, pavement], [int(Label.ROAD), int(Label.SIDEWALK)], int(off_road))
    out.gloss[:] = np.where(asphalt, 0.35, 0.12)


def _markings(scene: Scene, x: Array, z: Array, junction: Array) -> tuple[Array, Array]:
    """Where there is white and yellow paint, two boolean arrays."""
    road = scene.road
    across = np.abs(x)
    white, yellow = np.zeros(len(x), bool), np.zeros(len(x), bool)
    clear = ~junction
    if road.crossing:
        clear &= np.abs(z - road.crossing.z) > road.crossing.width / 2 + 4
    for lane in range(1, road.lanes):
        line = -road.carriageway + lane * road.lane_width
        middle = abs(line) < 0.1 or (road.lanes == 3 and lane == 1)
        if middle and road.lanes > 2:
            yellow |= clear & ((np.abs(x - line - 0.13) < 0.06) | (np.abs(x - line + 0.13) < 0.06))
        else:
            white |= clear & (np.abs(x - line) < 0.075) & ((z % 6) < 3)
    if road.has_parking:
        white |= clear & (np.abs(across - road.carriageway) < 0.06)
    if road.crossing:
        stripes = ((x % 1.0) < 0.5) & (across < road.half)
        near, far = road.crossing.start - 2, road.crossing.end + 2
        white |= ((np.abs(z - near) < 1.3) | (np.abs(z - far) < 1.3)) & stripes
        white |= (np.abs(z - near + 2.2) < 0.2) & (x > 0) & (x < road.carriageway)
    return white, yellow


def _contact_shadow(scene: Scene, position: Array) -> Array:
    """How much light reaches the ground beside and under vehicles, (m,) in [0.25, 1]."""
    light = np.ones(len(position), np.float32)
    order = np.argsort(position[:, 2], kind="stable")
    z_sorted = position[order, 2]
    for vehicle in scene.vehicles:
        place = vehicle.place
        low, high = np.searchsorted(z_sorted, (place.z - vehicle.length, place.z + vehicle.length))
        rows = order[low:high]
        dx, dz = position[rows, 0] - place.x, position[rows, 2] - place.z
        sine, cosine = np.sin(place.yaw), np.cos(place.yaw)
        right = np.abs(dx * cosine - dz * sine) / (vehicle.width / 2)
        ahead = np.abs(dx * sine + dz * cosine) / (vehicle.length / 2)
        light[rows] *= 1 - 0.75 * smooth(1.25, 0.8, np.maximum(right, ahead))
    return light
