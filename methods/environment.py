"""Environment variables of a submitted job: read from a file beside it, in the driver and in every worker.

Ray takes variables too, but writes their values into its logs on every node, and shows them to whoever may ask its
Jobs API. So Ray is given the name of a file alone, which travels with the job's other files.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

VARIABLE = "SCENESHIFT_ENVIRONMENT"
"""Names the file, by its path in the folder that the job works in: a JSON object of names and values."""


def take_over() -> None:
    """Set the variables of the file, if one is named; processes started from here inherit them.

    Raises:
        RuntimeError: the file is not there or no such object. No value is shown.
    """
    name = os.environ.get(VARIABLE)
    if not name:
        return
    try:
        found = json.loads(Path(name).read_text(encoding="utf-8"))
        os.environ.update({str(key): str(value) for key, value in found.items()})
        # for processes that are started from here and work elsewhere
        os.environ[VARIABLE] = str(Path(name).resolve())
    except (OSError, ValueError, AttributeError) as error:
        raise RuntimeError(f"{VARIABLE} names {name}, which cannot be read ({type(error).__name__})") from None
