"""What a user can set on Asyrp."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from methods.base import MethodParams

Timestep = Annotated[int, Field(ge=0, le=999)]


class Attribute(BaseModel):
    """One direction of change.

    Attributes:
        block: URI of a DeltaBlock file in the official format.
        index: which block of the file; released files hold one, number 0.
        strength: factor on its shift; negative values reverse the change.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    block: str
    index: int = Field(default=0, ge=0)
    strength: float = 1.0


class AsyrpParams(MethodParams):
    """Parameters of Asyrp; defaults are those of the release.

    Attributes:
        attributes: what to change; several are added up, each divided by the square root of their number.
        strength: factor on all shifts.
        origin: factor on the bottleneck features that are shifted.
        t_edit: the shift acts while the timestep is at least this; none: found from ``lpips_x0`` and the texts' cosine.
        t_boost: below this timestep fresh noise is added at every step; none: found from ``lpips_x``; 0: no boost.
        lpips_x0, lpips_x: URIs of the two LPIPS tables of the model's domain (``timestep<TAB>value`` lines).
        text_cosine: CLIP cosine of the plain source and target texts; enters the choice of ``t_edit``; none: measured
            by ``clip`` on ``source_text`` and ``target_text``.
        source_text, target_text: what the pictures show and shall show; only for ``text_cosine``.
        clip: ``ViT-B/16``, another released name, or a URI; only for ``text_cosine``.
        edit_threshold, boost_threshold: LPIPS that decides ``t_edit`` (times the cosine) and ``t_boost``.
        steps: steps of the reverse process.
        steps_inversion: steps of the way to noise.
        steps_train: steps the blocks were trained with: fewer steps now make each shift stronger.
        t_0: the noisiest timestep.
        ignore_timesteps: leave the time term out of the blocks (for blocks trained so).
        image_size: pictures are resized to this square, aspect ratio not kept.
        resample: ``bilinear`` as for faces and own folders, ``bicubic`` as for AFHQ.
        beta_start, beta_end: ends of the linear noise schedule.
        norm_num_groups, num_head_channels: of the UNet; not readable from a file.
    """

    attributes: tuple[Attribute, ...] = ()
    strength: float = 1.0
    origin: float = 1.0
    t_edit: Timestep | None = None
    t_boost: Timestep | None = None
    lpips_x0: str | None = None
    lpips_x: str | None = None
    text_cosine: Annotated[float, Field(gt=0, le=1)] | None = None
    source_text: str | None = None
    target_text: str | None = None
    clip: str = "ViT-B/16"
    edit_threshold: float = Field(default=0.33, gt=0)
    boost_threshold: float = Field(default=1.2, gt=0)
    steps: int = Field(default=40, ge=2, le=1000)
    steps_inversion: int = Field(default=40, ge=2, le=1000)
    steps_train: int = Field(default=40, ge=1, le=1000)
    t_0: Timestep = 999
    ignore_timesteps: bool = False
    image_size: int = Field(default=256, ge=8, le=4096)
    resample: Literal["bilinear", "bicubic"] = "bilinear"
    beta_start: float = Field(default=1e-4, gt=0, lt=1)
    beta_end: float = Field(default=0.02, gt=0, lt=1)
    norm_num_groups: int = Field(default=32, ge=1)
    num_head_channels: int = Field(default=64, ge=1)

    @property
    def measures_texts(self) -> bool:
        """Whether CLIP is needed."""
        return self.t_edit is None and self.text_cosine is None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if not self.attributes:
            raise ValueError("attributes is empty: name at least one DeltaBlock, such as [{block: smiling.pth}]")
        texts = self.source_text is not None and self.target_text is not None
        if self.t_edit is None and (self.lpips_x0 is None or (self.text_cosine is None and not texts)):
            raise ValueError("t_edit is not set: set it, or lpips_x0 with text_cosine or both texts to find it from")
        if self.t_boost is None and self.lpips_x is None:
            raise ValueError("t_boost is not set: set it (0 for no boost), or lpips_x to find it from")
        if self.t_edit is not None and self.t_edit > self.t_0:
            raise ValueError(f"t_edit is {self.t_edit}, expected at most t_0 = {self.t_0}: nothing would be edited")
        return self
