"""What a model folder holds, read from its JSON files: which pipeline, which parts, and whether they are all there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from methods.errors import InputError

_LAYOUT = "a model in diffusers' layout (a folder with model_index.json)"
_WEIGHTS = ("diffusion_pytorch_model", "model", "pytorch_model")
_PICKLES = (".bin", ".ckpt", ".pt", ".pth")
_BARE = {
    "unet": ("diffusers", "UNet2DConditionModel"),
    "vae": ("diffusers", "AutoencoderKL"),
    "text_encoder": ("transformers", "CLIPTextModel"),
    "tokenizer": ("transformers", "CLIPTokenizer"),
}
"""Parts of a Stable Diffusion model that is stored without an index."""


@dataclass(frozen=True)
class PipelineFolder:
    """A model in diffusers' layout.

    Attributes:
        path: the folder.
        pipeline: the class that its index names.
        parts: name -> (library, class) of every part that the index says is there.
        indexed: whether there is a ``model_index.json``; without one it is a Stable Diffusion model.
    """

    path: Path
    pipeline: str
    parts: Mapping[str, tuple[str, str]]
    indexed: bool = True

    @classmethod
    def read(cls, path: Path) -> PipelineFolder:
        """Read the index.

        Raises:
            InputError: no such model, or one that brings code of its own.
        """
        if not path.is_dir():
            raise InputError(f"{path}: found a file, expected {_LAYOUT}, or one file of ours")
        index = path / "model_index.json"
        if not index.exists():
            if not all((path / name).is_dir() for name in (*_BARE, "scheduler")):
                raise InputError(f"{path}: no model_index.json, expected {_LAYOUT}")
            scheduler = str(_json(path / "scheduler" / "scheduler_config.json").get("_class_name", "DDIMScheduler"))
            parts = {**_BARE, "scheduler": ("diffusers", scheduler)}
            return cls(path, "StableDiffusionPipeline", parts, indexed=False)
        tree = _json(index)
        pipeline = tree.get("_class_name")
        if isinstance(pipeline, list):
            raise InputError(
                f"{index}: the model brings a pipeline of its own ({pipeline[-1]}); no foreign code is run"
            )
        if not isinstance(pipeline, str):
            raise InputError(f"{index}: names no pipeline class (_class_name), expected {_LAYOUT}")
        parts: dict[str, tuple[str, str]] = {}
        for name, entry in tree.items():
            if not name.startswith("_") and isinstance(entry, list) and len(entry) == 2 and entry[1] is not None:
                parts[name] = (str(entry[0]), str(entry[1]))
        return cls(path, pipeline, parts)

    def config(self, part: str) -> Mapping[str, Any]:
        """A part's ``config.json``; empty where it has none."""
        path = self.path / part / "config.json"
        return _json(path) if path.exists() else {}

    @cached_property
    def scheduler(self) -> str:
        """The class of its scheduler, empty where it has none."""
        return self.parts.get("scheduler", ("", ""))[1]

    @property
    def denoiser(self) -> str:
        """The name of the part that denoises: ``unet`` or ``transformer``."""
        return "transformer" if "transformer" in self.parts else "unet"

    @property
    def text_width(self) -> int | None:
        """Width of the text states that the UNet reads; ``None`` for other networks."""
        width = self.config("unet").get("cross_attention_dim")
        return width if isinstance(width, int) else None

    def check(self, unused: frozenset[str] = frozenset()) -> None:
        """Check that every part is there in a format that holds no code, and that the text encoders fit the UNet.

        Args:
            unused: parts that will not be loaded.

        Raises:
            InputError: the first part that is missing, only there as pickle, or does not fit.
        """
        for name in self.parts:
            if name not in unused:
                self._check_part(name)
        if "unet" in self.parts:
            self._check_text(unused)

    def _check_part(self, name: str) -> None:
        folder = self.path / name
        if not folder.is_dir():
            raise InputError(
                f"{self.path}: {name} missing, which its model_index.json names ({self.parts[name][1]}): copy or "
                "download the whole model"
            )
        check_weights(folder)

    def _check_text(self, unused: frozenset[str]) -> None:
        """Stable Diffusion and SDXL: the widths of all text encoders together are what the UNet reads."""
        wanted = self.text_width
        unet = self.config("unet")
        if wanted is None or unet.get("encoder_hid_dim_type") is not None:
            return
        names = ("text_encoder", "text_encoder_2")
        widths = {name: self.config(name).get("hidden_size") for name in names if name in self.parts.keys() - unused}
        if any(not isinstance(width, int) for width in widths.values()):
            return
        if sum(width for width in widths.values() if width is not None) != wanted:
            listed = ", ".join(f"{name} {width}" for name, width in widths.items()) or "none"
            missing = [name for name in names if name not in self.parts]
            what = f"{' and '.join(missing)} missing" if missing and unet.get("addition_embed_type") else "do not fit"
            raise InputError(
                f"{self.path}: text encoders {what}: the unet reads text of width {wanted}, the model's encoders give: "
                f"{listed}"
            )


def check_weights(folder: Path) -> None:
    """Check that a network's folder has its weights as safetensors. Folders without weights (tokenizers) pass.

    Raises:
        InputError: there is a configuration of a network, and no such file; what is there instead is named.
    """
    if not (folder / "config.json").exists():
        return
    files = sorted(path.name for path in folder.iterdir() if path.is_file())
    if any(name.endswith(".safetensors") and name.startswith(_WEIGHTS) for name in files):
        return
    pickles = [name for name in files if name.endswith(_PICKLES)]
    if pickles:
        raise InputError(
            f"{folder}: the weights are a pickle ({pickles[0]}), which may hold code: save the model as safetensors "
            "(save_pretrained(..., safe_serialization=True))"
        )
    raise InputError(f"{folder}: no full-precision safetensors weights, expected {_WEIGHTS[0]}.safetensors or the like")


def _json(path: Path) -> dict[str, Any]:
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path.parent}: {path.name} missing, expected {_LAYOUT}") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not JSON ({error})") from None
    if not isinstance(tree, dict):
        raise InputError(f"{path}: not a JSON object, expected {_LAYOUT}")
    return tree
