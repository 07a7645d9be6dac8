"""`sceneshift schema`."""

from __future__ import annotations

import json
from pathlib import Path

from jobs.console import DONE, Console
from jobs.schema import Kind, schema


def schema_command(console: Console, kind: Kind, method: str | None, out: Path | None) -> int:
    """Print the JSON Schema of a kind of file, or write it for an editor to find."""
    text = json.dumps(schema(kind, method), indent=2) + "\n"
    if out is None:
        print(text, end="")
        return DONE
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(text, encoding="utf-8")
    console.result({"schema": str(out)})
    console.say(f"wrote {out}; put this line at the top of the file it describes:")
    console.say(f"  # yaml-language-server: $schema={out}")
    return DONE
