"""Procedural street scenes with exact ground truth: one seed, one scene, any number of conditions."""

from jobs.streets.conditions import CONDITIONS, Condition
from jobs.streets.frame import Frame
from jobs.streets.scene import Scene

__all__ = ["CONDITIONS", "Condition", "Frame", "Scene"]
