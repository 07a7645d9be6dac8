"""Libraries that report their use to somebody: switched off in every process, before any of them is imported.

Importing :mod:`methods` does it, which every process of ours does first, workers on a foreign cluster too. Who sets one
of the variables keeps what they set.
"""

from __future__ import annotations

import os

SWITCHES = {
    # Ray's usage statistics.
    "RAY_USAGE_STATS_ENABLED": "0",
    # huggingface_hub, and with it transformers, diffusers and datasets.
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "DISABLE_TELEMETRY": "1",
    # datasets counts downloads of its loading scripts.
    "HF_UPDATE_DOWNLOAD_COUNTS": "0",
    # wandb reports its own faults to its makers.
    "WANDB_ERROR_REPORTING": "false",
    # Others that honour the common wish (https://donottrack.sh).
    "DO_NOT_TRACK": "1",
}


def switch_off() -> None:
    """Set the variables that are not set; processes started from here inherit them."""
    for name, value in SWITCHES.items():
        os.environ.setdefault(name, value)
