"""LoRA merged into the weights it adapts, once, at load."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from methods.errors import InputError


def lora_delta(a: Tensor, b: Tensor, scale: float) -> Tensor:
    """``scale * B A`` in the shape of the adapted weight, float32 (Hu et al., arXiv 2106.09685, equation 3).

    Args:
        a: (r, in) of a linear layer or (r, in, k, k) of a convolution.
        b: (out, r) or (out, r, 1, 1).
        scale: alpha / r.
    """
    if a.ndim == 2:
        return scale * (b.float() @ a.float())
    return scale * torch.einsum("or,rikl->oikl", b.float().flatten(1), a.float())


def merge_lora(weights: dict[str, Tensor], adapters: Mapping[str, tuple[Tensor, Tensor]], scale: float) -> None:
    """Add each adapter (A, B) to ``weights[module + '.weight']`` in place.

    Raises:
        KeyError: an adapter's module has no weight; the argument is the module's name.
        ValueError: shapes that do not fit; the message says module, found and expected.
    """
    for module, (a, b) in adapters.items():
        name = f"{module}.weight"
        if name not in weights:
            raise KeyError(module)
        weight = weights[name]
        if a.ndim != weight.ndim or b.ndim != weight.ndim or a.shape[0] != b.shape[1]:
            raise ValueError(
                f"{module}: LoRA A {tuple(a.shape)} and B {tuple(b.shape)} for a weight {tuple(weight.shape)}"
            )
        delta = lora_delta(a, b, scale)
        if delta.shape != weight.shape:
            raise ValueError(f"{module}: LoRA gives {tuple(delta.shape)}, the base model has {tuple(weight.shape)}")
        weights[name] = (weight.float() + delta).to(weight.dtype)


def merge_released(
    weights: dict[str, Tensor], adapters: Mapping[str, tuple[Tensor, Tensor]], scale: float, where: str, base: Path
) -> None:
    """:func:`merge_lora` of a released file's adapters into the base model of the folder ``base``.

    Raises:
        InputError: adapters that do not fit; ``where`` and what does not fit are named.
    """
    try:
        merge_lora(weights, adapters, scale)
    except KeyError as error:
        raise InputError(f"{where}: adapts '{error.args[0]}', which the base model {base} does not have") from None
    except ValueError as error:
        raise InputError(f"{where}: does not fit the base model {base}: {error}") from None
