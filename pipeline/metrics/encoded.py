"""What a network makes of pictures, shared by the metrics, and by the targets of a job, that ask for the same."""

from __future__ import annotations

import contextlib
import hashlib
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import Generic, Literal, TypeVar

import numpy as np

from pipeline.metrics.base import Pictures

Role = Literal["source", "output", "target"]
F = TypeVar("F")
G = TypeVar("G")


class EncodedPictures(Generic[F]):
    """The features of pictures, each array encoded once as long as it is there, whichever threads ask for it.

    Args:
        encode: (H, W, 3) uint8 pictures of any sizes -> one feature each. The value of a picture must not depend on
            those beside it.
    """

    def __init__(self, encode: Callable[[Sequence[np.ndarray]], Sequence[F]]) -> None:
        self._encode = encode
        self._lock = threading.Lock()
        # by id, which stands for one array until that is gone and with it what is known of it
        self._known: dict[int, tuple[weakref.ref[np.ndarray], Future[F]]] = {}
        self._memory: dict[bytes, F] | None = None

    def reading(self, view: Callable[[F], G]) -> EncodedPictures[G]:
        """Another feature by the same network, read off those that are known here; others are encoded, and not kept."""

        def encode(pictures: Sequence[np.ndarray]) -> list[G]:
            known = [self._found(picture) for picture in pictures]
            missing = [picture for picture, one in zip(pictures, known, strict=True) if one is None]
            fresh = iter(self._encode(missing) if missing else ())
            return [view(next(fresh) if one is None else one) for one in known]

        return EncodedPictures(encode)

    @contextlib.contextmanager
    def remembering(self, memory: dict[bytes, F]) -> Iterator[None]:
        """Inside, the features of sources and targets are kept in ``memory`` by content, and taken from there."""
        before, self._memory = self._memory, memory
        try:
            yield
        finally:
            self._memory = before

    def of(self, pictures: Pictures, role: Role, chosen: Sequence[bool] | None = None) -> list[F | None]:
        """One feature per sample; ``None`` where there is no such picture, or it is not among the ``chosen``."""
        found: dict[Role, Sequence[np.ndarray | None]] = {
            "source": pictures.source,
            "output": pictures.output,
            "target": pictures.target,
        }
        images = found[role]
        if chosen is not None:
            images = [image if wanted else None for image, wanted in zip(images, chosen, strict=True)]
        distinct = {id(image): image for image in images if image is not None}
        fresh: dict[int, Future[F]] = {}
        others: dict[int, Future[F]] = {}
        with self._lock:
            for number, image in distinct.items():
                if number in self._known:
                    others[number] = self._known[number][1]
                else:
                    fresh[number] = Future()
                    self._known[number] = (weakref.ref(image, self._forgetting(number)), fresh[number])
        self._encode_into(fresh, distinct, role)
        features = {number: future.result() for number, future in fresh.items()}
        for number, future in others.items():
            # where another thread failed it may have been over a picture beside this one
            failed = future.exception() is not None
            features[number] = self._encode([distinct[number]])[0] if failed else future.result()
        return [None if image is None else features[id(image)] for image in images]

    def _found(self, picture: np.ndarray) -> F | None:
        """What is known of a picture by now."""
        with self._lock:
            at = self._known.get(id(picture))
        if at is None or not at[1].done() or at[1].exception() is not None:
            return None
        return at[1].result()

    def _encode_into(self, fresh: dict[int, Future[F]], images: dict[int, np.ndarray], role: Role) -> None:
        if not fresh:
            return
        try:
            made = self._remembered([images[number] for number in fresh], role)
            for future, feature in zip(fresh.values(), made, strict=True):
                future.set_result(feature)
        except BaseException as error:
            for number, future in fresh.items():
                self._known.pop(number, None)
                if not future.done():
                    future.set_exception(error)
            raise

    def _forgetting(self, number: int) -> Callable[[object], object]:
        return lambda _: self._known.pop(number, None)

    def _remembered(self, images: Sequence[np.ndarray], role: Role) -> Sequence[F]:
        if self._memory is None or role == "output":
            return self._encode(images)
        names = [_content(image) for image in images]
        new = {name: image for name, image in zip(names, images, strict=True) if name not in self._memory}
        if new:
            self._memory.update(zip(new, self._encode(list(new.values())), strict=True))
        return [self._memory[name] for name in names]


def _content(image: np.ndarray) -> bytes:
    """What stands for the shape and the pixels of a picture."""
    return hashlib.sha256(repr(image.shape).encode() + np.ascontiguousarray(image).tobytes()).digest()
