"""Light on surfaces: sun and sky by day; lamps, shops and headlights by night; wetness, snow and the air between."""

import numpy as np

from jobs.streets.camera import Camera, sun_view
from jobs.streets.conditions import Condition
from jobs.streets.gbuffer import GBuffer
from jobs.streets.night import light_by_night
from jobs.streets.raster import rasterise
from jobs.streets.scene import Scene
from jobs.streets.sky import sky_colour
from jobs.streets.surfaces import Surface
from jobs.streets.texture import Array, dot, mix, noise, rgb, smooth, unit

SHADOW_EXTENT = 46.0
_SNOW = rgb(0.86, 0.88, 0.92)
_LITTLE_SNOW = (Surface.CAR_CABIN, Surface.CAR_SCREEN, Surface.CLOTH, Surface.HEAD, Surface.WHEEL, Surface.BULB)


class SunShadow:
    """Shadow map of one scene, made when first asked for."""

    def __init__(self, scene: Scene, texels: int) -> None:
        """``texels`` across the lit square of 2 * SHADOW_EXTENT metres."""
        self._scene = scene
        self._camera: Camera = sun_view(scene.sky.sun, (0, 0, 32), SHADOW_EXTENT, texels)
        self._depth: Array | None = None

    def lit(self, position: Array, normal: Array) -> Array:
        """Share of sunlight that reaches points (m, 3), interpolated between 2 x 2 texels; (m,)."""
        camera = self._camera
        if self._depth is None:
            self._depth = rasterise(self._scene.geometry, camera, ground=False).depth
        offset = position + normal * np.float32(0.12) - camera.position
        depth = dot(offset, camera.forward)
        x, y = camera.to_pixels(dot(offset, camera.right), dot(offset, camera.up), depth)
        share = np.zeros(len(position), np.float32)
        left, top = np.floor(x - 0.5), np.floor(y - 0.5)
        from_left, from_top = x - 0.5 - left, y - 0.5 - top
        for column, row in ((0, 0), (1, 0), (0, 1), (1, 1)):
            i, j = (left + column).astype(int), (top + row).astype(int)
            weight = (from_left if column else 1 - from_left) * (from_top if row else 1 - from_top)
            inside = (i >= 0) & (i < camera.width) & (j >= 0) & (j < camera.height)
            blocker = self._depth[np.clip(j, 0, camera.height - 1), np.clip(i, 0, camera.width - 1)]
            share += np.where(inside, depth < blocker + 0.15, True) * weight
        return share


def shade(scene: Scene, view: GBuffer, condition: Condition, shadow: SunShadow) -> Array:
    """Linear RGB picture (height, width, 3) of a view under a condition."""
    weather = condition.weather
    rays = view.camera.rays()
    image = sky_colour(scene.sky, condition, rays)
    albedo = view.material.albedo
    if weather.name == "snow":
        albedo = _snowed_under(scene, view)
    if weather.name == "rain":
        albedo = albedo * np.where(view.normal[:, 1:2] > 0.5, np.float32(0.55), np.float32(0.8))
    towards = view.position - view.camera.position
    distance = np.sqrt(dot(towards, towards))
    if condition.time == "night":
        light = light_by_night(scene, view.position, view.normal, weather)
        colour = albedo * light + view.material.night
        colour += (view.material.gloss * np.float32(0.25))[:, None] * rgb(0.03, 0.03, 0.04)
    else:
        colour = _by_day(scene, view, condition, albedo, towards / distance[:, None], shadow)
    air = rgb(*(weather.night_air if condition.time == "night" else weather.day_air))
    image[view.pixels] = mix(air, colour, np.exp(-np.float32(weather.extinction) * distance))
    if weather.name == "fog":
        open_sky = view.raster.primitive < 0
        ray = rays[open_sky]
        height = np.clip(unit(ray)[:, 1], 0, 1)
        image[open_sky] = mix(air, image[open_sky], smooth(0, 0.6, height) * 0.7)
    return image


def _by_day(
    scene: Scene, view: GBuffer, condition: Condition, albedo: Array, towards: Array, shadow: SunShadow
) -> Array:
    weather, material, normal = condition.weather, view.material, view.normal
    up = normal[:, 1:2]
    if weather.overcast:
        light = rgb(0.86, 0.90, 0.97) * np.float32(weather.overcast) * (0.72 + 0.38 * up)
        reflected = rgb(0.55, 0.57, 0.60) * np.float32(0.8 if weather.name == "rain" else 1.0)
    else:
        facing = np.clip(dot(normal, scene.sky.sun), 0, 1) * shadow.lit(view.position, normal)
        from_sky = rgb(0.40, 0.50, 0.66) * (0.62 + 0.38 * up) + rgb(0.16, 0.14, 0.12) * (1 - up) * np.float32(0.5)
        light = facing[:, None] * rgb(1.35, 1.24, 1.05) + from_sky
        reflected = rgb(0.55, 0.66, 0.82)
    grazing = np.clip(1 + dot(towards, normal), 0, 1)
    mirror = np.clip(material.gloss * (0.16 + 0.84 * grazing**3), 0, 0.75) * (view.surface != Surface.GROUND)
    return mix(albedo * light, reflected, mirror) + material.day * np.float32(weather.lamp_gain)


def _snowed_under(scene: Scene, view: GBuffer) -> Array:
    """Albedo under fresh snow: on what faces up, with tyre tracks in every lane."""
    road, x, z = scene.road, view.position[:, 0], view.position[:, 2]
    up = view.normal[:, 1]
    lateral = x - road.bend * z * z
    patches = noise(x * 9, z * 9)
    track = np.zeros(len(x), np.float32)
    for lane in range(road.lanes):
        wobble = 0.12 * (noise(z * 3, z * 0 + lane * 50) - 0.5)
        for wheel in (-0.75, 0.75):
            track = np.maximum(track, smooth(0.42, 0.2, np.abs(lateral - road.lane_middle(lane) - wheel + wobble)))
    amount = np.select(
        [view.surface == Surface.GROUND, view.surface == Surface.FOLIAGE],
        [0.93 - 0.62 * track * (patches * 0.7 + 0.5), 0.75 * smooth(0.0, 0.7, up + (patches - 0.5))],
        smooth(0.35, 0.8, up) * 0.95,
    )
    amount = np.where(np.isin(view.surface, _LITTLE_SNOW), amount * 0.35, amount)
    snow = _SNOW * np.where(patches > 0.5, 1, 0.95)[:, None]
    return mix(view.material.albedo, snow, np.clip(amount, 0, 1)).astype(np.float32)
