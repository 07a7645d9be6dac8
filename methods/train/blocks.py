"""Activation checkpointing of any network: its blocks compute their activations again in the backward pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

_OWN = ("gradient_checkpointing", "checkpointing")


def blocks_of(network: nn.Module) -> list[nn.Module]:
    """The outermost modules that stand in a ``ModuleList``; none for a network that checkpoints by itself."""
    if any(getattr(module, name, False) for module in network.modules() for name in _OWN):
        return []
    found: list[nn.Module] = []
    for child in network.children():
        found += _called(child) if isinstance(child, nn.ModuleList) else blocks_of(child)
    return found


def checkpoint_blocks(network: nn.Module) -> None:
    """Checkpoint the blocks of a network.

    Names and values of parameters stay, and so do the results: random numbers (dropout) are drawn alike in both passes.
    """
    for block in blocks_of(network):
        _wrap(block)


def _called(blocks: nn.Module) -> list[nn.Module]:
    found: list[nn.Module] = []
    for block in blocks.children():
        # what has no forward of its own is never called: its parts are
        found += _called(block) if type(block).forward is nn.Module.forward else [block]
    return found


def _wrap(block: nn.Module) -> None:
    forward = block.forward

    def checkpointed(*args: Any, **kwargs: Any) -> Any:
        if torch.is_grad_enabled() and block.training:
            return checkpoint(forward, *args, use_reentrant=False, **kwargs)
        return forward(*args, **kwargs)

    block.forward = checkpointed  # type: ignore[method-assign]
