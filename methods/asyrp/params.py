"""The parameters of Asyrp."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from methods.asyrp.text_pairs import TextPair, chosen_texts
from methods.base import MethodParams
from methods.nn.clip_names import ClipUri
from methods.uris import WeightsUri

Timestep = Annotated[int, Field(ge=0, le=999)]


class Attribute(BaseModel):
    """One attribute to edit."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    block: WeightsUri
    """URI of a DeltaBlock file in the official format, or of shifts by timestep: a mean over pictures
    (``python -m methods.asyrp.mean_shift``) or the release's ``train_delta_h``."""
    index: int = Field(default=0, ge=0)
    """Which block of the file; released files hold one, number 0."""
    strength: float = 1.0
    """Factor on the shift of this block; negative values reverse the edit."""


class AsyrpParams(MethodParams):
    """Parameters of Asyrp; defaults are those of the release."""

    attributes: tuple[Attribute, ...] = ()
    """What to edit: a list of ``{block, index, strength}``. Shifts are summed and divided by the square root of their
    number."""
    strength: float = 1.0
    """Factor on all shifts."""
    origin: float = 1.0
    """Factor on the bottleneck features that the shifts are added to."""
    t_edit: Timestep | None = None
    """Shifts act at timesteps from this one up. None: found from ``lpips_x0`` and the cosine of the texts."""
    t_boost: Timestep | None = None
    """Below this timestep fresh noise is added per step; 0: never. None: found from ``lpips_x``."""
    lpips_x0: WeightsUri | None = None
    """URI of the LPIPS table of the predicted x0 (``timestep<TAB>value`` lines), measured on the model's domain."""
    lpips_x: WeightsUri | None = None
    """URI of the LPIPS table of x_t, in the same format."""
    text_cosine: Annotated[float, Field(gt=0, le=1)] | None = None
    """CLIP cosine of the source and target texts, from which ``t_edit`` is found. None: measured with ``clip`` on
    ``texts``, or ``source_text`` and ``target_text``."""
    texts: TextPair | None = None
    """One of the release's pairs of texts by name (``smiling``, ``dog_happy``, ``church_gothic``, ...), in place of
    ``source_text`` and ``target_text``; used for ``text_cosine`` only."""
    source_text: str | None = None
    """What the images show; used for ``text_cosine`` only."""
    target_text: str | None = None
    """What the edited images show; used for ``text_cosine`` only."""
    clip: ClipUri = "ViT-B/16"
    """CLIP model for ``text_cosine``: a released name or a URI."""
    edit_threshold: float = Field(default=0.33, gt=0)
    """LPIPS, times the cosine, at which ``t_edit`` lies."""
    boost_threshold: float = Field(default=1.2, gt=0)
    """LPIPS at which ``t_boost`` lies."""
    steps: int = Field(default=40, ge=2, le=1000)
    """Steps of the reverse (generative) process."""
    steps_inversion: int = Field(default=40, ge=2, le=1000)
    """Steps of the inversion."""
    steps_train: int = Field(default=40, ge=1, le=1000)
    """Steps that the blocks were trained with: with fewer ``steps``, each shift is scaled up."""
    t_0: Timestep = 999
    """The noisiest timestep of the inversion."""
    start: Literal["inversion", "noise"] = "inversion"
    """Where the reverse process begins: at the image's ``inversion``, or at the sample's own ``noise``, which edits
    pictures that the model makes (only the image's key is used)."""
    dt_lambda: Annotated[float, Field(gt=0)] = 1.0
    """Factor on the direction to x_t at timesteps from ``dt_end`` up."""
    dt_end: Timestep = 999
    """The lowest timestep at which ``dt_lambda`` counts."""
    ignore_timesteps: bool = False
    """Leave the time embedding out of the blocks, for blocks trained that way; of shifts by timestep, take the one for
    all timesteps."""
    image_size: int = Field(default=256, ge=8, le=4096)
    """Side of the square that images are resized to; the aspect ratio is not kept."""
    resample: Literal["bilinear", "bicubic"] = "bilinear"
    """Resampling filter: ``bilinear`` as for faces and own folders, ``bicubic`` as for AFHQ."""
    beta_start: float = Field(default=1e-4, gt=0, lt=1)
    """First beta of the linear noise schedule."""
    beta_end: float = Field(default=0.02, gt=0, lt=1)
    """Last beta of the linear noise schedule."""
    norm_num_groups: int = Field(default=32, ge=1)
    """Groups of the UNet's group normalisation; not stored in a file."""
    num_head_channels: int = Field(default=64, ge=1)
    """Channels per attention head of the UNet; not stored in a guided-diffusion file."""

    @property
    def measures_texts(self) -> bool:
        """Whether CLIP is needed."""
        return self.t_edit is None and self.text_cosine is None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.attributes:
            raise ValueError("attributes is empty: name at least one DeltaBlock, such as [{block: smiling.pth}]")
        texts = chosen_texts(self.texts, self.source_text, self.target_text)
        if self.t_edit is None and (self.lpips_x0 is None or (self.text_cosine is None and texts is None)):
            raise ValueError(
                "t_edit is not set: set it, or lpips_x0 with text_cosine, texts or both texts to find it from"
            )
        if self.t_boost is None and self.lpips_x is None:
            raise ValueError("t_boost is not set: set it (0 for no boost), or lpips_x to find it from")
        if self.t_edit is not None and self.t_edit > self.t_0:
            raise ValueError(f"t_edit is {self.t_edit}, expected at most t_0 = {self.t_0}: nothing would be edited")
        return self
