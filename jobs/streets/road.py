"""The road's course and cross-section: everything else is placed by it."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Crossing:
    """A street that crosses ours at right angles: its middle's z and its width, metres."""

    z: float
    width: float

    @property
    def start(self) -> float:
        """z of the near kerb."""
        return self.z - self.width / 2

    @property
    def end(self) -> float:
        """z of the far kerb."""
        return self.z + self.width / 2


@dataclass(frozen=True)
class Road:
    """A gently bent road along +z; lateral positions x are relative to its middle line. Metres."""

    bend: float
    lanes: int
    lane_width: float
    parking: float
    pavement: float
    crossing: Crossing | None

    @property
    def carriageway(self) -> float:
        """Half the width of all lanes."""
        return self.lanes * self.lane_width / 2

    @property
    def half(self) -> float:
        """Half the width from kerb to kerb, parking included."""
        return self.carriageway + self.parking

    @property
    def edge(self) -> float:
        """From the middle line to the outer edge of the pavement."""
        return self.half + self.pavement

    @property
    def has_parking(self) -> bool:
        """True when cars are parked along the kerbs."""
        return self.parking > 1

    def lane_middle(self, lane: int) -> float:
        """Lateral position of lane ``lane``, counted from the left."""
        return -self.carriageway + (lane + 0.5) * self.lane_width

    def bend_at(self, z: float) -> float:
        """How far the middle line has moved sideways at ``z``."""
        return self.bend * z * z

    def heading(self, z: float) -> float:
        """Yaw of the road at ``z``, radians."""
        return float(np.arctan(2 * self.bend * z))

    def near_crossing(self, z: float, margin: float) -> bool:
        """True when ``z`` lies in the crossing or within ``margin`` metres of it."""
        return self.crossing is not None and abs(z - self.crossing.z) < self.crossing.width / 2 + margin
