"""`sceneshift --version`: what a report of a fault has to name."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

_NAMED = ("sceneshift", "torch", "ray")


def versions() -> dict[str, str | None]:
    """The versions of this package, Python, torch and Ray, from what is installed: none of them is imported.

    ``None`` for a package that is not installed.
    """
    found = {name: _installed(name) for name in _NAMED}
    return {"sceneshift": found.pop("sceneshift"), "python": platform.python_version(), **found}


def version_line() -> str:
    """The same for a person, in one line."""
    return ", ".join(f"{name} {number or 'not installed'}" for name, number in versions().items())


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
