"""Several workers training one model: gradients averaged, the start made equal. One worker needs none of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

_BUCKET_BYTES = 64 << 20


def alone(parameters: Sequence[nn.Parameter]) -> None:
    """A single worker shares its gradients with nobody."""


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """In a process group, every gradient becomes the mean over the workers, in buckets of 64 MiB."""
    # After the backward pass, not during it as torch's DDP does: an objective may step one network on several losses of
    # an iteration, whose gradients are set aside apart while batches accumulate.
    world = dist.get_world_size()
    bucket: list[Tensor] = []
    size = 0
    gradients = [p.grad for p in parameters if p.grad is not None]
    for number, gradient in enumerate(gradients):
        bucket.append(gradient)
        size += gradient.numel() * gradient.element_size()
        if size >= _BUCKET_BYTES or number == len(gradients) - 1:
            flat = torch.cat([g.flatten() for g in bucket])
            dist.all_reduce(flat)
            flat /= world
            for part, piece in zip(bucket, flat.split([g.numel() for g in bucket]), strict=True):
                part.copy_(piece.view_as(part))
            bucket, size = [], 0


def same_start(networks: Mapping[str, nn.Module]) -> None:
    """Give every worker the first one's weights and buffers."""
    for network in networks.values():
        for tensor in [*network.parameters(), *network.buffers()]:
            dist.broadcast(tensor.data, src=0)


def agree_on(number: int, device: torch.device) -> int:
    """The first worker's number, on every worker."""
    tensor = torch.tensor([number], device=device)
    dist.broadcast(tensor, src=0)
    return int(tensor)


def any_of(asked: bool, device: torch.device) -> bool:
    """Whether any worker says so, on every worker: they must leave their loops at the same step."""
    tensor = torch.tensor([int(asked)], device=device)
    dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    return bool(tensor)
