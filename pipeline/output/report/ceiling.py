"""The speed-of-light line of a run: what it did, what its method does alone, what its devices leave at most."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline import quantity
from pipeline.devices import Precision, recognised
from pipeline.output.report.speed import RunSpeed


@dataclass(frozen=True)
class Ceiling:
    """Of one run.

    Attributes:
        most: images per second that all devices of the run can make at most; ``None`` where that is not known.
        said: how it comes about, or why it is not known.
        tflops: 10^12 operations per second of one worker while its method works; ``None`` where none were counted.
    """

    run: RunSpeed
    most: float | None
    said: str
    tflops: float | None

    @classmethod
    def of(cls, run: RunSpeed, precision: Precision, gpus: float) -> Ceiling:
        """Of a run whose workers had so many ``gpus`` each, as the job says, with arithmetic of this precision."""
        counted = run.tflop_per_image
        if counted is None:
            return cls(run, None, "no operations of the method are counted in this run", None)
        tflops = None if run.unhindered is None else counted * run.unhindered / run.workers
        names = sorted(run.devices)
        if unknown := [name or "unnamed" for name in names if recognised(name) is None]:
            if unknown == ["cpu"]:
                return cls(run, None, "no ceiling is known of a CPU", tflops)
            return cls(run, None, f"no data sheet is known of {', '.join(unknown)}", tflops)
        tera, parts = 0.0, []
        for name in names:
            device = recognised(name)
            assert device is not None
            number = run.devices[name] * gpus
            tera += number * device.peak(precision)
            peak = f"{device.peak(precision):,g} TFLOP/s in {precision}"
            parts.append(f"{number:g} x {device.name} ({peak}, of its data sheet)")
        return cls(run, tera / counted, " and ".join(parts), tflops)

    @property
    def counted(self) -> str | None:
        """Operations of a picture, for people."""
        return None if self.run.tflop_per_image is None else quantity.flop(self.run.tflop_per_image)

    @property
    def rate(self) -> str | None:
        """Operations per second of one worker, for people."""
        return None if self.tflops is None else f"{quantity.flop(self.tflops)}/s"
