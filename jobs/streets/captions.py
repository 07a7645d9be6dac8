"""One sentence on a scene under a condition."""

from collections import Counter

from jobs.streets.conditions import Condition
from jobs.streets.scene import Scene
from jobs.streets.taxonomy import Label
from jobs.streets.truth import Truth

_KINDS = {
    "downtown": "downtown street",
    "residential": "residential street",
    "avenue": "avenue",
    "suburb": "suburban street",
}
_TIMES = {"day": "in the day", "night": "at night"}


def caption(scene: Scene, truth: Truth, condition: Condition) -> str:
    """What a person would say: street, visible traffic, time and weather."""
    seen = Counter(thing.instance.label for thing in truth.things)
    cars = seen[Label.CAR]
    parts = ["many cars" if cars > 6 else "a few cars" if cars > 2 else "little traffic"]
    parts += [word for label, word in ((Label.BUS, "a bus"), (Label.TRUCK, "a truck")) if seen[label]]
    if seen[Label.RIDER]:
        parts.append("a motorcyclist" if seen[Label.MOTORCYCLE] and not seen[Label.BICYCLE] else "a rider")
    if seen[Label.PERSON]:
        parts.append("pedestrians" if seen[Label.PERSON] > 1 else "a pedestrian")
    listed = parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1]
    crossing = " at a crossing" if scene.road.crossing else ""
    street = f"a driving scene on a {scene.road.lanes}-lane {_KINDS[scene.district_name]} with {listed}{crossing}"
    return f"{street}, {_TIMES[condition.time]}{condition.weather.phrase}"
