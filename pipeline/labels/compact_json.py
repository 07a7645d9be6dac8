"""Label records as JSON text in the form in which tables and outputs hold them."""

from __future__ import annotations

import json
from typing import Any


def compact_json(value: Any) -> str:
    """JSON in one line, without spaces, letters as they are. Raises TypeError for what JSON cannot hold."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
