"""What can be set when a DeltaBlock is trained; imports no torch."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from methods.asyrp.params import Timestep
from methods.train.objective import ObjectiveInfo, ObjectiveParams


class AsyrpDeltaParams(ObjectiveParams):
    """Parameters of the training of one DeltaBlock; defaults are those of the released checkpoints and scripts.

    Attributes:
        unet: URI of the frozen UNet.
        source_text, target_text: what the pictures show and shall show, such as ``face`` and ``smiling face``.
        clip: the judge: ``ViT-B/16``, another released name, or a URI.
        vocabulary: URI of CLIP's vocabulary; none is the released one.
        t_edit: timesteps from ``t_0`` down to this are trained; none: found from ``lpips_x0`` and the texts' cosine.
        lpips_x0: URI of the LPIPS table of predicted x0.
        steps_inversion, steps_train: of the way to noise, and of the way back.
        lr, lr_gamma, lr_every: SGD without momentum; the rate is multiplied by ``lr_gamma`` after every ``lr_every``
            passes.
        images_per_pass: iterations (times batch size: pictures) that make one pass.
        clip_weight, l1_weight: weights of the directional CLIP loss and of the distance to the unedited prediction; the
            latter is also multiplied by the texts' cosine.
        strength: factor on the shift while training.
        kept_pictures: pictures whose noise and unedited predictions are kept in memory between passes.
        edit_threshold, t_0, ignore_timesteps, image_size, resample: as for the method.
        beta_start, beta_end, norm_num_groups, num_head_channels: as for the method.
    """

    unet: str
    source_text: str = Field(min_length=1)
    target_text: str = Field(min_length=1)
    clip: str = "ViT-B/16"
    vocabulary: str | None = None
    t_edit: Timestep | None = None
    lpips_x0: str | None = None
    edit_threshold: float = Field(default=0.33, gt=0)
    steps_inversion: int = Field(default=40, ge=2, le=1000)
    steps_train: int = Field(default=40, ge=2, le=1000)
    t_0: Timestep = 999
    lr: float = Field(default=0.5, gt=0)
    lr_gamma: float = Field(default=0.9, gt=0, le=1)
    lr_every: int = Field(default=20, ge=1)
    images_per_pass: int = Field(default=100, ge=1)
    clip_weight: float = Field(default=1.0, ge=0)
    l1_weight: float = Field(default=3.0, ge=0)
    strength: float = 1.0
    kept_pictures: int = Field(default=100, ge=0)
    ignore_timesteps: bool = False
    image_size: int = Field(default=256, ge=8, le=4096)
    resample: Literal["bilinear", "bicubic"] = "bilinear"
    beta_start: float = Field(default=1e-4, gt=0, lt=1)
    beta_end: float = Field(default=0.02, gt=0, lt=1)
    norm_num_groups: int = Field(default=32, ge=1)
    num_head_channels: int = Field(default=64, ge=1)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.t_edit is None and self.lpips_x0 is None:
            raise ValueError("t_edit is not set: set it, or lpips_x0 to find it from")
        if self.t_edit is not None and self.t_edit > self.t_0:
            raise ValueError(f"t_edit is {self.t_edit}, expected at most t_0 = {self.t_0}: nothing would be trained")
        return self


INFO = ObjectiveInfo(
    name="asyrp_delta",
    summary="One attribute of Asyrp: a DeltaBlock that CLIP guides from a source to a target text.",
    paper="https://arxiv.org/abs/2210.10960",
    implementation="methods.train.asyrp.objective:AsyrpDelta",
    params=AsyrpDeltaParams,
    streams={"images": "pictures of the domain the UNet was trained on"},
    steps=100,
    batch_size=1,
)
