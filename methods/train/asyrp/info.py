"""The light description of the Asyrp objective; imports no torch."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import Field, model_validator

from methods.asyrp.params import Timestep
from methods.asyrp.text_pairs import TextPair, chosen_texts
from methods.nn.clip_names import ClipUri
from methods.train.objective import ObjectiveInfo, ObjectiveParams
from methods.uris import WeightsUri


class AsyrpDeltaParams(ObjectiveParams):
    """Parameters of the training of one DeltaBlock; defaults are those of the released checkpoints and scripts."""

    unet: WeightsUri
    """URI of the frozen UNet."""
    texts: TextPair | None = None
    """One of the release's pairs of texts by name (``smiling``, ``dog_happy``, ``church_gothic``, ...), in place of
    ``source_text`` and ``target_text``."""
    source_text: str | None = Field(default=None, min_length=1)
    """What the images show, such as ``face``."""
    target_text: str | None = Field(default=None, min_length=1)
    """What the edited images show, such as ``smiling face``."""
    trained: Literal["block", "shifts"] = "block"
    """A ``block`` that computes the shift from the bottleneck; or the ``shifts`` themselves, one for each timestep and
    the same for every image (with ``ignore_timesteps`` one for all), added to the bottleneck as in the paper."""
    start: Literal["inversion", "noise"] = "inversion"
    """Where the process begins: at the ``inversion`` of each image, or at ``noise`` of its own, which trains on
    pictures that the model makes (only the images' keys are used)."""
    clip: ClipUri = "ViT-B/16"
    """The CLIP model of the directional loss: a released name or a URI."""
    vocabulary: WeightsUri | None = None
    """URI of the CLIP model's vocabulary. None: the released one."""
    t_edit: Timestep | None = None
    """Timesteps from ``t_0`` down to this are trained. None: found from ``lpips_x0`` and the cosine of the texts."""
    lpips_x0: WeightsUri | None = None
    """URI of the LPIPS table of the predicted x0 (``timestep<TAB>value`` lines)."""
    edit_threshold: float = Field(default=0.33, gt=0)
    """LPIPS, times the cosine, at which ``t_edit`` lies."""
    steps_inversion: int = Field(default=40, ge=2, le=1000)
    """Steps of the inversion."""
    steps_train: int = Field(default=40, ge=2, le=1000)
    """Steps of the reverse process."""
    t_0: Timestep = 999
    """The noisiest timestep of the inversion."""
    lr: float = Field(default=0.5, gt=0)
    """Learning rate of SGD without momentum."""
    lr_gamma: float = Field(default=0.9, gt=0, le=1)
    """Factor on the learning rate after each ``lr_every`` epochs."""
    lr_every: int = Field(default=20, ge=1)
    """Epochs between two reductions of the learning rate."""
    images_per_pass: int = Field(default=100, ge=1)
    """Images per epoch of the learning-rate schedule."""
    clip_weight: float = Field(default=1.0, ge=0)
    """Weight of the directional CLIP loss."""
    l1_weight: float = Field(default=3.0, ge=0)
    """Weight of the L1 distance to the unedited prediction; the cosine of the texts multiplies it too."""
    id_weight: float = Field(default=0.0, ge=0)
    """Weight of the face identity loss: one minus the cosine of the face features of edited and unedited prediction.
    The release's own has no gradient, since it detaches the edited side; this one has."""
    face_weights: WeightsUri | None = None
    """URI of ``model_ir_se50.pth``, for ``id_weight`` (faces aligned as in FFHQ)."""
    strength: float = 1.0
    """Factor on the shift during training."""
    kept_pictures: int = Field(default=100, ge=0)
    """Images whose noise and unedited predictions are cached in memory between epochs."""
    ignore_timesteps: bool = False
    """Leave the time embedding out of the block; of ``trained: shifts``, train one for all timesteps."""
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

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        self.both_texts()
        if self.t_edit is None and self.lpips_x0 is None:
            raise ValueError("t_edit is not set: set it, or lpips_x0 to find it from")
        if self.id_weight and self.face_weights is None:
            raise ValueError("id_weight needs face_weights: the file of the face recogniser, model_ir_se50.pth")
        if self.face_weights is not None and not self.id_weight:
            raise ValueError("face_weights without id_weight does nothing: set id_weight, or leave face_weights out")
        if self.t_edit is not None and self.t_edit > self.t_0:
            raise ValueError(f"t_edit is {self.t_edit}, expected at most t_0 = {self.t_0}: nothing would be trained")
        if self.trained == "shifts" and self.t_edit == 0 and not self.ignore_timesteps:
            raise ValueError("t_edit is 0: a file of shifts has no place for timestep 0, set t_edit to 1 or more")
        return self

    def both_texts(self) -> tuple[str, str]:
        """(source text, target text), by name or as given. Raises ValueError where they are not."""
        texts = chosen_texts(self.texts, self.source_text, self.target_text)
        if texts is None:
            raise ValueError("the texts are missing: set texts (such as smiling), or source_text and target_text")
        return texts


def _schedule(params: AsyrpDeltaParams, step: int, steps: int) -> float:
    """A factor after every so many passes over the images."""
    return params.lr_gamma ** (step // params.images_per_pass // params.lr_every)


INFO = ObjectiveInfo(
    name="asyrp_delta",
    summary="One attribute of Asyrp: a shift that CLIP guides from a source to a target text.",
    paper="https://arxiv.org/abs/2210.10960",
    implementation="methods.train.asyrp.objective:AsyrpDelta",
    params=AsyrpDeltaParams,
    streams={"images": "images of the domain the UNet was trained on"},
    steps=100,
    batch_size=1,
    schedule=_schedule,
)
