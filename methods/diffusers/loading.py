"""A pipeline of diffusers made ready: parts, scheduler, LoRAs, place and precision."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import diffusers
import torch
import transformers

from methods import weights as store
from methods.diffusers.check import check_model, lora_path, needed, unused_parts
from methods.diffusers.choice import PipelineChoice
from methods.diffusers.folder import PipelineFolder
from methods.diffusers.params import DiffusersParams
from methods.errors import InputError, first_line
from methods.nn.model_pack import unpack
from methods.nn.quiet_libraries import quiet
from methods.sharing import loaded_once


@dataclass(frozen=True)
class LoadedPipeline:
    """A pipeline on its device, what its call is given, and the name of its denoising network."""

    pipeline: Any
    choice: PipelineChoice
    denoiser: str


def load_pipeline(
    params: DiffusersParams, weights: str | None, device: torch.device, dtype: torch.dtype
) -> LoadedPipeline:
    """Build the pipeline of a job; jobs beside each other whose calls alone differ have one.

    Raises:
        InputError: as :func:`methods.diffusers.check.check_job`; or parts, LoRAs or scheduler settings that do not
            fit, which only shows when they are loaded.
    """
    path = store.fetch(needed(weights))
    folder = PipelineFolder.read(path if path.is_dir() else unpack(path))
    choice = check_model(params, folder)
    same = (weights, choice.pipeline, params.controlnet, params.loras, params.scheduler, repr(params.scheduler_options))
    placed = (params.offload, params.vae_tiling, device, dtype)
    pipeline = loaded_once((load_pipeline, *same, *placed), lambda: _ready(params, folder, choice, device, dtype))
    return LoadedPipeline(pipeline, choice, folder.denoiser)


def _ready(
    params: DiffusersParams, folder: PipelineFolder, choice: PipelineChoice, device: torch.device, dtype: torch.dtype
) -> Any:
    with quiet():
        pipeline = _built(params, folder, choice, dtype)
        _add_loras(pipeline, params)
    _set_scheduler(pipeline, params)
    pipeline.set_progress_bar_config(disable=True)
    if params.vae_tiling:
        if not hasattr(getattr(pipeline, "vae", None), "enable_tiling"):
            raise InputError(f"method.params.vae_tiling: {choice.pipeline} has no VAE that decodes in tiles")
        pipeline.vae.enable_tiling()
    _place(pipeline, params, device)
    return pipeline


def _built(params: DiffusersParams, folder: PipelineFolder, choice: PipelineChoice, dtype: torch.dtype) -> Any:
    kind = getattr(diffusers, choice.pipeline)
    unused = unused_parts(choice, folder)
    given: dict[str, Any] = {name: None for name in unused if name in choice.parts.names}
    if "safety_checker" in choice.parts.names:
        given["safety_checker"] = None
    if "requires_safety_checker" in choice.parts.names:
        given["requires_safety_checker"] = False
    if params.controlnet is not None:
        given["controlnet"] = _controlnet(params.controlnet, dtype)
    try:
        if not folder.indexed:
            parts = {name: _part(folder.path, name, *entry, dtype) for name, entry in folder.parts.items()}
            return kind(**parts, **{"feature_extractor": None, **given})
        return kind.from_pretrained(str(folder.path), torch_dtype=dtype, use_safetensors=True, **given)
    except InputError:
        raise
    except Exception as error:
        # whatever diffusers, transformers or accelerate raise for files that do not fit
        raise InputError(f"{folder.path}: {choice.pipeline} cannot be loaded ({first_line(error)})") from None


def _part(path: Path, name: str, library: str, kind: str, dtype: torch.dtype) -> Any:
    source = getattr(diffusers if library == "diffusers" else transformers, kind)
    options = {} if name in ("tokenizer", "scheduler") else {"torch_dtype": dtype, "use_safetensors": True}
    return source.from_pretrained(str(path), subfolder=name, **options)


def _controlnet(uri: str, dtype: torch.dtype) -> Any:
    path = store.fetch(uri)
    name = PipelineFolder(path, "", {}).config("").get("_class_name")
    kind = getattr(diffusers, str(name), None)
    if kind is None or "ControlNet" not in str(name):
        raise InputError(f"method.params.controlnet: {uri}: a {name}, expected a ControlNet")
    return kind.from_pretrained(str(path), torch_dtype=dtype, use_safetensors=True)


def _add_loras(pipeline: Any, params: DiffusersParams) -> None:
    """Load all LoRA files and merge them into the weights, so that they cost nothing afterwards."""
    if not params.loras:
        return
    if not hasattr(pipeline, "load_lora_weights"):
        raise InputError(f"method.params.loras: {type(pipeline).__name__} takes no LoRA")
    names = []
    for number, each in enumerate(params.loras):
        path = lora_path(each.file)
        names.append(f"lora{number}")
        try:
            pipeline.load_lora_weights(str(path.parent), weight_name=path.name, adapter_name=names[-1])
        except Exception as error:
            # peft and diffusers raise classes of many kinds for shapes and names that do not fit
            raise InputError(f"LoRA '{each.file}': does not fit the model ({first_line(error)})") from None
        if not any(names[-1] in adapters for adapters in pipeline.get_list_adapters().values()):
            raise InputError(f"LoRA '{each.file}': none of its names belongs to the model, it is for another base")
    pipeline.set_adapters(names, [each.scale for each in params.loras])
    pipeline.fuse_lora(adapter_names=names)
    pipeline.unload_lora_weights()


def _set_scheduler(pipeline: Any, params: DiffusersParams) -> None:
    if params.scheduler is None and not params.scheduler_options:
        return
    kind = type(pipeline.scheduler) if params.scheduler is None else getattr(diffusers, params.scheduler)
    try:
        pipeline.scheduler = kind.from_config(pipeline.scheduler.config, **params.scheduler_options)
    except (ValueError, TypeError, NotImplementedError, ImportError) as error:
        raise InputError(f"method.params.scheduler_options: {kind.__name__}: {first_line(error)}") from None


def _place(pipeline: Any, params: DiffusersParams, device: torch.device) -> None:
    if params.offload == "none":
        pipeline.to(device)
        return
    if device.type != "cuda":
        raise InputError(f"method.params.offload: {params.offload} needs a GPU (compute.gpus); on '{device}' use none")
    if params.offload == "model":
        pipeline.enable_model_cpu_offload(device=device)
    else:
        pipeline.enable_sequential_cpu_offload(device=device)
