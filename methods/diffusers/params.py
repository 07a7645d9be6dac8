"""The parameters of the method `diffusers`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from methods.base import MethodParams
from methods.diffusers.prompts import places
from methods.nn.image_prep_names import ImagePrep, PreparingParams
from methods.uris import WeightsUri

Task = Literal["image_to_image", "instruct", "inpaint", "controlnet"]
_TASK_OF: dict[str, Task] = {
    "mask": "inpaint",
    "controlnet": "controlnet",
    "control": "controlnet",
    "control_scale": "controlnet",
    "canny": "controlnet",
}
"""Parameters that do something in one task alone."""


class LoraFile(MethodParams):
    """A LoRA that is added to the model's weights."""

    file: WeightsUri
    """A safetensors file, or a folder or hub repository that holds one."""
    scale: float = 1.0
    """Factor on what it adds."""


class DiffusersParams(PreparingParams):
    """Parameters of a diffusers pipeline. Those left out have the pipeline's own defaults."""

    task: Task = "image_to_image"
    """``image_to_image`` noises the picture and denoises it under the prompt; ``instruct`` gives picture and
    instruction to a model trained on edits (InstructPix2Pix, Kontext, Qwen-Image-Edit); ``inpaint`` changes the part
    under a mask; ``controlnet`` follows a control picture."""
    pipeline: str | None = None
    """Class of diffusers; none takes the one of the task that belongs to the model."""
    prompt: str = "{caption}"
    """Prompt or instruction of each sample: ``{caption}`` and ``{NAME}`` of a column are filled in; ``{{`` is a
    brace."""
    negative_prompt: str | None = None
    """What the picture is not to show; a template like ``prompt``."""
    strength: Annotated[float, Field(gt=0, le=1)] | None = None
    """How much of the picture is changed, from 0 to 1. With ``controlnet``: none begins from noise alone, a value
    begins from the noised picture."""
    steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Denoising steps (``num_inference_steps``); with ``strength`` that share of them is run."""
    guidance_scale: Annotated[float, Field(ge=0)] | None = None
    """Classifier-free guidance towards the prompt."""
    image_guidance_scale: Annotated[float, Field(ge=1)] | None = None
    """InstructPix2Pix: guidance towards the picture."""
    options: dict[str, Any] = Field(default={})
    """Further arguments of the pipeline's call, by its own names (``eta``, ``true_cfg_scale``, ``guidance_rescale``);
    checked against its signature."""
    controlnet: WeightsUri | None = None
    """The ControlNet: folder, hub id or URI."""
    control: str = "image"
    """The control picture: ``image`` (the picture itself), ``canny`` (its edges), or a mask column of the source."""
    control_scale: Annotated[float, Field(ge=0)] | None = None
    """Factor on what the ControlNet adds (``controlnet_conditioning_scale``)."""
    canny: tuple[Annotated[int, Field(ge=0, le=1000)], Annotated[int, Field(ge=0, le=1000)]] = (100, 200)
    """Low and high threshold of Canny's edges."""
    mask: str | None = None
    """``inpaint``: the mask column of the source; what is not 0 is painted anew."""
    scheduler: str | None = None
    """Scheduler class of diffusers in place of the model's own, such as ``DPMSolverMultistepScheduler``."""
    scheduler_options: dict[str, Any] = Field(default={})
    """Settings of the scheduler, by its own names (``use_karras_sigmas``)."""
    loras: tuple[LoraFile, ...] = ()
    """LoRA files that are merged into the model."""
    offload: Literal["none", "model", "sequential"] = "none"
    """Which parts wait in main memory while a GPU works: none; whole networks by turns; layer by layer (slow, least
    memory)."""
    vae_tiling: bool = False
    """Decode large pictures in tiles: less memory, faint seams."""
    image_prep: ImagePrep = "multiple_of_8"
    """Size that the model works at: ``resize_WxH``, ``resize_N``, ``resized_crop_N``, ``multiple_of_8`` or
    ``no_resize``."""

    @field_validator("prompt", "negative_prompt")
    @classmethod
    def _readable(cls, value: str | None) -> str | None:
        places(value or "")
        return value

    @model_validator(mode="after")
    def _fits_together(self) -> DiffusersParams:
        if self.task == "inpaint" and self.mask is None:
            raise ValueError("task inpaint needs mask: the column of the source that says what to paint anew")
        if self.steps is not None and self.strength is not None and self.steps * self.strength < 1:
            raise ValueError(f"strength {self.strength} of {self.steps} steps is less than one step: raise either")
        for name, task in _TASK_OF.items():
            if self.task != task and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} is for task {task}, not for {self.task}")
        if self.control != "canny" and self.canny != type(self).model_fields["canny"].default:
            raise ValueError(f"canny holds the thresholds of control: canny, and control is {self.control}")
        return self
