"""A street scene, described completely by one integer seed."""

from dataclasses import dataclass

import numpy as np

from jobs.streets import figures, two_wheelers, vehicles
from jobs.streets.buildings import DISTRICTS, ShopLight, add_buildings, add_skyline
from jobs.streets.geometry import Geometry, Mesh, Placement
from jobs.streets.instances import Instances
from jobs.streets.road import Crossing, Road
from jobs.streets.roadside import StreetLamp, add_lamps, add_signals, add_signs, add_trees
from jobs.streets.surfaces import Surface
from jobs.streets.taxonomy import Label
from jobs.streets.texture import Array, rgb


@dataclass(frozen=True)
class CameraView:
    """The car camera: height in metres, lateral position, angles in degrees; exposure and white balance (3,)."""

    x: float
    height: float
    fov: float
    pitch: float
    yaw: float
    exposure: float
    white_balance: Array


@dataclass(frozen=True)
class SkyState:
    """What the sky of this scene holds: direction to the sun (3,), cloud cover in [0, 1], offset of the clouds (2,)."""

    sun: Array
    clouds: float
    offset: Array


class Scene:
    """A street with its traffic. The same seed gives the same scene, on every machine and in every condition."""

    def __init__(self, seed: int) -> None:
        """Build the scene of ``seed`` (>= 0)."""
        self.seed = seed
        rng = np.random.default_rng(seed)
        self.district_name = str(rng.choice(tuple(DISTRICTS), p=(0.35, 0.25, 0.25, 0.15)))
        self.district = DISTRICTS[self.district_name]
        self.road = self._road(rng)
        self.view = self._view(rng)
        sun = rgb(rng.uniform(-1, 1), rng.uniform(0.45, 1.1), rng.uniform(-0.8, 0.9))
        self.sky = SkyState(sun / np.linalg.norm(sun), float(rng.uniform(0.25, 0.75)), rng.uniform(0, 256, 2))
        self.instances = Instances()
        self.vehicles: list[vehicles.Vehicle] = []
        self._occupied: list[tuple[float, float, float]] = []
        mesh = Mesh()
        mesh.quad((-300, 0, -20), (600, 0, 0), (0, 0, 420), Surface.GROUND, Label.ROAD, (0.2, 0.2, 0.2))
        self.shops: list[ShopLight] = add_buildings(mesh, self.road, self.district, rng)
        add_skyline(mesh, rng)
        self.lamps: list[StreetLamp] = add_lamps(mesh, self.road, rng)
        add_trees(mesh, self.road, self.district, rng)
        add_signs(mesh, self.road, rng, self.instances)
        add_signals(mesh, self.road, rng, self.instances)
        self._add_traffic(mesh, rng)
        self._add_parked(mesh, rng)
        self._add_people(mesh, rng)
        self.geometry: Geometry = mesh.pack()

    def _road(self, rng: np.random.Generator) -> Road:
        bend = rng.normal(0, 0.0009)
        lanes = int(rng.choice((2, 3, 4)))
        crossing = Crossing(rng.uniform(18, 45), rng.uniform(7, 11)) if rng.random() < 0.55 else None
        return Road(
            bend=bend,
            lanes=2 if self.district_name == "residential" else lanes,
            lane_width=rng.uniform(3.1, 3.6),
            parking=2.2 if rng.random() < 0.6 else 0.5,
            pavement=rng.uniform(2.2, 4.5),
            crossing=crossing,
        )

    def _view(self, rng: np.random.Generator) -> CameraView:
        road = self.road
        if road.lanes % 2:
            x = road.lane_width * 0.9
        else:
            x = (road.lanes // 2 - 0.5 if road.lanes > 2 else 0.5) * road.lane_width
        warmth = rng.normal(0, 0.02)
        return CameraView(
            x=x,
            height=rng.uniform(1.35, 1.9),
            fov=rng.uniform(52, 70),
            pitch=rng.uniform(-3.5, 1.0),
            yaw=rng.normal(0, 1.5),
            exposure=float(np.exp(rng.normal(0, 0.07))),
            white_balance=rgb(1 + warmth, 1 + rng.normal(0, 0.006), 1 - warmth),
        )

    def _free(self, x: float, z: float, length: float) -> bool:
        """Claim a place on the road for something ``length`` metres long; False when it is taken."""
        for other_x, other_z, other_length in self._occupied:
            if abs(x - other_x) < 2.2 and abs(z - other_z) < (length + other_length) / 2 + 1:
                return False
        self._occupied.append((x, z, length))
        return True

    def _add_traffic(self, mesh: Mesh, rng: np.random.Generator) -> None:
        road = self.road
        for lane in range(road.lanes):
            x = road.lane_middle(lane)
            oncoming = x < 0
            for _ in range(rng.integers(1, 5)):
                z = 7 + 75 * rng.random() ** 1.5
                kind = rng.random()
                length = 10.0 if kind < 0.08 else 2.2 if kind > 0.90 else 4.6
                if not oncoming and abs(x - self.view.x) < 1.5:
                    z = max(z, rng.uniform(8, 16) + (length - 4) / 2)
                if not self._free(x, z, length + 3):
                    continue
                heading = road.heading(z) + (np.pi if oncoming else 0)
                place = Placement(x + road.bend_at(z) + rng.normal(0, 0.15), z, heading)
                if kind < 0.04:
                    self.vehicles.append(vehicles.bus(mesh, place, rng, self.instances.add(Label.BUS)))
                elif kind < 0.08:
                    self.vehicles.append(vehicles.truck(mesh, place, rng, self.instances.add(Label.TRUCK)))
                elif kind > 0.95:
                    self._add_motorcyclist(mesh, place, rng)
                elif kind > 0.90:
                    self._add_cyclist(mesh, Placement(place.x + place.right[0] * 0.9, z, heading), rng)
                else:
                    self._add_car(mesh, place, rng, driving=True)

    def _add_car(self, mesh: Mesh, place: Placement, rng: np.random.Generator, *, driving: bool) -> None:
        self.vehicles.append(vehicles.car(mesh, place, rng, self.instances.add(Label.CAR), driving=driving))

    def _add_cyclist(self, mesh: Mesh, place: Placement, rng: np.random.Generator) -> None:
        two_wheelers.bicycle(mesh, place, rng, self.instances.add(Label.BICYCLE), lights=True)
        outfit = figures.dress(rng, helmet=bool(rng.random() < 0.5))
        figures.rider(mesh, place, 0.95, 1.02, 0.28, outfit, self.instances.add(Label.RIDER))

    def _add_motorcyclist(self, mesh: Mesh, place: Placement, rng: np.random.Generator) -> None:
        self.vehicles.append(
            two_wheelers.motorcycle(mesh, place, rng, self.instances.add(Label.MOTORCYCLE), lights=True)
        )
        outfit = figures.dress(rng, helmet=True)
        figures.rider(mesh, place, 0.84, 1.06, 0.32, outfit, self.instances.add(Label.RIDER))

    def _add_parked(self, mesh: Mesh, rng: np.random.Generator) -> None:
        road = self.road
        for side in (-1, 1):
            z = rng.uniform(4, 10)
            while road.has_parking and z < 75:
                heading = road.heading(z) + (np.pi if side < 0 else 0)
                place = Placement(side * (road.half - 1.15) + road.bend_at(z), z, heading)
                choice = rng.random()
                if road.near_crossing(z, 4):
                    pass
                elif choice < 0.60:
                    self._add_car(mesh, place, rng, driving=False)
                elif choice < 0.66:
                    parked = two_wheelers.motorcycle(
                        mesh, place, rng, self.instances.add(Label.MOTORCYCLE), lights=False
                    )
                    self.vehicles.append(parked)
                z += rng.uniform(5.3, 7.5)
            for _ in range(rng.poisson(0.5)):
                z = rng.uniform(5, 30)
                if not road.near_crossing(z, 1):
                    x = side * (road.half + rng.uniform(0.5, 0.9)) + road.bend_at(z)
                    stand = Placement(x, z, rng.choice((0.0, 0.6, 1.2, np.pi)), y=0.12)
                    two_wheelers.bicycle(mesh, stand, rng, self.instances.add(Label.BICYCLE), lights=False)

    def _add_people(self, mesh: Mesh, rng: np.random.Generator) -> None:
        road = self.road
        for _ in range(rng.poisson(self.district.people)):
            side, z = rng.choice((-1, 1)), rng.uniform(6, 45)
            x = side * rng.uniform(road.half + 0.6, road.edge - 0.3) + road.bend_at(z)
            yaw = rng.choice((0.0, np.pi)) + rng.normal(0, 0.35)
            figures.walker(mesh, Placement(x, z, yaw, y=0.12), rng, self.instances.add(Label.PERSON))
        if road.crossing:
            for _ in range(rng.poisson(2.2)):
                z = road.crossing.start - 2 + rng.uniform(-0.8, 0.8)
                self._add_pedestrian_on_road(mesh, rng, z)
        elif rng.random() < 0.25:
            self._add_pedestrian_on_road(mesh, rng, rng.uniform(12, 30))

    def _add_pedestrian_on_road(self, mesh: Mesh, rng: np.random.Generator, z: float) -> None:
        x = rng.uniform(-self.road.half, self.road.half)
        if not self._free(x, z, 0.6):
            return
        place = Placement(x + self.road.bend_at(z), z, rng.choice((-1, 1)) * np.pi / 2 + rng.normal(0, 0.15))
        figures.walker(mesh, place, rng, self.instances.add(Label.PERSON))
