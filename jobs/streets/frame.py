"""One view of a scene: geometry and materials once, then any number of conditions, and the truth."""

import numpy as np

from jobs.streets.camera import perspective
from jobs.streets.conditions import Condition
from jobs.streets.conditions import condition as find_condition
from jobs.streets.gbuffer import GBuffer, see
from jobs.streets.lens import develop
from jobs.streets.lighting import SunShadow, shade
from jobs.streets.scene import Scene
from jobs.streets.surfaces import Surface
from jobs.streets.texture import NOISE_B, Array, mix, noise, smooth, unit

SUPERSAMPLING = 2


class Frame:
    """A scene seen by its camera at a given size."""

    def __init__(self, scene: Scene, width: int, height: int, supersampling: int = SUPERSAMPLING) -> None:
        """Rasterise ``scene``; every pixel is the mean of ``supersampling`` squared samples."""
        self.scene, self.width, self.height, self.supersampling = scene, width, height, supersampling
        view = scene.view
        columns, rows = width * supersampling, height * supersampling
        camera = perspective((view.x, view.height, 0), view.yaw, view.pitch, view.fov, columns, rows)
        self.view: GBuffer = see(scene, camera, amodal=True)
        self._mirror: GBuffer | None = None
        self._shadow = SunShadow(scene, _shadow_texels(max(width, height)))

    def render(self, condition: str | Condition) -> Array:
        """The photograph under a condition (a name of :data:`CONDITIONS`), uint8 (height, width, 3)."""
        chosen = find_condition(condition)
        linear = shade(self.scene, self.view, chosen, self._shadow)
        if chosen.weather.name == "rain":
            linear = self._on_wet_road(linear, chosen)
        rng = np.random.default_rng((self.scene.seed, *chosen.name.encode()))
        return develop(linear, self.supersampling, chosen, self.scene.view, rng)

    def _on_wet_road(self, linear: Array, condition: Condition) -> Array:
        """Add what a wet road mirrors: the scene through the mirrored camera, smeared up and down, more in puddles."""
        if self._mirror is None:
            self._mirror = see(self.scene, self.view.camera.mirrored(), ground=False)
        mirrored = shade(self.scene, self._mirror, condition, self._shadow)
        smeared = _smear(mirrored, max(2, mirrored.shape[0] // 40))
        ground = np.nonzero(self.view.surface == Surface.GROUND)[0]
        rows, columns = self.view.pixels[0][ground], self.view.pixels[1][ground]
        position = self.view.position[ground]
        ray = position - self.view.camera.position
        steep = np.clip(-unit(ray)[:, 1], 0, 1)
        puddles = smooth(0.35, 0.62, noise(position[:, 0] * 5, position[:, 2] * 3.2, NOISE_B))
        share = np.clip((0.04 + 0.96 * (1 - steep) ** 4) * (0.30 + 0.55 * puddles), 0, 0.85)
        ripple = ((noise(position[:, 0] * 40, position[:, 2] * 25) - 0.5) * 4 * self.supersampling).astype(int)
        source = np.clip(columns + ripple, 0, linear.shape[1] - 1)
        linear[rows, columns] = mix(linear[rows, columns], smeared[rows, source], share)
        return linear


def _shadow_texels(pixels: int) -> int:
    """Side of the shadow map for pictures of ``pixels`` a side: about as fine as what it falls on."""
    return 400 if pixels <= 160 else min(max(640, 2 * pixels), 2048)


def _smear(image: Array, reach: int) -> Array:
    """Mean over ``reach`` rows above and below, the edge rows repeated; (height, width, 3)."""
    padded = np.pad(image, ((reach + 1, reach), (0, 0), (0, 0)), mode="edge")
    total = np.cumsum(padded, 0, dtype=np.float64)
    return ((total[2 * reach + 1 :] - total[: -2 * reach - 1]) / (2 * reach + 1)).astype(np.float32)
