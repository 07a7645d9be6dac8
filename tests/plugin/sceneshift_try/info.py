"""Descriptions of the test methods."""

from methods.base import MethodInfo, MethodParams, Preset


class NoParams(MethodParams):
    """Nothing to set."""


class SleeperParams(MethodParams):
    """A device that takes its time."""

    seconds: float = 0.05


class TroubleParams(MethodParams):
    """Trouble happens to samples whose key holds one of the words die, raise, lookup, hang, nan, refuse.

    ``once`` names a folder: a sample that dies there leaves a file and lives the next time. ``seconds`` is the time
    that every batch takes, ``hang`` the time that one which hangs does.
    """

    once: str | None = None
    seconds: float = 0.0
    hang: float = 3600.0


def _info(name: str, params: type[MethodParams], **more) -> MethodInfo:
    return MethodInfo(
        name=name,
        summary=f"test method {name}",
        paper="none",
        implementation=f"sceneshift_try.translators:{name.capitalize()}",
        params=params,
        **{"shard_size": 8, "batch_size": (4, 4), **more},
    )


NULL = _info("null", NoParams)
INVERT = _info(
    "invert",
    NoParams,
    presets={"plain": Preset("as it is"), "night": Preset("light to dark", labels={"timeofday": "night"})},
)
NOISY = _info("noisy", NoParams)
SMOOTH = _info("smooth", NoParams, compiles=True)
SLEEPER = _info("sleeper", SleeperParams, shard_size=64, batch_size=(8, 8))
TROUBLE = _info("trouble", TroubleParams)
