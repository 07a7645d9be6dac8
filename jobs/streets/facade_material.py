"""Walls with windows and shop fronts. A hash of window and building decides what is lit; curtains show it by day."""

from typing import NamedTuple

import numpy as np

from jobs.streets.points import Material, Points
from jobs.streets.scene import Scene
from jobs.streets.surfaces import Facade, columns
from jobs.streets.texture import NOISE_B, Array, hashed, noise, paint, rgb

SHOP_HEIGHT, SHOP_BAY = 3.9, 3.6
_LIGHTS = np.array(((1.0, 0.70, 0.34), (0.95, 0.88, 0.70), (0.60, 0.75, 1.0)), np.float32)
_CURTAINS = np.array(((0.92, 0.66, 0.28), (0.90, 0.84, 0.66), (0.55, 0.68, 0.88)), np.float32)


class Wall(NamedTuple):
    """Facade points in metres along and up the wall, with what belongs to their building."""

    x: Array
    y: Array
    height: Array
    ground_floor: Array
    facade: Facade


def facade(scene: Scene, points: Points, parameters: Array, out: Material) -> None:
    """Fill in the material of facade points."""
    geometry = scene.geometry
    building = columns(Facade, parameters)
    width, height = geometry.size_u[points.primitive], geometry.size_v[points.primitive]
    shops = building.shops > 0
    wall = Wall(points.u * width, points.v * height, height, np.where(shops, 4.0, 0.6), building)
    base = parameters[:, :3]
    bricks = 0.72 + noise(wall.x * 14, wall.y * 14) * 0.22 + noise(wall.x * 1.5, wall.y * 1.2, NOISE_B) * 0.28
    bricks = bricks - 0.1 * (((wall.y * 6) % 1) < 0.18) * (building.style == 0)
    out.albedo[:] = base * bricks[:, None]
    ledge = (wall.y > height - 0.45) | (np.abs(wall.y - wall.ground_floor + 0.1) < 0.12)
    paint(out.albedo, ledge, base * 0.65)
    _windows(wall, width, base, out)
    _shop_fronts(wall, shops & (wall.y < SHOP_HEIGHT), out)


def _windows(wall: Wall, width: Array, base: Array, out: Material) -> None:
    building, style = wall.facade, wall.facade.style
    bay = width / np.maximum(np.floor(width / building.bay), 1)
    column, storey = np.floor(wall.x / bay), np.floor((wall.y - wall.ground_floor) / building.storey)
    across, up = wall.x / bay - column, (wall.y - wall.ground_floor) / building.storey - storey
    wide = np.select([style == 1, style == 2], [0.98, 0.93], building.window_width)
    tall = np.select([style == 1, style == 2], [0.50, 0.86], building.window_height)
    dx, dy = np.abs(across - 0.5), np.abs(up - 0.52)
    field = (wall.y > wall.ground_floor) & (wall.y < wall.height - 0.5)
    window = field & (dx < wide / 2) & (dy < tall / 2) & (width > 3)
    frame = field & ~window & (dx < wide / 2 + 0.05) & (dy < tall / 2 + 0.05) & (style == 0)
    mullion = window & (style == 0) & (dx < 0.02)
    paint(out.albedo, frame, base * 0.6 + 0.3)
    lot, shade = hashed(column, storey, building.seed), hashed(column, storey, building.seed + 77)
    lit = window & (lot < building.lit)
    kind = np.digitize(shade, (0.62, 0.88))
    level = 0.65 + 0.7 * hashed(column, storey, building.seed + 154)
    folds = 0.86 + 0.14 * np.sin(across * 55)
    lighter_below = np.where(up > 0.52 + tall * 0.28, 0.6, 1.0)
    paint(out.albedo, window, rgb(0.075, 0.095, 0.125) * (0.7 + 0.8 * shade)[:, None])
    paint(out.albedo, lit, _CURTAINS[kind] * (folds * (0.45 + 0.55 * level) * lighter_below)[:, None])
    paint(out.albedo, mullion, 0.5)
    glow = lit & ~mullion
    light = _LIGHTS[kind] * (level * folds * lighter_below)[:, None]
    paint(out.night, glow, light * 1.0)
    paint(out.day, glow, light * 0.07)
    out.gloss[window] = 0.5
    out.gloss[lit] = 0.12


def _shop_fronts(wall: Wall, shop: Array, out: Material) -> None:
    seed = wall.facade.seed
    unit = np.floor(wall.x / SHOP_BAY)
    across = wall.x / SHOP_BAY - unit
    inner = shop & (across > 0.06) & (across < 0.94)
    is_open = hashed(unit, seed, 3) > 0.3
    hue = np.stack([hashed(unit, seed, channel) for channel in (11, 12, 13)], -1)
    hue = hue / (hue.max(-1, keepdims=True) + np.float32(0.05))
    board, pane = inner & (wall.y > 3.05) & (wall.y < 3.7), inner & (wall.y > 0.5) & (wall.y < 2.9)
    letters = board & (np.abs(wall.y - 3.38) < 0.16) & (hashed(np.floor(wall.x * 5), seed, 5) > 0.35)
    goods = 0.4 + 0.9 * noise(wall.x * 30, wall.y * 20, NOISE_B)
    display = (rgb(1.0, 0.85, 0.6) * np.float32(0.5) + hue * np.float32(0.35)) * goods[:, None]
    shutter = rgb(0.30, 0.30, 0.31) * (0.75 + 0.25 * ((wall.y * 9) % 1 < 0.5))[:, None]
    paint(out.albedo, pane, np.where(is_open[:, None], display * 0.75, shutter))
    paint(out.albedo, board, np.where(is_open[:, None], hue * 0.7, hue * 0.16 + 0.06))
    paint(out.albedo, letters, np.where(is_open, 0.92, 0.35)[:, None].repeat(3, 1))
    paint(out.night, pane & is_open, display)
    paint(out.night, board & is_open, hue * 0.9)
    paint(out.night, letters & is_open, 1.6)
    paint(out.day, pane & is_open, display * 0.12)
    paint(out.day, board & is_open, hue * 0.12)
    out.gloss[pane] = np.where(is_open, 0.15, 0.05)[pane]
