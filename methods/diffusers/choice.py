"""Which pipeline class does a task on a model, and which of its arguments a job sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from methods.diffusers.folder import PipelineFolder
from methods.diffusers.installed import INSTALLED, Signature, SourceClass
from methods.diffusers.params import DiffusersParams
from methods.errors import InputError
from methods.plugins import nearest

_OURS = frozenset(
    {
        *(
            "image",
            "control_image",
            "mask_image",
            "prompt",
            "negative_prompt",
            "generator",
            "latents",
            "height",
            "width",
        ),
        *("num_images_per_prompt", "output_type", "return_dict", "callback_on_step_end", "callback", "callback_steps"),
    }
)
"""Arguments that each sample sets, or that decide what comes back."""
_NAMED = {
    "strength": "strength",
    "steps": "num_inference_steps",
    "guidance_scale": "guidance_scale",
    "image_guidance_scale": "image_guidance_scale",
    "control_scale": "controlnet_conditioning_scale",
}
_FAMILIES_OF_TASK = {"image_to_image": "IMAGE2IMAGE", "inpaint": "INPAINT"}


@dataclass(frozen=True)
class PipelineChoice:
    """A pipeline class and what its call is given.

    Attributes:
        pipeline: the class's name.
        accepts: every argument of its call.
        parts: every argument that it is built from.
        arguments: what is the same for all samples.
        control: the argument that takes the control picture, for ControlNets.
        takes_image: whether the picture itself is given too.
    """

    pipeline: str
    accepts: Signature
    parts: Signature
    arguments: Mapping[str, Any]
    control: str | None = None
    takes_image: bool = True


def choose(params: DiffusersParams, folder: PipelineFolder) -> PipelineChoice:
    """The pipeline of a job, its arguments checked.

    Raises:
        InputError: no such class, one that takes no picture or is for another task, or an argument it does not have
            (the nearest is named).
    """
    found = _class_of(params, folder)
    accepts = found.signature("__call__")
    control = _control_argument(params, found, accepts)
    needed = {"instruct": "image", "image_to_image": "image", "inpaint": "mask_image", "controlnet": "image"}
    if control is None and needed[params.task] not in accepts.names:
        what = "mask" if params.task == "inpaint" else "image"
        raise InputError(f"{_whose(params)}: {found.name} takes no {what}: {_advice(params, folder)}")
    if "num_frames" in accepts.names:
        raise InputError(f"{_whose(params)}: {found.name} makes videos, not pictures")
    parts = found.signature("__init__")
    if "controlnet" in parts.names and params.controlnet is None and "controlnet" not in folder.parts:
        raise InputError(f"method.params.controlnet: {found.name} needs one: name its folder, hub id or URI")
    if params.controlnet is not None and "controlnet" not in parts.names:
        raise InputError(f"method.params.controlnet: {found.name} takes no ControlNet")
    takes_image = control != "image" and "image" in accepts.names
    return PipelineChoice(found.name, accepts, parts, _arguments(params, found.name, accepts), control, takes_image)


def _class_of(params: DiffusersParams, folder: PipelineFolder) -> SourceClass:
    if params.pipeline is not None:
        return INSTALLED.pipeline(params.pipeline, "method.params.pipeline")
    declared = INSTALLED.pipeline(folder.pipeline, f"{folder.path}/model_index.json")
    accepts = declared.signature("__call__").names
    if params.task == "instruct":
        return declared
    table = _FAMILIES_OF_TASK.get(params.task)
    if params.task == "controlnet":
        if params.controlnet is None:
            # models that were trained with the control picture beside the latents have no network for it
            if "control_image" in accepts or "controlnet" in folder.parts:
                return declared
            raise InputError("method.params.controlnet: task controlnet needs one: name its folder, hub id or URI")
        table = "TEXT2IMAGE" if params.strength is None else "IMAGE2IMAGE"
        if "controlnet" in declared.signature("__init__").names and ("strength" in accepts) == (table == "IMAGE2IMAGE"):
            return declared
    assert table is not None
    own = {"image_to_image": {"image", "strength"}, "inpaint": {"image", "mask_image"}}.get(params.task)
    # a pipeline of the task itself; one that wants a control picture or a mask beside the image is of another
    if own is not None and own <= set(accepts) and not {"control_image", "mask_image"} & (set(accepts) - own):
        return declared
    family = _family(folder.pipeline)
    if params.task == "controlnet" and family is not None and not family.endswith("-controlnet"):
        family = f"{family}-controlnet"
    name = INSTALLED.families[table].get(family or "")
    if name is None:
        raise InputError(f"{_whose(params)}: {declared.name} {_lacks(params.task)}: {_advice(params, folder)}")
    return INSTALLED.pipeline(name, "method.params.task")


def _family(pipeline: str) -> str | None:
    return next(
        (name for table in INSTALLED.families.values() for name, each in table.items() if each == pipeline), None
    )


def _lacks(task: str) -> str:
    if task == "controlnet":
        return "has no ControlNet pipeline in its family"
    return "takes no image, and its family has no pipeline that does" if task == "image_to_image" else "takes no mask"


def _whose(params: DiffusersParams) -> str:
    return "method.params.task" if params.pipeline is None else "method.params.pipeline"


def _advice(params: DiffusersParams, folder: PipelineFolder) -> str:
    if params.task == "instruct" and _family(folder.pipeline) in INSTALLED.families["IMAGE2IMAGE"]:
        return "use task image_to_image, or a model that was trained on edits"
    return "use a model of the task, or name a class with pipeline"


def _control_argument(params: DiffusersParams, found: SourceClass, accepts: Signature) -> str | None:
    if params.task != "controlnet":
        return None
    if "control_image" in accepts.names:
        return "control_image"
    if "image" in accepts.names and "controlnet" in found.signature("__init__").names:
        return "image"
    raise InputError(f"{_whose(params)}: {found.name} takes no control picture")


def _arguments(params: DiffusersParams, pipeline: str, accepts: Signature) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for ours, theirs in _NAMED.items():
        value = getattr(params, ours)
        if value is None:
            continue
        if theirs not in accepts.names:
            raise InputError(f"method.params.{ours}: {pipeline} has no '{theirs}': {_nearest(theirs, accepts)}")
        found[theirs] = value
    for text in ("prompt", "negative_prompt"):
        if getattr(params, text) is not None and text not in accepts.names:
            raise InputError(f"method.params.{text}: {pipeline} has no '{text}'")
    for name, value in params.options.items():
        if name in _OURS:
            raise InputError(f"method.params.options.{name}: set for every sample by the method itself; leave it out")
        ours = next((mine for mine, theirs in _NAMED.items() if theirs == name), None)
        if ours is not None and getattr(params, ours) is not None:
            raise InputError(f"method.params.options.{name}: already set by method.params.{ours}")
        if name not in accepts.names:
            raise InputError(f"method.params.options: {pipeline} has no '{name}': {_nearest(name, accepts)}")
        found[name] = value
    return found


def _nearest(name: str, accepts: Signature) -> str:
    return nearest(name, [each for each in accepts.names if each not in _OURS])
