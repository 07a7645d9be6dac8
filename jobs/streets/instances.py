"""The countable things of a scene, in the order they were placed."""

from dataclasses import dataclass

from jobs.streets.taxonomy import Label


@dataclass(frozen=True)
class Instance:
    """One countable thing. ``number`` is its value in instance maps; ``colour`` is a traffic light's state."""

    number: int
    label: Label
    colour: str = "none"


class Instances(list[Instance]):
    """Numbered from 1; 0 in an instance map is 'no countable thing'."""

    def add(self, label: Label, colour: str = "none") -> int:
        """Enter a new thing and give its number."""
        self.append(Instance(len(self) + 1, label, colour))
        return len(self)
