"""What methods beside each other in one process do once: what they load, and work on the same samples.

Targets of one job are such methods. Who loads something asks for it by a key; whoever is by itself loads it for itself.
Work on a batch is shared through the batch (:meth:`methods.base.Batch.once`), which knows who else gets its samples.
"""

from __future__ import annotations

import contextlib
import contextvars
import weakref
from collections.abc import Callable, Hashable, Iterator, Sequence
from typing import Any, Protocol, TypeVar

T = TypeVar("T")


class Sharing(Protocol):
    """A batch (:class:`methods.base.Batch`), as far as what others get of it goes."""

    together: Together | None

    def same_pixels(self, other: Any) -> bool:
        """Whether both hold the same inputs."""
        ...


class Together:
    """Batches of the same samples, each for a method of its own, that are translated one after the other.

    What one method makes for others is kept until they ask, or until their batches are gone. It knows batches by weak
    references, so that nothing of them stays once they are translated.
    """

    def __init__(self, asked: Sequence[tuple[Any, Sharing]]) -> None:
        self._asked = [(method, weakref.ref(batch)) for method, batch in asked]
        self._begun: set[tuple[Hashable, int]] = set()
        self._made: dict[tuple[Hashable, int], Any] = {}

    @classmethod
    def join(cls, asked: Sequence[tuple[Any, Sharing]]) -> None:
        """Tell the batches of these methods of each other. Before any of them is translated."""
        together = cls(asked)
        for _, batch in asked:
            batch.together = together

    def of(self, batch: Sharing, key: Hashable, method: Any, make: Callable[[Sequence[Any]], Sequence[T]]) -> T:
        """As :meth:`methods.base.Batch.at_once`."""
        me = next((number for number, (_, known) in enumerate(self._asked) if known() is batch), None)
        if me is None:
            # made of one of them, and nobody's since
            (result,) = make([method])
            return result
        if (key, me) in self._made:
            return self._made.pop((key, me))
        # also where it fails: nobody then makes it again for this one
        self._begun.add((key, me))
        others = [number for number in range(len(self._asked)) if self._joins(number, key, batch)]
        result, *rest = make([method, *(self._asked[number][0] for number in others)])
        for number, made in zip(others, rest, strict=True):
            self._begun.add((key, number))
            self._made[key, number] = made
        return result

    def _joins(self, number: int, key: Hashable, batch: Sharing) -> bool:
        method, known = self._asked[number]
        if (key, number) in self._begun or key not in getattr(method, "shares", ()):
            return False
        other = known()
        return other is not None and other.same_pixels(batch)


_loaded: contextvars.ContextVar[dict[Hashable, Any] | None] = contextvars.ContextVar("sceneshift_loaded", default=None)


@contextlib.contextmanager
def sharing() -> Iterator[None]:
    """Methods that are built inside share what they load. They must be called from one thread."""
    before = _loaded.set({})
    try:
        yield
    finally:
        _loaded.reset(before)


def loaded_once(key: Hashable, load: Callable[[], T]) -> T:
    """What is never changed, such as a network: by ``load``, unless it was loaded already for the same key."""
    loaded = _loaded.get()
    if loaded is None:
        return load()
    if key not in loaded:
        loaded[key] = load()
    return loaded[key]
