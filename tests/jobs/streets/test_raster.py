"""The rasteriser against rays traced one by one, and bodies without holes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.streets import vehicles
from jobs.streets.camera import Camera, perspective, sun_view
from jobs.streets.geometry import Geometry, Mesh, Placement
from jobs.streets.raster import FAR, rasterise
from jobs.streets.surfaces import Surface
from jobs.streets.taxonomy import Label

GREY = (0.5, 0.5, 0.5)


def _random_mesh(rng: np.random.Generator) -> Geometry:
    mesh = Mesh()
    for number in range(1, 7):
        centre = rng.uniform((-3, -2, 2), (3, 2, 9))
        first, second, third = rng.normal(0, 1.2, (3, 3))
        if number % 2:
            mesh.quad(centre, first, second, Surface.PLAIN, Label.BUILDING, GREY, number)
        else:
            axes = np.linalg.qr(np.stack([first, second, third]))[0] * rng.uniform(0.2, 1.5, (3, 1))
            mesh.ellipsoid(centre, (axes[0], axes[1], axes[2]), Surface.PLAIN, Label.PERSON, GREY, number)
    return mesh.pack()


def _trace(geometry: Geometry, start: np.ndarray, ray: np.ndarray, i: int) -> float:
    """Ray parameter at which primitive ``i`` is hit, or infinity; in double precision, by another formula."""
    origin = geometry.origin[i].astype(float)
    u, v, w = (edge[i].astype(float) for edge in (geometry.edge_u, geometry.edge_v, geometry.edge_w))
    if geometry.round[i]:
        basis = np.linalg.inv(np.stack([u, v, w], 1))
        a, b = basis @ ray, basis @ (start - origin)
        roots = np.roots([a @ a, 2 * a @ b, b @ b - 1])
        return float(min(roots.real)) if np.isreal(roots).all() and min(roots.real) > 0.1 else np.inf
    matrix = np.stack([ray, -u, -v], 1)
    if abs(np.linalg.det(matrix)) < 1e-9:
        return np.inf
    t, s, r = np.linalg.solve(matrix, origin - start)
    return float(t) if t > 0.1 and 0 <= s <= 1 and 0 <= r <= 1 else np.inf


def _rays(camera: Camera, row: int, column: int) -> tuple[np.ndarray, np.ndarray]:
    offset = camera.xs[column] * camera.right.astype(float) + camera.ys[row] * camera.up.astype(float)
    if camera.orthographic:
        return camera.position + offset, camera.forward.astype(float)
    return camera.position.astype(float), camera.forward + offset


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 10**6), sun=st.booleans())
def test_rasteriser_agrees_with_ray_tracing(seed: int, sun: bool) -> None:
    rng = np.random.default_rng(seed)
    geometry = _random_mesh(rng)
    if sun:
        camera = sun_view(np.array((0.3, 0.8, -0.52), np.float32), (0, 0, 5), 6.0, 18)
    else:
        camera = perspective((0, 0, 0), rng.normal(0, 8), rng.normal(0, 8), 75, 20, 16)
    drawn = rasterise(geometry, camera, amodal=True)
    wrong = 0
    for row in range(camera.height):
        for column in range(camera.width):
            start, ray = _rays(camera, row, column)
            hits = [_trace(geometry, start, ray, i) for i in range(len(geometry))]
            nearest = int(np.argmin(hits))
            seen = drawn.primitive[row, column]
            if np.isinf(hits[nearest]):
                wrong += seen != -1
            elif seen != nearest:
                wrong += 1
            else:
                assert drawn.depth[row, column] == pytest.approx(hits[nearest], rel=1e-3, abs=1e-3)
    assert wrong <= 3  # pixels whose ray grazes an edge
    assert (drawn.depth[drawn.primitive < 0] == FAR).all()
    for i in range(len(geometry)):
        visible = int((drawn.primitive == i).sum())
        assert drawn.whole.get(i + 1, 0) >= visible


def test_plane_through_the_camera_is_clipped() -> None:
    mesh = Mesh()
    mesh.quad((-50, 0, -5), (100, 0, 0), (0, 0, 500), Surface.GROUND, Label.ROAD, GREY)
    camera = perspective((0, 1.5, 0), 0, 0, 60, 32, 32)
    drawn = rasterise(mesh.pack(), camera)
    assert (drawn.primitive[17:] == 0).all()
    assert (drawn.primitive[:16] == -1).all()
    assert (np.diff(drawn.depth[17:, 16]) < 0).all()


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    kind=st.sampled_from((vehicles.bus, vehicles.truck, None)),
    turn=st.floats(-0.7, 0.7),
    distance=st.floats(7, 20),
    aside=st.floats(-2, 2),
)
def test_no_holes_in_vehicles(seed: int, kind, turn: float, distance: float, aside: float) -> None:
    """DuplicateFinder nearly side-on, every column of a vehicle is solid from its roof to its sill or its tyre."""
    mesh = Mesh()
    mesh.quad((-100, 0, -5), (200, 0, 0), (0, 0, 300), Surface.GROUND, Label.ROAD, GREY)
    rng = np.random.default_rng(seed)
    place = Placement(aside, distance, np.pi / 2 + turn)
    if kind is None:
        vehicles.car(mesh, place, rng, 1, driving=True)
    else:
        kind(mesh, place, rng, 1)
    geometry = mesh.pack()
    camera = perspective((0, 1.6, 0), 0, 0, 70, 160, 120)
    drawn = rasterise(geometry, camera)
    body = np.where(drawn.primitive >= 0, geometry.instance[np.maximum(drawn.primitive, 0)], 0) == 1
    assert body.any(0).sum() > 20
    for column in np.nonzero(body.any(0))[0]:
        rows = np.nonzero(body[:, column])[0]
        gap = np.nonzero(~body[rows[0] : rows[-1] + 1, column])[0] + rows[0]
        # Below the body one may look through to the far wheels: only there, a hand's breadth above the road.
        for row in gap:
            above_road = 1.6 + camera.ys[row] * drawn.depth[rows[rows < row][-1], column]
            assert above_road < (0.75 if kind is vehicles.truck else 0.45 if kind else 0.2), (row, column)
