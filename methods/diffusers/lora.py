"""LoRA files before they are loaded: whether a file is one, and whether it was made for this kind of model."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path
from typing import Any

from methods.errors import InputError

_KEY = re.compile(r"lora[._]?(?:A|B|up|down|linear_layer)", re.IGNORECASE)
_TEXT_SIDE = re.compile(
    r"attn2[._](?:processor[._])?to_[kv](?:_lora)?[._](?:lora[._])?(?:A|down)(?:[._]\w+)?[._]weight$"
)
_WIDTHS = {768: "Stable Diffusion 1.x", 1024: "Stable Diffusion 2.x", 2048: "SDXL", 1280: "the SDXL refiner"}


def lora_file(path: Path, uri: str) -> Path:
    """The one safetensors file that ``path``, a file or folder, stands for.

    Raises:
        InputError: a pickle, or a folder with none or several.
    """
    if path.is_file():
        if path.suffix != ".safetensors":
            raise InputError(f"LoRA '{uri}': found {path.suffix or 'a file without ending'}, expected safetensors")
        return path
    named = path / "pytorch_lora_weights.safetensors"
    files = [named] if named.exists() else sorted(path.glob("*.safetensors"))
    if len(files) != 1:
        found = ", ".join(file.name for file in files) or "none"
        raise InputError(f"LoRA '{uri}': expected one safetensors file in the folder, found {found}: name the file")
    return files[0]


def check_lora(path: Path, uri: str, denoiser: str, text_width: int | None) -> None:
    """Check a file's names and shapes, which its header holds, against the model.

    Args:
        denoiser: ``unet`` or ``transformer``.
        text_width: width of the text states that the UNet reads, where that is known.

    Raises:
        InputError: no LoRA, or one for another base; both bases are named.
    """
    shapes = _shapes(path, uri)
    if not any(_KEY.search(name) for name in shapes):
        raise InputError(f"LoRA '{uri}': no LoRA in it (first tensor: {next(iter(shapes), 'none')})")
    other = "unet" if denoiser == "transformer" else "transformer"
    begins = {name.partition(".")[0].removeprefix("lora_").partition("_")[0] for name in shapes}
    if other in begins and denoiser not in begins:
        raise InputError(f"LoRA '{uri}': made for a model with a {other}, this one has a {denoiser}")
    widths = {shape[1] for name, shape in shapes.items() if _TEXT_SIDE.search(name) and len(shape) >= 2}
    if text_width is not None and widths and text_width not in widths:
        raise InputError(
            f"LoRA '{uri}': made for another base: its text side is {_width(min(widths))} wide, the model's "
            f"{_width(text_width)}"
        )


def _width(width: int) -> str:
    return f"{width} ({_WIDTHS[width]})" if width in _WIDTHS else str(width)


def _shapes(path: Path, uri: str) -> dict[str, list[int]]:
    """Names and shapes from the header of a safetensors file."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            if length > path.stat().st_size:
                raise ValueError("its header is longer than the file")
            header: dict[str, Any] = json.loads(file.read(length))
        return {name: list(entry["shape"]) for name, entry in header.items() if name != "__metadata__"}
    except (OSError, ValueError, KeyError, TypeError, struct.error):
        raise InputError(f"LoRA '{uri}': {path.name} is no safetensors file") from None
