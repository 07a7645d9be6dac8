"""Activation checkpointing of any network: its blocks compute their activations again in the backward pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

_OWN = ("gradient_checkpointing", "checkpointing")


def checkpoint_blocks(network: nn.Module) -> int:
    """Checkpoint the outermost modules that stand in a ``ModuleList``; returns how many.

    Networks that checkpoint by themselves are left as they are. Names and values of parameters stay, and so do the
    results: random numbers (dropout) are drawn alike in both passes.
    """
    if any(getattr(module, name, False) for module in network.modules() for name in _OWN):
        return 0
    found = 0
    for child in network.children():
        found += _wrapped(child) if isinstance(child, nn.ModuleList) else checkpoint_blocks(child)
    return found


def _wrapped(blocks: nn.Module) -> int:
    found = 0
    for block in blocks.children():
        # what has no forward of its own is never called: its parts are
        if type(block).forward is nn.Module.forward:
            found += _wrapped(block)
        else:
            _wrap(block)
            found += 1
    return found


def _wrap(block: nn.Module) -> None:
    forward = block.forward

    def checkpointed(*args: Any, **kwargs: Any) -> Any:
        if torch.is_grad_enabled() and block.training:
            return checkpoint(forward, *args, use_reentrant=False, **kwargs)
        return forward(*args, **kwargs)

    block.forward = checkpointed  # type: ignore[method-assign]
