"""Visible points of a scene and what they are made of, as arrays of m rows."""

from dataclasses import dataclass

from jobs.streets.texture import Array


@dataclass
class Points:
    """m visible points: the primitives they lie on, texture coordinates u, v (m,), world positions (m, 3).

    ``local`` (m, 3) are positions in the unit sphere of an ellipsoid (right, up, ahead); zero for parallelograms.
    """

    primitive: Array
    u: Array
    v: Array
    position: Array
    local: Array

    def take(self, rows: Array) -> "Points":
        """The points of some rows."""
        return Points(self.primitive[rows], self.u[rows], self.v[rows], self.position[rows], self.local[rows])


@dataclass
class Material:
    """Per point: ``albedo`` (m, 3), emission ``night`` and ``day`` (m, 3), ``gloss`` (m,), train id ``label`` (m,)."""

    albedo: Array
    night: Array
    day: Array
    gloss: Array
    label: Array

    def take(self, rows: Array) -> "Material":
        """Copies of some rows."""
        return Material(self.albedo[rows], self.night[rows], self.day[rows], self.gloss[rows], self.label[rows])

    def put(self, rows: Array, part: "Material") -> None:
        """Write ``part`` back to the rows it came from."""
        self.albedo[rows], self.night[rows], self.day[rows] = part.albedo, part.night, part.day
        self.gloss[rows], self.label[rows] = part.gloss, part.label
