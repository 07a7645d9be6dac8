"""The folder of a transformers model: its processor of pictures, and the network itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import transformers

from methods.errors import InputError, first_line


def load_folder(folder: Path, kind: str, device: torch.device) -> tuple[Any, Any]:
    """(processor, frozen network in float32 on a device) of a folder; nothing is fetched, and no pickle is read.

    Args:
        kind: the ``Auto`` class of transformers that loads the network.

    Raises:
        InputError: no such model.
    """
    try:
        processor = transformers.AutoImageProcessor.from_pretrained(folder, local_files_only=True)
        model = getattr(transformers, kind).from_pretrained(folder, local_files_only=True, use_safetensors=True)
    except (OSError, ValueError, ImportError) as error:
        raise InputError(
            f"{folder}: not what transformers' {kind} loads from safetensors ({first_line(error)})"
        ) from None
    return processor, model.float().eval().requires_grad_(False).to(device)
