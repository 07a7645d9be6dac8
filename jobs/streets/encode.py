"""A rendered scene as bytes: what one worker hands back for all conditions of one scene."""

import io
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from jobs.streets.annotations import bdd100k_frame
from jobs.streets.captions import caption
from jobs.streets.conditions import CONDITIONS
from jobs.streets.frame import Frame
from jobs.streets.scene import Scene
from jobs.streets.texture import Array
from jobs.streets.truth import Thing, truth_of

JPEG_QUALITY = 92
CENTIMETRES = 100


@dataclass(frozen=True)
class RenderJob:
    """One scene to render: its seed, picture size, conditions, and the condition whose picture is everyone's target.

    ``lossless``: pictures as PNG instead of JPEG.
    """

    seed: int
    width: int
    height: int
    conditions: tuple[str, ...]
    paired_with: str | None
    lossless: bool = False

    @property
    def suffix(self) -> str:
        """Ending of the picture's member."""
        return "png" if self.lossless else "jpg"

    @property
    def key(self) -> str:
        """The sample's key, the same in all conditions."""
        return f"scene-{self.seed:08d}"


@dataclass(frozen=True)
class EncodedScene:
    """``members`` per condition: suffix -> bytes, in file order. ``things`` are the boxes, the same in all of them."""

    key: str
    members: dict[str, dict[str, bytes]]
    things: tuple[Thing, ...]


def render_scene(job: RenderJob) -> EncodedScene:
    """Render one scene under all conditions of the job."""
    scene = Scene(job.seed)
    frame = Frame(scene, job.width, job.height)
    truth = truth_of(frame)
    names = {*job.conditions, *([job.paired_with] if job.paired_with else [])}
    encode = png if job.lossless else jpeg
    pictures = {name: encode(frame.render(name)) for name in names}
    maps = {
        "seg.png": png(truth.label),
        "instance.png": png(truth.instance),
        "depth.png": png(np.round(truth.depth * CENTIMETRES).astype(np.uint16)),
        "edges.png": png(truth.edges),
    }
    members = {}
    for name in job.conditions:
        condition = CONDITIONS[name]
        labels = bdd100k_frame(scene, truth, condition, f"{job.key}.{job.suffix}", (job.width, job.height))
        members[name] = {
            job.suffix: pictures[name],
            "txt": caption(scene, truth, condition).encode(),
            "json": to_json(labels),
            **maps,
        }
        if job.paired_with and name != job.paired_with:
            members[name][f"target.{job.suffix}"] = pictures[job.paired_with]
    return EncodedScene(job.key, members, truth.things)


def jpeg(picture: Array) -> bytes:
    """JPEG of an RGB picture, uint8 (height, width, 3)."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def png(field: Array) -> bytes:
    """PNG of a map, uint8 or uint16 (height, width), or of an RGB picture, uint8 (height, width, 3)."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(field)).save(buffer, "PNG", compress_level=6)
    return buffer.getvalue()


def to_json(value: Any) -> bytes:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":")).encode()
