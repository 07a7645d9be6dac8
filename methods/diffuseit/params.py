"""What a user can set on DiffuseIT."""

from __future__ import annotations

from typing import Self

from pydantic import Field, model_validator

from methods.base import MethodParams

CLIP_MODELS = ("RN50", "RN50x4", "ViT-B/32", "RN50x16", "ViT-B/16")


class DiffuseITParams(MethodParams):
    """Parameters of DiffuseIT; defaults are those of the official program.

    Attributes:
        prompt: what the pictures shall show (text-guided). ``source`` is needed with it.
        source: what they show now.
        target_image: URI of the picture whose style they shall take (picture-guided). Either this or ``prompt``.
        timestep_respacing: steps of the whole process; none is 100 with a prompt, 200 with a target picture.
        skip_timesteps: how many of them are skipped; none is 40 with a prompt, 80 with a target picture.
        resampling: passes at the first index, with noise put back between them.
        ddim: deterministic steps without resampling.
        diff_iter: the semantic divergence acts while the index is above this; the official recipe for target pictures
            sets 100.
        use_noise_aug_all: the ViT losses see the same mixture of noisy and predicted picture as CLIP.
        use_range_restart: start a sample again with fresh noise when its prediction leaves [-1, 1] too far.
        restart_threshold: range loss, times its weight, above which that happens; 0.1 for faces.
        max_restarts: a sample that would need more is rejected; the official program has no limit.
        use_colormatch: give the result the target picture's colour statistics; stretches its range to full.
        use_prog_contrast: half contrastive loss until CLIP is half content.
        regularize_content: twice the contrastive loss once it is.
        clip_guidance_lambda: weight of the CLIP loss towards the prompt.
        lambda_ssim: weight of the structure (self-similarity of keys) loss.
        lambda_contra_ssim: weight of the contrastive loss on keys.
        lambda_dir_cls: weight of the semantic divergence from the step before.
        lambda_trg, l2_trg_lambda: weights of the target picture's class token, and of its squared difference.
        range_lambda: weight of the loss that keeps values in range.
        id_lambda: weight of the face's identity, with ``face_weights``.
        clip_models: released names or URIs of state dicts.
        clip_vocabulary: URI of their vocabulary; none: the released one.
        aug_num: random cuts of a picture for each CLIP; 0: the whole picture.
        dino: URI of DINO's weights, official or transformers.
        dino_heads: its attention heads; none is one per 64 channels.
        face_weights: URI of ``model_ir_se50.pth``: keeps the face's identity (pictures aligned as FFHQ, 256 px).
        image_size: side of the UNet's pictures; the aspect ratio is not kept.
        class_label: the class that a class-conditional UNet (512 px) denoises towards; none: a random one per step, as
            the release does.
        num_head_channels, norm_num_groups: of the UNet; not readable from a file.
    """

    prompt: str | None = None
    source: str | None = None
    target_image: str | None = None
    timestep_respacing: str | None = None
    skip_timesteps: int | None = Field(default=None, ge=0)
    resampling: int = Field(default=10, ge=1, le=100)
    ddim: bool = False
    diff_iter: int = Field(default=50, ge=0)
    use_noise_aug_all: bool = False
    use_range_restart: bool = False
    restart_threshold: float = Field(default=0.01, gt=0)
    max_restarts: int = Field(default=10, ge=0)
    use_colormatch: bool = False
    use_prog_contrast: bool = False
    regularize_content: bool = False
    clip_guidance_lambda: float = Field(default=2000.0, ge=0)
    lambda_ssim: float = Field(default=1000.0, ge=0)
    lambda_contra_ssim: float = Field(default=200.0, ge=0)
    lambda_dir_cls: float = Field(default=100.0, ge=0)
    lambda_trg: float = Field(default=2000.0, ge=0)
    l2_trg_lambda: float = Field(default=3000.0, ge=0)
    range_lambda: float = Field(default=200.0, ge=0)
    id_lambda: float = Field(default=100.0, ge=0)
    clip_models: tuple[str, ...] = CLIP_MODELS
    clip_vocabulary: str | None = None
    aug_num: int = Field(default=8, ge=0, le=64)
    dino: str = "https://dl.fbaipublicfiles.com/dino/dino_vitbase8_pretrain/dino_vitbase8_pretrain.pth"
    dino_heads: int | None = Field(default=None, ge=1)
    face_weights: str | None = None
    image_size: int = Field(default=256, ge=8, le=1024)
    class_label: int | None = Field(default=None, ge=0)
    num_head_channels: int = Field(default=64, ge=1)
    norm_num_groups: int = Field(default=32, ge=1)

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
