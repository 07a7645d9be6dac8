"""The camera that takes the picture, its mirror image under the road, and the sun's view of the scene."""

from dataclasses import dataclass

import numpy as np

from jobs.streets.texture import Array


@dataclass(frozen=True)
class Camera:
    """Rays of an image of ``width`` x ``height`` pixels.

    Perspective: ray(x, y) = forward + xs[x] * right + ys[y] * up, so that the ray parameter is metric depth.
    Orthographic (the sun): all rays run along ``forward`` from position + xs[x] * right + ys[y] * up.
    """

    position: Array
    forward: Array
    right: Array
    up: Array
    xs: Array
    ys: Array
    orthographic: bool = False

    @property
    def width(self) -> int:
        """Pixels in a row."""
        return len(self.xs)

    @property
    def height(self) -> int:
        """Rows."""
        return len(self.ys)

    def rays(self) -> Array:
        """Directions of a perspective camera, float32 (height, width, 3), of length >= 1."""
        return self.forward + self.xs[None, :, None] * self.right + self.ys[:, None, None] * self.up

    def mirrored(self) -> "Camera":
        """The same view mirrored at the ground: what a wet road reflects at every pixel."""
        flip = np.array((1, -1, 1), np.float32)
        return Camera(self.position * flip, self.forward * flip, self.right * flip, self.up * flip, self.xs, self.ys)

    def to_pixels(self, right: Array, up: Array, depth: Array) -> tuple[Array, Array]:
        """Pixel coordinates (x, y) of camera-space points; any shape."""
        if not self.orthographic:
            right, up = right / depth, up / depth
        step_x, step_y = self.xs[1] - self.xs[0], self.ys[1] - self.ys[0]
        return (right - self.xs[0]) / step_x + 0.5, (up - self.ys[0]) / step_y + 0.5


def perspective(
    position: tuple[float, float, float], yaw: float, pitch: float, fov: float, width: int, height: int
) -> Camera:
    """A pinhole camera; angles in degrees, ``fov`` is horizontal."""
    sin_yaw, cos_yaw = np.sin(np.deg2rad(yaw)), np.cos(np.deg2rad(yaw))
    sin_pitch, cos_pitch = np.sin(np.deg2rad(pitch)), np.cos(np.deg2rad(pitch))
    focal = width / 2 / np.tan(np.deg2rad(fov) / 2)
    forward = np.array((sin_yaw * cos_pitch, sin_pitch, cos_yaw * cos_pitch), np.float32)
    right = np.array((cos_yaw, 0, -sin_yaw), np.float32)
    xs = ((np.arange(width) + 0.5 - width / 2) / focal).astype(np.float32)
    ys = (-(np.arange(height) + 0.5 - height / 2) / focal).astype(np.float32)
    up = np.cross(forward, right).astype(np.float32)
    return Camera(np.array(position, np.float32), forward, right, up, xs, ys)


def sun_view(direction: Array, centre: tuple[float, float, float], extent: float, texels: int) -> Camera:
    """Orthographic view along the sunlight onto 2 x 2 ``extent`` metres; ``direction`` (3,) points to the sun."""
    forward = -direction
    helper = np.array((0, 0, 1) if abs(direction[2]) < 0.9 else (1, 0, 0), np.float32)
    right = np.cross(helper, forward)
    right /= np.linalg.norm(right)
    up = np.cross(forward, right)
    xs = (((np.arange(texels) + 0.5) / texels * 2 - 1) * extent).astype(np.float32)
    position = np.array(centre, np.float32) - forward * np.float32(120)
    return Camera(position, forward, right.astype(np.float32), up.astype(np.float32), xs, -xs, orthographic=True)
