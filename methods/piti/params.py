"""What a user can set on PITI."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from methods.base import MethodParams
from methods.piti.config import Family

Condition = Literal[
    "coco_stuff",
    "panoptic",
    "cityscapes",
    "bdd100k",
    "colour",
    "sketch",
    "canny",
    "hed",
    "depth",
    "normals",
    "depth_normals",
]

FAMILIES: dict[str, Family] = {
    "coco_stuff": "mask",
    "panoptic": "mask",
    "cityscapes": "mask",
    "bdd100k": "mask",
    "colour": "mask",
    "sketch": "sketch",
    "canny": "sketch",
    "hed": "sketch",
    "depth": "depth",
    "normals": "normals",
    "depth_normals": "depth_normals",
}
"""The kind of model that each condition needs."""


def check_respacing(text: str) -> str:
    """``text`` if it is a respacing string for 1000 steps; ValueError if not."""
    from methods.nn.gaussian_diffusion import respace

    respace(text)
    return text


Respacing = Annotated[str, AfterValidator(check_respacing)]


class PITIParams(MethodParams):
    """Parameters of PITI.

    Attributes:
        condition: what the source picture is; a job sets it as ``source.condition``. ``coco_stuff``: ids 0 to 181, and
            255; ``cityscapes``: its own ids; ``bdd100k``: the 19 train ids; ``panoptic``: COCO's PNG, with
            ``panoptic_json``; ``colour``: a mask already in the model's colours; ``sketch``: white lines on black;
            ``canny``, ``hed``: edges drawn from a photo; ``depth``, ``normals``; ``depth_normals``: depth, with normals
            in another member.
        upsampler: weights of the upsampler, as URI; not needed with a file of ours that holds both models.
        panoptic_json: URI of the JSON that belongs to the panoptic PNGs.
        labels: own label ids -> COCO-Stuff ids, in place of the built-in table of ``coco_stuff``, ``cityscapes`` or
            ``bdd100k``.
        canny_thresholds: low and high hysteresis thresholds, on 256 x 256 pixels.
        depth_scale: metres a unit of the depth map (0.001: millimetres).
        normals: member or column with the normals, for ``depth_normals``; listed in ``source.masks``.
        guidance_scale: 1 is no guidance, and half the work.
        guidance: ``plain`` as released, or ``normalised`` as in the paper (section 3.4, equation 8).
        steps, upsampler_steps: respacing strings: a number, ``ddimN``, ``N,N,...`` or ``fast27``.
    """

    condition: Condition = "coco_stuff"
    upsampler: str | None = None
    panoptic_json: str | None = None
    labels: dict[int, Annotated[int, Field(ge=0, le=255)]] | None = None
    canny_thresholds: tuple[float, float] = (100.0, 200.0)
    depth_scale: Annotated[float, Field(gt=0)] = 0.001
    normals: str = "normal.png"
    guidance_scale: Annotated[float, Field(ge=0, le=50)] = 1.3
    guidance: Literal["plain", "normalised"] = "plain"
    steps: Respacing = "250"
    upsampler_steps: Respacing = "fast27"

    @property
    def family(self) -> Family:
        """The kind of model this condition needs."""
        return FAMILIES[self.condition]
