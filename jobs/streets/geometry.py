"""Primitives of a scene: parallelograms and ellipsoids, collected one by one and packed into arrays.

World axes: x right, y up, z ahead of the camera car, in metres, the ground at y = 0. Yaw turns +z towards +x.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from jobs.streets.surfaces import PARAMETERS, Plain, Surface
from jobs.streets.taxonomy import Label
from jobs.streets.texture import Array

Vector = Sequence[float] | Array


@dataclass(frozen=True)
class Placement:
    """A local frame standing on the ground: x to its right, y up, z along its heading ``yaw`` (radians)."""

    x: float
    z: float
    yaw: float
    y: float = 0.0

    @property
    def right(self) -> Array:
        """Unit vector to the right."""
        return np.array((np.cos(self.yaw), 0, -np.sin(self.yaw)), np.float32)

    @property
    def ahead(self) -> Array:
        """Unit vector of the heading."""
        return np.array((np.sin(self.yaw), 0, np.cos(self.yaw)), np.float32)

    def point(self, right: float, up: float, ahead: float) -> Array:
        """World position of a local one."""
        base = np.array((self.x, self.y + up, self.z), np.float32)
        return base + self.right * np.float32(right) + self.ahead * np.float32(ahead)

    def vector(self, right: float, up: float, ahead: float) -> Array:
        """World direction of a local one."""
        return self.point(right, up, ahead) - self.point(0, 0, 0)


@dataclass(frozen=True)
class Geometry:
    """All primitives as arrays of n rows.

    A parallelogram has ``origin`` and edges ``edge_u``, ``edge_v``; ``dual_u`` . (p - origin) is the texture
    coordinate u of a point p in its plane. An ellipsoid has its centre in ``origin``, and ``to_unit`` (n, 3, 3) takes
    (p - centre) into the unit sphere (rows: right, up, ahead); its three edges are its semi-axes.
    """

    origin: Array
    edge_u: Array
    edge_v: Array
    edge_w: Array
    round: Array
    normal: Array
    dual_u: Array
    dual_v: Array
    to_unit: Array
    size_u: Array
    size_v: Array
    surface: Array
    label: Array
    instance: Array
    parameters: Array

    def __len__(self) -> int:
        return len(self.surface)


class Mesh:
    """Collects primitives while a scene is being built."""

    def __init__(self) -> None:
        self._shapes: list[tuple[Any, Any, Any, Any]] = []
        self._kinds: list[tuple[int, int, int]] = []
        self._parameters: list[Array] = []

    def _add(
        self,
        shape: tuple[Any, Any, Any, Any],
        surface: Surface,
        label: Label,
        parameters: Sequence[float],
        instance: int,
    ) -> None:
        row = np.zeros(PARAMETERS, np.float32)
        row[: len(parameters)] = parameters
        self._shapes.append(shape)
        self._kinds.append((surface, label, instance))
        self._parameters.append(row)

    def quad(
        self,
        origin: Vector,
        edge_u: Vector,
        edge_v: Vector,
        surface: Surface,
        label: Label,
        parameters: Sequence[float],
        instance: int = 0,
    ) -> None:
        """A parallelogram from ``origin`` along two edges."""
        self._add((origin, edge_u, edge_v, None), surface, label, parameters, instance)

    def ellipsoid(
        self,
        centre: Vector,
        axes: tuple[Vector, Vector, Vector],
        surface: Surface,
        label: Label,
        parameters: Sequence[float],
        instance: int = 0,
    ) -> None:
        """An ellipsoid with three perpendicular semi-axes (right, up, ahead), metres."""
        self._add((centre, *axes), surface, label, parameters, instance)

    def limb(
        self,
        start: Array,
        end: Array,
        radius: float,
        surface: Surface,
        label: Label,
        parameters: Sequence[float],
        instance: int = 0,
    ) -> None:
        """A slender ellipsoid that reaches a little over both ends of a bone or a tube."""
        along = (end - start) / 2
        length = float(np.linalg.norm(along)) + 1e-6
        direction = along / length
        helper = np.array((1, 0, 0) if abs(direction[0]) < 0.8 else (0, 1, 0), np.float32)
        side = np.cross(direction, helper)
        side /= np.linalg.norm(side)
        third = np.cross(side, direction)
        axes = (side * radius, direction * (length + 0.6 * radius), third * radius)
        self.ellipsoid((start + end) / 2, axes, surface, label, parameters, instance)

    def box(
        self,
        place: Placement,
        size: tuple[float, float, float],
        surface: Surface,
        label: Label,
        parameters: Sequence[float],
        instance: int = 0,
        top: Sequence[float] = Plain(0.3, 0.3, 0.32),
    ) -> None:
        """A box of ``size`` (width, height, depth) standing centred on ``place``: four walls and a plain top."""
        width, height, depth = size
        across, along, up = place.right * width, place.ahead * depth, np.array((0, height, 0), np.float32)
        corner = place.point(-width / 2, 0, -depth / 2)
        for origin, edge in (
            (corner, across),
            (corner + across, along),
            (corner + across + along, -across),
            (corner + along, -along),
        ):
            self.quad(origin, edge, up, surface, label, parameters, instance)
        self.quad(corner + up, across, along, Surface.PLAIN, label, top, instance)

    def pack(self) -> Geometry:
        """Everything collected, with the derived arrays that rasterising and shading need."""
        count = len(self._shapes)
        origin, edge_u, edge_v, edge_w = (np.zeros((count, 3), np.float32) for _ in range(4))
        is_round = np.zeros(count, bool)
        for i, (start, u, v, w) in enumerate(self._shapes):
            origin[i], edge_u[i], edge_v[i] = start, u, v
            if w is not None:
                edge_w[i] = w
                is_round[i] = True
        normal = np.cross(edge_u, edge_v)
        normal /= np.linalg.norm(normal, axis=1, keepdims=True)
        uu, vv, uv = (edge_u * edge_u).sum(1), (edge_v * edge_v).sum(1), (edge_u * edge_v).sum(1)
        determinant = (uu * vv - uv * uv)[:, None]
        axes = np.stack([edge_u, edge_v, edge_w], 1)
        squared = np.maximum((axes * axes).sum(2, keepdims=True), np.float32(1e-12))
        kinds = np.array(self._kinds, np.int32)
        return Geometry(
            origin=origin,
            edge_u=edge_u,
            edge_v=edge_v,
            edge_w=edge_w,
            round=is_round,
            normal=normal,
            dual_u=(edge_u * vv[:, None] - edge_v * uv[:, None]) / determinant,
            dual_v=(edge_v * uu[:, None] - edge_u * uv[:, None]) / determinant,
            to_unit=axes / squared,
            size_u=np.sqrt(uu),
            size_v=np.sqrt(vv),
            surface=kinds[:, 0],
            label=kinds[:, 1].astype(np.uint8),
            instance=kinds[:, 2],
            parameters=np.stack(self._parameters),
        )
