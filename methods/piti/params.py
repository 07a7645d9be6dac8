"""The parameters of PITI."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from methods.base import MethodParams
from methods.piti.config import Family
from methods.uris import WeightsUri

Condition = Literal[
    "coco_stuff",
    "panoptic",
    "cityscapes",
    "bdd100k",
    "ade20k",
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
    "ade20k": "mask",
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
    """Parameters of PITI."""

    condition: Condition = "coco_stuff"
    """What the source image is; a job sets it as ``source.condition``. ``coco_stuff``: ids 0 to 181, and 255;
    ``cityscapes``: its own ids; ``bdd100k``: the 19 train ids; ``panoptic``: COCO's PNG, with ``panoptic_json``;
    ``colour``: a label map already in the model's colours; ``sketch``: white lines on black; ``canny``, ``hed``: edges
    detected in a photo; ``depth``, ``normals``; ``depth_normals``: depth, with normals in another member."""
    upsampler: WeightsUri | None = None
    """URI of the upsampler's weights; not needed with a file of ours that holds both models."""
    panoptic_json: WeightsUri | None = None
    """URI of the JSON annotations that belong to the panoptic PNGs."""
    labels: dict[int, Annotated[int, Field(ge=0, le=255)]] | None = None
    """Mapping from your label ids to COCO-Stuff ids, instead of the built-in table of ``coco_stuff``, ``cityscapes``
    or ``bdd100k``."""
    canny_thresholds: tuple[float, float] = (100.0, 200.0)
    """Lower and upper hysteresis threshold of Canny, on 256 x 256 pixels."""
    depth_scale: Annotated[float, Field(gt=0)] = 0.001
    """Metres per unit of the depth map (0.001: millimetres)."""
    normals: str = "normal.png"
    """Member or column with the surface normals, for ``depth_normals``; must be listed in ``source.masks``."""
    guidance_scale: Annotated[float, Field(ge=0, le=50)] = 1.3
    """Classifier-free guidance scale; 1 is no guidance at half the cost."""
    guidance: Literal["plain", "normalised"] = "plain"
    """``plain`` guidance as released, or ``normalised`` as in the paper (section 3.4, equation 8)."""
    steps: Respacing = "250"
    """Steps of the base model, as a respacing string: a number, ``ddimN``, ``N,N,...`` or ``fast27``."""
    upsampler_steps: Respacing = "fast27"
    """Steps of the upsampler, likewise."""

    @property
    def family(self) -> Family:
        """The kind of model this condition needs."""
        return FAMILIES[self.condition]
