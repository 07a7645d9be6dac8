"""The timesteps between which to edit, from how much of the picture is left at each (section 4.3)."""

from __future__ import annotations

import math
from pathlib import Path

from methods.errors import InputError
from methods.files import write_text

Table = dict[int, float]
"""Mean LPIPS to the original picture by the timestep an inversion step ends at."""


def read_table(path: Path) -> Table:
    """The ``timestep<TAB>value`` lines of a released or measured table.

    Raises:
        InputError: not such a file; the line is named.
    """
    table: Table = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as an LPIPS table ({type(error).__name__})") from None
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            key, value = line.split("\t")
            timestep, distance = int(key), float(value)
        except ValueError:
            raise InputError(f"{path}, line {number}: found '{line[:40]}', expected 'timestep<TAB>LPIPS'") from None
        if not math.isfinite(distance) or not 0 <= timestep < 1000 or timestep in table:
            raise InputError(f"{path}, line {number}: found '{line[:40]}', expected each timestep 0..999 once, finite")
        table[timestep] = distance
    if not table:
        raise InputError(f"{path}: an empty LPIPS table")
    return table


def write_table(path: Path, table: Table) -> Path:
    """Write ``timestep<TAB>value`` lines, rising."""
    write_text(path, "".join(f"{timestep}\t{value}\n" for timestep, value in sorted(table.items())))
    return path


def first_reaching(table: Table, threshold: float, where: str) -> int:
    """The smallest timestep whose LPIPS is at least ``threshold``.

    For ``t_edit``: the table of predicted x0 and 0.33 times the CLIP cosine of the two texts. For ``t_boost``: the
    table of x_t and 1.2.

    Raises:
        InputError: the table never gets there.
    """
    reached = [timestep for timestep, value in table.items() if value >= threshold]
    if not reached:
        raise InputError(f"{where}: reaches {max(table.values()):.3f} at most, expected {threshold:.3f} somewhere")
    return min(reached)
