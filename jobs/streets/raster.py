"""Z-buffer over parallelograms and ellipsoids.

Depth and texture coordinates of a plane are ratios of functions affine in the pixel's x and y, so a parallelogram costs
three small outer sums and one division over its bounding box; an ellipsoid costs one square root a pixel.
"""

from dataclasses import dataclass, field

import numpy as np

from jobs.streets.camera import Camera
from jobs.streets.coverage import covered
from jobs.streets.geometry import Geometry
from jobs.streets.surfaces import CUT_OUTS, Surface
from jobs.streets.texture import Array, dot

NEAR = 0.1
FAR = np.float32(1e9)


@dataclass
class Raster:
    """What each pixel sees: ``depth`` (FAR for sky), ``primitive`` (-1 for sky), texture coordinates ``u``, ``v``.

    ``whole`` counts, for each instance, the pixels inside the frame that it would cover if nothing stood before it.
    """

    depth: Array
    primitive: Array
    u: Array
    v: Array
    whole: dict[int, int] = field(default_factory=dict)


def rasterise(geometry: Geometry, camera: Camera, *, ground: bool = True, amodal: bool = False) -> Raster:
    """Draw all primitives; ``ground`` False leaves the ground out, ``amodal`` fills :attr:`Raster.whole`."""
    shape = (camera.height, camera.width)
    out = Raster(
        np.full(shape, FAR), np.full(shape, -1, np.int32), np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    )
    bounds, nearest = _bounds(geometry, camera)
    visible = (bounds[:, 0] < bounds[:, 1]) & (bounds[:, 2] < bounds[:, 3])
    if not ground:
        visible &= geometry.surface != Surface.GROUND
    masks = _instance_windows(geometry, bounds, visible) if amodal else {}
    for i in np.argsort(nearest, kind="stable"):
        if not visible[i]:
            continue
        x0, x1, y0, y1 = (int(b) for b in bounds[i])
        xs, ys = camera.xs[None, x0:x1], camera.ys[y0:y1, None]
        hit = _hit_ellipsoid if geometry.round[i] else _hit_quad
        depth, u, v, mask = hit(geometry, i, camera, xs, ys)
        before = out.depth[y0:y1, x0:x1]
        instance = int(geometry.instance[i])
        if instance not in masks:
            mask &= depth < before
        if not mask.any():
            continue
        if int(geometry.surface[i]) in CUT_OUTS:
            inside = np.nonzero(mask)
            mask[inside] = covered(int(geometry.surface[i]), u[inside], v[inside], geometry.parameters[i])
        if instance in masks:
            left, top, window = masks[instance]
            window[y0 - top : y1 - top, x0 - left : x1 - left] |= mask
            mask &= depth < before
        before[mask] = depth[mask]
        out.primitive[y0:y1, x0:x1][mask] = i
        if not geometry.round[i]:
            out.u[y0:y1, x0:x1][mask] = u[mask]
            out.v[y0:y1, x0:x1][mask] = v[mask]
    out.whole = {instance: int(window.sum()) for instance, (_, _, window) in masks.items()}
    return out


def _hit_quad(geometry: Geometry, i: int, camera: Camera, xs: Array, ys: Array) -> tuple[Array, Array, Array, Array]:
    normal, dual_u, dual_v = geometry.normal[i], geometry.dual_u[i], geometry.dual_v[i]
    origin = geometry.origin[i] - camera.position
    towards = [(camera.forward @ n, xs * (camera.right @ n), ys * (camera.up @ n)) for n in (normal, dual_u, dual_v)]
    (ahead, right, up), along_u, along_v = towards
    if camera.orthographic:
        depth = (origin @ normal - (right + up)) / (ahead + np.float32(1e-9))
        u = along_u[1] + along_u[2] + depth * along_u[0] - origin @ dual_u
        v = along_v[1] + along_v[2] + depth * along_v[0] - origin @ dual_v
    else:
        slope = ahead + right + up
        depth = (origin @ normal) / np.where(np.abs(slope) < 1e-9, np.float32(1e-9), slope)
        u = depth * (along_u[0] + along_u[1] + along_u[2]) - origin @ dual_u
        v = depth * (along_v[0] + along_v[1] + along_v[2]) - origin @ dual_v
    return depth, u, v, (u >= 0) & (u <= 1) & (v >= 0) & (v <= 1) & (depth > 0.8 * NEAR)


def _hit_ellipsoid(
    geometry: Geometry, i: int, camera: Camera, xs: Array, ys: Array
) -> tuple[Array, Array, Array, Array]:
    to_unit = geometry.to_unit[i]
    start = to_unit @ (camera.position - geometry.origin[i])
    forward, right, up = to_unit @ camera.forward, to_unit @ camera.right, to_unit @ camera.up
    fan = xs[..., None] * right + ys[..., None] * up
    if camera.orthographic:
        eye, ray = start + fan, forward
        square, half, rest = ray @ ray, dot(eye, ray), dot(eye, eye) - 1
    else:
        ray = forward + fan
        square, half, rest = dot(ray, ray), dot(ray, start), start @ start - 1
    inside = half * half - square * rest
    depth = (-half - np.sqrt(np.maximum(inside, 0))) / square
    return depth, depth, depth, (inside > 0) & (depth > 0.8 * NEAR)


def _bounds(geometry: Geometry, camera: Camera) -> tuple[Array, Array]:
    """Pixel bounds x0, x1, y0, y1 (n, 4), empty when out of view, and the depth of each primitive's nearest corner."""
    u, v, w = geometry.edge_u, geometry.edge_v, geometry.edge_w
    none = np.zeros_like(u)
    flat = np.stack([none, u, u + v, v, none, u, u + v, v], 1)
    solid = np.stack([su * u + sv * v + sw * w for sw in (-1, 1) for su, sv in ((-1, -1), (1, -1), (1, 1), (-1, 1))], 1)
    corners = np.where(geometry.round[:, None, None], solid, flat) + (geometry.origin - camera.position)[:, None]
    depth, right, up = dot(corners, camera.forward), dot(corners, camera.right), dot(corners, camera.up)
    x, y = camera.to_pixels(right, up, np.maximum(depth, NEAR))
    low_x, high_x, low_y, high_y = x.min(1), x.max(1), y.min(1), y.max(1)
    if not camera.orthographic:
        for i in np.nonzero((depth.min(1) < NEAR) & (depth.max(1) >= NEAR))[0]:
            clipped = _clip(np.stack([right[i], up[i], depth[i]], 1), bool(geometry.round[i]))
            cx, cy = camera.to_pixels(*clipped.T)
            low_x[i], high_x[i], low_y[i], high_y[i] = cx.min(), cx.max(), cy.min(), cy.max()
    bounds = np.stack(
        [
            np.clip(np.floor(low_x), 0, camera.width),
            np.clip(np.ceil(high_x) + 1, 0, camera.width),
            np.clip(np.floor(low_y), 0, camera.height),
            np.clip(np.ceil(high_y) + 1, 0, camera.height),
        ],
        1,
    )
    if not camera.orthographic:
        bounds[depth.max(1) < NEAR] = 0
    return bounds.astype(np.int32), depth.min(1)


def _clip(corners: Array, solid: bool) -> Array:
    """Points (m, 3) that bound what lies beyond the near plane, of corners (8, 3) as (right, up, depth)."""
    count = 8 if solid else 4
    ring = [(a, (a + 1) % 4) for a in range(4)]
    pairs = [(a, b) for a in range(count) for b in range(a + 1, count)] if solid else ring
    points = [corner for corner in corners[:count] if corner[2] >= NEAR]
    for a, b in pairs:
        first, second = corners[a], corners[b]
        if (first[2] >= NEAR) != (second[2] >= NEAR):
            points.append(first + (NEAR - first[2]) / (second[2] - first[2]) * (second - first))
    return np.stack(points)


def _instance_windows(geometry: Geometry, bounds: Array, visible: Array) -> dict[int, tuple[int, int, Array]]:
    """For each instance in view: left, top and an empty mask of the union of its primitives' bounds."""
    windows: dict[int, tuple[int, int, Array]] = {}
    for instance in np.unique(geometry.instance[visible & (geometry.instance > 0)]):
        own = bounds[visible & (geometry.instance == instance)]
        left, top = int(own[:, 0].min()), int(own[:, 2].min())
        windows[int(instance)] = (left, top, np.zeros((own[:, 3].max() - top, own[:, 1].max() - left), bool))
    return windows
