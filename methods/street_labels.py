"""What is true of every picture that a preset for streets makes, in BDD100K's words for attributes of a picture."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

STREET_LABELS: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "day": {"timeofday": "daytime"},
        "night": {"timeofday": "night"},
        "clear": {"weather": "clear"},
        "fog": {"weather": "foggy"},
        "rain": {"weather": "rainy"},
        "snow": {"weather": "snowy"},
    }
)
"""Attributes by what the pictures are turned into."""
