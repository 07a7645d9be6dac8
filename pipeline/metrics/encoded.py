"""What a network makes of the pictures of a batch, shared by the metrics that ask for the same."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import Generic, Literal, TypeVar

import numpy as np

from pipeline.metrics.base import Pictures

Role = Literal["source", "output", "target"]
F = TypeVar("F")


class EncodedPictures(Generic[F]):
    """The features of batches of pictures, each distinct picture of a batch encoded once.

    Args:
        encode: (H, W, 3) uint8 pictures of any sizes -> one feature each. The value of a picture must not depend on
            those beside it.
    """

    def __init__(self, encode: Callable[[Sequence[np.ndarray]], Sequence[F]]) -> None:
        self._encode = encode
        self._known: weakref.WeakKeyDictionary[Pictures, dict[int, F]] = weakref.WeakKeyDictionary()

    def of(self, pictures: Pictures, role: Role, chosen: Sequence[bool] | None = None) -> list[F | None]:
        """One feature a sample; ``None`` where there is no such picture, or it is not among the ``chosen``."""
        found: dict[Role, Sequence[np.ndarray | None]] = {
            "source": pictures.source,
            "output": pictures.output,
            "target": pictures.target,
        }
        images = found[role]
        if chosen is not None:
            images = [image if wanted else None for image, wanted in zip(images, chosen, strict=True)]
        known = self._known.setdefault(pictures, {})
        # the batch keeps its arrays alive, so that an id stands for one picture as long as there is the batch
        fresh = {id(image): image for image in images if image is not None and id(image) not in known}
        known.update(zip(fresh, self._encode(list(fresh.values())), strict=True))
        return [None if image is None else known[id(image)] for image in images]
