"""The parameters of DiffuseIT."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from methods.base import MethodParams
from methods.nn.clip_names import ClipUri
from methods.uris import WeightsUri

CLIP_MODELS = ("RN50", "RN50x4", "ViT-B/32", "RN50x16", "ViT-B/16")
Weight = Annotated[float, Field(ge=0)]


class DiffuseITParams(MethodParams):
    """Parameters of DiffuseIT; defaults are those of the official program."""

    prompt: str | None = None
    """Text that describes the wanted output (text-guided translation); needs ``source``."""
    source: str | None = None
    """Text that describes the source images."""
    target_image: WeightsUri | None = None
    """URI of the image whose style the outputs take (image-guided translation); set this or ``prompt``."""
    timestep_respacing: str | None = None
    """Steps of the whole diffusion process, as a respacing string. None: 100 with a prompt, 200 with a target image."""
    skip_timesteps: int | None = Field(default=None, ge=0)
    """How many of the noisiest steps are left out. None: 40 with a prompt, 80 with a target image."""
    resampling: int = Field(default=10, ge=1, le=100)
    """Passes of the first step, with noise added again between them."""
    ddim: bool = False
    """Deterministic DDIM steps, without resampling."""
    diff_iter: int = Field(default=50, ge=0)
    """The semantic divergence loss acts while the step index is above this; the official recipe for target images
    sets 100."""
    use_noise_aug_all: bool = False
    """The ViT losses see the same mixture of noisy and predicted image as CLIP."""
    use_range_restart: bool = False
    """Restart a sample with fresh noise when its prediction leaves [-1, 1] too far."""
    restart_threshold: float | None = Field(default=None, gt=0)
    """Weighted range loss above which a sample restarts. None: 0.01, with ``face_weights`` 0.1, as in the release."""
    max_restarts: int = Field(default=10, ge=0)
    """Restarts after which a sample is rejected; the official program has no limit."""
    iterations_num: int = Field(default=1, ge=1, le=100)
    """Results one after the other; the last one is the output. Each begins at the source, with the class token and the
    CLIP loss that the last guidance of the one before left, as in the release. ``variants`` of the job gives several
    results that know nothing of each other, for less."""
    use_colormatch: bool = False
    """Match the colour statistics of the output to the target image, then stretch to the full range."""
    use_prog_contrast: bool = False
    """Halve the contrastive loss until the CLIP loss is low enough."""
    regularize_content: bool = False
    """Double the contrastive loss once the CLIP loss is low enough."""
    clip_guidance_lambda: Weight = 2000.0
    """Weight of the CLIP loss towards the prompt."""
    lambda_ssim: Weight = 1000.0
    """Weight of the structure loss: self-similarity of the ViT's keys."""
    lambda_contra_ssim: Weight = 200.0
    """Weight of the contrastive loss on the ViT's keys."""
    lambda_dir_cls: Weight = 100.0
    """Weight of the semantic divergence loss: distance of the class token to that of the step before."""
    lambda_trg: Weight = 2000.0
    """Weight of the distance to the target image's class token."""
    l2_trg_lambda: Weight = 3000.0
    """Weight of the squared pixel difference to the target image."""
    range_lambda: Weight = 200.0
    """Weight of the loss that keeps pixel values in range."""
    id_lambda: Weight = 100.0
    """Weight of the face identity loss; only with ``face_weights``."""
    clip_models: tuple[ClipUri, ...] = CLIP_MODELS
    """CLIP models: released names, or URIs of state dicts."""
    clip_vocabulary: WeightsUri | None = None
    """URI of the vocabulary of the CLIP models (``bpe_*.txt.gz``). None: the released one."""
    aug_num: int = Field(default=8, ge=0, le=64)
    """Random crops per image for each CLIP model; 0: the whole image."""
    dino: WeightsUri = "https://dl.fbaipublicfiles.com/dino/dino_vitbase8_pretrain/dino_vitbase8_pretrain.pth"
    """URI of the DINO ViT weights, in the official or the transformers format."""
    dino_heads: int | None = Field(default=None, ge=1)
    """Attention heads of the ViT. None: one per 64 channels."""
    face_weights: WeightsUri | None = None
    """URI of ``model_ir_se50.pth``, for the face identity loss (faces aligned as in FFHQ, 256 px)."""
    image_size: int = Field(default=256, ge=8, le=1024)
    """Side of the square that images are resized to; the aspect ratio is not kept."""
    class_label: int | None = Field(default=None, ge=0)
    """Class that a class-conditional UNet (512 px) denoises towards. None: a random one per step, as in the release."""
    num_head_channels: int = Field(default=64, ge=1)
    """Channels per attention head of the UNet; not stored in a guided-diffusion file."""
    norm_num_groups: int = Field(default=32, ge=1)
    """Groups of the UNet's group normalisation; not stored in a guided-diffusion file."""

    @property
    def respacing(self) -> str:
        """The steps in force."""
        return self.timestep_respacing or ("100" if self.target_image is None else "200")

    @property
    def skipped(self) -> int:
        """The skipped steps in force."""
        if self.skip_timesteps is not None:
            return self.skip_timesteps
        return 40 if self.target_image is None else 80

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.prompt is None and self.target_image is None:
            raise ValueError("neither prompt nor target_image is set: set one of them")
        if self.prompt is not None and self.target_image is not None:
            raise ValueError("both prompt and target_image are set: set one of them")
        if self.prompt is not None and (not self.prompt.strip() or not (self.source or "").strip()):
            raise ValueError("a text-guided run needs prompt and source: what to make, and what the pictures show now")
        if self.target_image is not None and self.source is not None:
            raise ValueError("source belongs to prompt: leave it out with target_image")
        if self.prompt is not None and not self.clip_models:
            raise ValueError("clip_models is empty: a text-guided run needs at least one")
        if self.use_colormatch and self.target_image is None:
            raise ValueError("use_colormatch needs a target_image")
        if self.target_image is not None and (self.use_prog_contrast or self.regularize_content):
            raise ValueError("use_prog_contrast and regularize_content follow the CLIP loss: they need a prompt")
        if self.face_weights is not None and self.image_size != 256:
            raise ValueError(f"face_weights needs image_size 256, it is {self.image_size}")
        return self
