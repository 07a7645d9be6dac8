"""What GPUs can do at most, from their makers' data sheets."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from methods.errors import InputError
from methods.plugins import nearest

Precision = Literal["float32", "bfloat16", "float16"]


@dataclass(frozen=True)
class Device:
    """One kind of GPU.

    Attributes:
        half: TFLOP/s of its matrix units in 16 bits, without sparsity, sums in 32 bits.
        single: TFLOP/s in float32, without TF32.
    """

    name: str
    half: float
    single: float

    def peak(self, precision: Precision) -> float:
        """TFLOP/s at most."""
        return self.single if precision == "float32" else self.half


DEVICES = {
    each.name: each
    for each in (
        Device("T4", 65, 8.1),
        Device("V100", 125, 15.7),
        Device("A10", 125, 31.2),
        Device("A10G", 70, 31.5),
        Device("L4", 121, 30.3),
        Device("L40S", 362, 91.6),
        Device("A100", 312, 19.5),
        Device("H100", 989, 67),
        Device("H100 PCIe", 756, 51),
        Device("H200", 989, 67),
        Device("B200", 2250, 75),
        Device("RTX 3090", 71, 35.6),
        Device("RTX 4090", 165, 82.6),
        Device("RTX A6000", 155, 38.7),
        Device("RTX 6000 Ada", 364, 91.1),
    )
}
"""By name. Of several builds of one chip the fastest, unless it is named."""


def device_named(name: str) -> Device:
    """The device of this name, in any case. Raises InputError that names the nearest."""
    for known, device in DEVICES.items():
        if known.lower() == name.strip().lower():
            return device
    raise InputError(f"--on: no figures for a device '{name}': {nearest(name, DEVICES)}")


def recognised(name: str) -> Device | None:
    """The device of a name as a driver gives it (``NVIDIA H100 80GB HBM3``); ``None`` where it is not known."""
    words = re.sub(r"[-_]", " ", name).lower()
    for known in sorted(DEVICES, key=len, reverse=True):
        parts = known.lower().split()
        if all(re.search(rf"\b{re.escape(part)}\b", words) for part in parts):
            return DEVICES[known]
    return None
