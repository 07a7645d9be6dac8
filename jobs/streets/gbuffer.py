"""Everything a view sees before light falls on it: shared by all conditions."""

from dataclasses import dataclass

import numpy as np

from jobs.streets.camera import Camera
from jobs.streets.materials import shade_materials
from jobs.streets.points import Material, Points
from jobs.streets.raster import Raster, rasterise
from jobs.streets.scene import Scene
from jobs.streets.surfaces import Surface
from jobs.streets.texture import Array, dot, unit


@dataclass
class GBuffer:
    """A rasterised view. ``pixels`` are the (rows, columns) of the m points that are not sky; the rest is per point."""

    camera: Camera
    raster: Raster
    pixels: tuple[Array, Array]
    surface: Array
    position: Array
    normal: Array
    material: Material


def see(scene: Scene, camera: Camera, *, ground: bool = True, amodal: bool = False) -> GBuffer:
    """Rasterise the scene and look up what every visible point is made of."""
    geometry = scene.geometry
    raster = rasterise(geometry, camera, ground=ground, amodal=amodal)
    rows, columns = np.nonzero(raster.primitive >= 0)
    pixels = (rows, columns)
    primitive, depth = raster.primitive[pixels], raster.depth[pixels]
    ray = camera.forward + camera.xs[columns, None] * camera.right + camera.ys[rows, None] * camera.up
    position = camera.position + ray * depth[:, None]
    normal, local = geometry.normal[primitive], np.zeros_like(position)
    rounded = np.nonzero(geometry.round[primitive])[0]
    if len(rounded):
        to_unit = geometry.to_unit[primitive[rounded]]
        offset = position[rounded] - geometry.origin[primitive[rounded]]
        local[rounded] = dot(to_unit, offset[:, None])
        normal[rounded] = unit(dot(to_unit.transpose(0, 2, 1), local[rounded][:, None]))
    away = dot(normal, ray) > 0
    normal[away] *= -1
    surface = geometry.surface[primitive]
    u, v = raster.u[pixels], raster.v[pixels]
    leaves = surface == Surface.FOLIAGE
    # A crown is drawn on flat cards; lighting it as a ball that faces the viewer hides that.
    ball = np.stack([(u[leaves] - 0.5) * 1.4, (v[leaves] - 0.35) * 1.4, np.full_like(u[leaves], -0.7)], 1)
    normal[leaves] = unit(ball)
    material = shade_materials(scene, Points(primitive, u, v, position, local))
    return GBuffer(camera, raster, pixels, surface, position, normal, material)
