"""The gallery's page: one HTML file with pictures, scores and job files inside."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image

if TYPE_CHECKING:
    from jobs.gallery.exhibit import Absent, Exhibit


def write_page(path: Path, exhibits: Sequence[Exhibit], absent: Sequence[Absent]) -> Path:
    """Write ``exhibits`` and what is not shown as one HTML document that needs no network."""
    environment = Environment(
        loader=PackageLoader("jobs.gallery", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["inline"] = inline
    shown = [{"exhibit": exhibit, "scores": scores(exhibit.summary)} for exhibit in exhibits]
    page = environment.get_template("gallery.html.j2").render(shown=shown, absent=absent)
    path.write_text(page, encoding="utf-8")
    return path


def scores(summary: dict[str, Any]) -> list[tuple[str, str]]:
    """Name and text of the mean over pictures of each metric in a ``metrics.json``."""
    found = [(name, values.get("mean")) for name, values in sorted(summary.get("columns", {}).items())]
    return [(name, f"{value:.4g}") for name, value in found if value is not None]


def inline(encoded: bytes) -> str:
    """A ``data:`` URI of an encoded picture, unchanged."""
    with Image.open(io.BytesIO(encoded)) as picture:
        kind = Image.MIME[picture.format or "PNG"]
    return f"data:{kind};base64,{base64.b64encode(encoded).decode('ascii')}"
