"""The HTML that report and comparison have in common: templates, what their script may read, and what the page allows.

A page is one file that needs no network. Its policy allows one script, named by its hash: text that comes from the data
cannot run, even if it should get past the escaping.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from methods.counting import counted
from pipeline import quantity

_SCRIPT = "report.js"


def render(template: str, page: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """A page as one HTML document.

    Args:
        template: extends ``page.html.j2``.
        page: what it shows; all text in it is escaped, other than :class:`markupsafe.Markup`.
        data: JSON for the page's script.
    """
    environment = _environment()
    script = _script()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    # "<" as an escape, so that no text in it can end the element.
    content = Markup(json.dumps(data, ensure_ascii=True, separators=(",", ":")).replace("<", "\\u003c"))
    shared = {"script": Markup(script), "script_hash": f"sha256-{digest}", "data": content}
    return environment.get_template(template).render({**page, **shared})


@cache
def _script() -> str:
    loader = _environment().loader
    assert loader is not None
    return loader.get_source(_environment(), _SCRIPT)[0]


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pipeline", "output/report"),
        # Keys, captions and messages are foreign text: everything is escaped that is not made here.
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    for name in ("count", "figure", "measured", "share", "size", "duration", "moment"):
        environment.filters[name] = getattr(quantity, name)
    environment.filters["counted"] = counted
    return environment
