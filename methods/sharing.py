"""What methods that are built beside each other in one process compute once: networks, and work on the same batch.

A method asks for both whenever it is built; by itself it shares with nobody, and nothing is kept.
"""

from __future__ import annotations

import contextlib
import contextvars
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch

from methods.base import Batch

T = TypeVar("T")

_KEPT = 4


@dataclass
class Group:
    """Methods that make the same thing of the same batch, such as its inversion.

    A result is kept until each of them has had it; where some never ask, the latest four are.
    """

    members: int = 0
    _kept: OrderedDict[Hashable, tuple[torch.Tensor, Any, int]] = field(default_factory=OrderedDict)

    def of(self, batch: Batch, make: Callable[[], T], *also: Hashable) -> T:
        """The result of ``make``, or that of another member for the same batch; nobody may change it.

        Args:
            also: what else of this call decides the result, such as captions.
        """
        if self.members < 2:
            return make()
        key = (tuple(batch.keys), tuple(batch.seeds), also)
        known = self._kept.pop(key, None)
        if known is not None and torch.equal(known[0], batch.inputs):
            _, made, uses = known
        else:
            made, uses = make(), 0
        if uses + 1 < self.members:
            self._kept[key] = (batch.inputs, made, uses + 1)
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return made


@dataclass
class _Shared:
    networks: dict[Hashable, Any] = field(default_factory=dict)
    groups: dict[Hashable, Group] = field(default_factory=dict)


_shared: contextvars.ContextVar[_Shared | None] = contextvars.ContextVar("sceneshift_shared", default=None)


@contextlib.contextmanager
def sharing() -> Iterator[None]:
    """Methods that are built inside share with each other. They must be called from one thread."""
    before = _shared.set(_Shared())
    try:
        yield
    finally:
        _shared.reset(before)


def shared_network(key: Hashable, make: Callable[[], T]) -> T:
    """A network that is never changed, loaded by ``make`` unless it was already, for the same key."""
    shared = _shared.get()
    if shared is None:
        return make()
    if key not in shared.networks:
        shared.networks[key] = make()
    return shared.networks[key]


def shared_work(key: Hashable) -> Group:
    """The group of methods for which the key, which holds all that the work depends on but the batch, is the same."""
    shared = _shared.get()
    group = Group() if shared is None else shared.groups.setdefault(key, Group())
    group.members += 1
    return group
