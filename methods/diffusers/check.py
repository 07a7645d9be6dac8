"""All that can be known of a job before a network is loaded: pipeline, arguments, files, LoRAs, scheduler, columns."""

from __future__ import annotations

from pathlib import Path

from methods import weights as store
from methods.base import Offered
from methods.diffusers.choice import PipelineChoice, choose
from methods.diffusers.folder import PipelineFolder, check_weights
from methods.diffusers.installed import INSTALLED
from methods.diffusers.lora import check_lora, lora_file
from methods.diffusers.params import DiffusersParams
from methods.diffusers.prompts import places
from methods.errors import InputError
from methods.plugins import nearest

UNUSED = frozenset({"safety_checker", "feature_extractor", "image_encoder"})
"""Parts that are not loaded where a pipeline can do without: the safety checker blackens pictures without a word."""


def check_job(params: DiffusersParams, weights: str | None, offered: Offered) -> None:
    """Check a job. Reads JSON files and headers only; imports neither torch nor diffusers.

    Raises:
        InputError: the first thing that cannot work.
    """
    _check_columns(params, offered)
    path = store.fetch(needed(weights))
    # a file holds one of our own models, which is unpacked where it is loaded
    if path.is_dir():
        check_model(params, PipelineFolder.read(path))


def needed(weights: str | None) -> str:
    """The model's URI. Raises InputError where none is named."""
    if weights is None:
        raise InputError("diffusers needs a model: set method.weights to a folder, a hub id or a URI")
    return weights


def check_model(params: DiffusersParams, folder: PipelineFolder) -> PipelineChoice:
    """The pipeline of a job on a model, everything about the two checked that files show.

    Raises:
        InputError: as :func:`check_job`.
    """
    choice = choose(params, folder)
    _check_scheduler(params, folder)
    unused = unused_parts(choice, folder)
    _check_parts(choice, folder)
    folder.check(unused)
    if params.controlnet is not None:
        net = store.fetch(params.controlnet)
        if not (net / "config.json").exists():
            raise InputError(f"method.params.controlnet: {params.controlnet}: no config.json, expected a ControlNet")
        check_weights(net)
    for each in params.loras:
        check_lora(lora_path(each.file), each.file, folder.denoiser, folder.text_width)
    return choice


def lora_path(uri: str) -> Path:
    """The local safetensors file of a LoRA. Raises InputError as :func:`methods.diffusers.lora.lora_file`."""
    return lora_file(store.fetch(uri), uri)


def unused_parts(choice: PipelineChoice, folder: PipelineFolder) -> frozenset[str]:
    """Parts of the model that are not loaded: those the pipeline does not take or can do without."""
    optional = INSTALLED.pipeline(choice.pipeline, "method.params.pipeline").optional
    spare = {name for name in UNUSED if name in optional}
    return frozenset(name for name in folder.parts if name in spare or name not in choice.parts.names)


def _check_parts(choice: PipelineChoice, folder: PipelineFolder) -> None:
    """Every part that the pipeline is built from is in the model, but for what it can do without.

    Its text encoders can be missing by its own word, for prompts that were embedded elsewhere; here they are needed.
    SDXL's refiner has the second one alone.
    """
    optional = INSTALLED.pipeline(choice.pipeline, "method.params.pipeline").optional
    refiner = {"text_encoder", "tokenizer"} if {"text_encoder_2", "tokenizer_2"} <= folder.parts.keys() else set()
    for name in choice.parts.names:
        spoken = name.startswith(("text_encoder", "tokenizer")) and name not in refiner
        needed = name in choice.parts.required and (spoken or name not in optional)
        if needed and name not in folder.parts and name not in (*UNUSED, "controlnet"):
            raise InputError(
                f"{folder.path}: {name} missing, which {choice.pipeline} needs (model_index.json: {folder.pipeline})"
            )


def _check_columns(params: DiffusersParams, offered: Offered) -> None:
    for which in ("prompt", "negative_prompt"):
        for name in places(getattr(params, which) or ""):
            if name == "caption":
                if not offered.caption:
                    raise InputError(
                        f"method.params.{which}: names {{caption}}, but the source has no captions: set "
                        "source.caption, or write a prompt without it"
                    )
            elif name not in offered.columns:
                hint = nearest(name, ["caption", *offered.columns] if offered.caption else offered.columns)
                raise InputError(f"method.params.{which}: names {{{name}}}, which the source has no column of: {hint}")
    masks = {"mask": params.mask, "control": params.control if params.control not in ("image", "canny") else None}
    for which, name in masks.items():
        if name is not None and name not in offered.masks:
            raise InputError(
                f"method.params.{which}: the source has no mask '{name}' (source.masks): {nearest(name, offered.masks)}"
            )


def _check_scheduler(params: DiffusersParams, folder: PipelineFolder) -> None:
    where = "method.params.scheduler"
    name = params.scheduler or folder.scheduler
    if params.scheduler is not None:
        INSTALLED.scheduler(params.scheduler, where)
        if params.scheduler == "DPMSolverSDEScheduler":
            raise InputError(f"{where}: {name} draws noise of its own that no sample's seed decides; use another")
        of_one_kind = {name in INSTALLED.interchangeable, folder.scheduler in INSTALLED.interchangeable}
        if folder.scheduler and len(of_one_kind) == 2:
            raise InputError(f"{where}: {name} cannot stand in for the model's {folder.scheduler}")
    if params.scheduler_options:
        accepts = INSTALLED.scheduler(name, where).signature("__init__").names
        for option in params.scheduler_options:
            if option not in accepts:
                raise InputError(
                    f"method.params.scheduler_options: {name} has no '{option}': {nearest(option, accepts)}"
                )
