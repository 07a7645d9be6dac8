"""Several workers training one model: gradients averaged, the start made equal. One worker needs none of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.distributed as dist
from torch import Tensor, nn

_BUCKET_BYTES = 25 << 20
"""As torch's DDP: large enough to be sent at full speed, small enough that several are under way."""

Share = Callable[[Sequence[nn.Parameter], Callable[[nn.Parameter], None], Callable[[], None]], None]
"""Called with the parameters of a step, with what makes a parameter's gradient whole once its last part has come, and
with the backward pass that brings the last parts. After it, all gradients are those that are stepped on.
"""


def alone(
    parameters: Sequence[nn.Parameter], complete: Callable[[nn.Parameter], None], backward: Callable[[], None]
) -> None:
    """A single worker shares its gradients with nobody. See :data:`Share`."""
    backward()
    for parameter in parameters:
        complete(parameter)


# Not torch's DistributedDataParallel: it wraps one network with one forward and one backward pass per step. Published
# iterations step one network on several losses in turn, call parts of networks, and leave gradients of one network's
# loss in another. Its two ideas are taken over: hooks at the parameters, and buckets that are sent in one fixed order.
def average_gradients(
    parameters: Sequence[nn.Parameter],
    complete: Callable[[nn.Parameter], None],
    backward: Callable[[], None],
    bucket_bytes: int = _BUCKET_BYTES,
) -> None:
    """In a process group, every gradient becomes the mean over the workers. See :data:`Share`.

    A bucket of gradients is sent as soon as the backward pass has made the last of them, while the pass goes on. A
    gradient that a worker has not counts as 0 there, and stays away where no worker has one, as with one process.

    Raises:
        RuntimeError: the backward pass reaches a parameter twice, as reentrant activation checkpointing may.
    """
    buckets = _buckets(parameters, bucket_bytes)
    bucket_of = {parameter: bucket for bucket in buckets for parameter in bucket.members}
    waiting, done = list(buckets), set[nn.Parameter]()

    def ready(parameter: nn.Parameter) -> None:
        if parameter in done:
            raise RuntimeError("a gradient came twice in one backward pass: do it by updates.backward, before the step")
        done.add(parameter)
        complete(parameter)
        bucket_of[parameter].put(parameter)
        # in one order on all workers, whichever is full first
        while waiting and waiting[0].full:
            waiting.pop(0).send()

    hooks = [parameter.register_post_accumulate_grad_hook(ready) for parameter in parameters if parameter.requires_grad]
    try:
        backward()
    finally:
        for hook in hooks:
            hook.remove()
    for bucket in buckets:
        for parameter in bucket.members:
            if parameter not in done:
                ready(parameter)
    for bucket in buckets:
        bucket.receive()


class _Bucket:
    """Gradients that are sent together: each parameter's own is a view of one tensor from :meth:`put` on.

    Args:
        members: parameters of one type on one device.
    """

    def __init__(self, members: Sequence[nn.Parameter]) -> None:
        self.members = members
        count, first = sum(parameter.numel() for parameter in members), members[0]
        # one number per parameter follows the gradients: whether there is one
        self._flat = torch.empty(count + len(members), dtype=first.dtype, device=first.device)
        self._flat[count:] = 0
        self._has = self._flat[count:]
        pieces = self._flat[:count].split([parameter.numel() for parameter in members])
        self._views = {
            parameter: _laid_out_as(piece, parameter) for parameter, piece in zip(members, pieces, strict=True)
        }
        self._number = {parameter: number for number, parameter in enumerate(members)}
        self._missing = len(members)
        self._work: dist.Work | None = None

    @property
    def full(self) -> bool:
        return not self._missing

    def put(self, parameter: nn.Parameter) -> None:
        view = self._views[parameter]
        if parameter.grad is None:
            view.zero_()
        else:
            view.copy_(parameter.grad)
            self._has[self._number[parameter]] = 1
            # the memory of its own is free again
            parameter.grad = view
        self._missing -= 1

    def send(self) -> None:
        self._work = dist.all_reduce(self._flat, async_op=True)

    def receive(self) -> None:
        assert self._work is not None
        self._work.wait()
        self._flat /= dist.get_world_size()
        for parameter, has in zip(self.members, (self._has > 0).tolist(), strict=True):
            parameter.grad = self._views[parameter] if has else None


def _buckets(parameters: Sequence[nn.Parameter], most: int) -> list[_Bucket]:
    """The last parameters first, as a backward pass comes to them."""
    found: list[list[nn.Parameter]] = []
    size = 0
    for parameter in reversed(parameters):
        previous = found[-1][-1] if found else None
        fits = size < most and previous is not None
        if not fits or (previous.dtype, previous.device) != (parameter.dtype, parameter.device):  # type: ignore[union-attr]
            found.append([])
            size = 0
        found[-1].append(parameter)
        size += parameter.numel() * parameter.element_size()
    return [_Bucket(members) for members in found]


def _laid_out_as(piece: Tensor, parameter: nn.Parameter) -> Tensor:
    """A view of ``piece`` (n,) of a parameter's shape, in its order of memory: optimizers are fastest with that."""
    dense = parameter.is_contiguous() or (
        parameter.dim() == 4 and parameter.is_contiguous(memory_format=torch.channels_last)
    )
    return piece.as_strided(parameter.shape, parameter.stride()) if dense else piece.view(parameter.shape)


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


def any_of(device: torch.device, *asked: bool) -> list[bool]:
    """Of each question whether any worker says so, on every worker: they must leave their loops at the same step."""
    tensor = torch.tensor(asked, dtype=torch.int32, device=device)
    dist.all_reduce(tensor, op=dist.ReduceOp.MAX)
    return [bool(each) for each in tensor.tolist()]
