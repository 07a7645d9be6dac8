"""Caption embeddings: those a weights file holds, and the text encoder's for all others, each computed once."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from methods.errors import InputError
from methods.nn.text_encoder import TextEncoder
from methods.turbo.base_model import BaseModel

_KEPT = 256


class Captions:
    """Text -> (L, D) embeddings.

    Args:
        stored: embeddings by caption, (L, D) each.
        base: whose text encoder embeds all other captions; none refuses them.
        where: the weights, for messages.
        device: where embeddings (and the text encoder) live.
    """

    def __init__(self, stored: Mapping[str, Tensor], base: BaseModel | None, where: str, device: torch.device) -> None:
        self.stored = {caption: value.float().to(device) for caption, value in stored.items()}
        self.base = base
        self.where = where
        self.device = device
        self._recent: OrderedDict[str, Tensor] = OrderedDict()
        self._text: TextEncoder | None = None
        self._guard = threading.Lock()

    def to(self, device: torch.device) -> Captions:
        """Move to a device."""
        self.device = device
        self.stored = {caption: value.to(device) for caption, value in self.stored.items()}
        self._recent.clear()
        self._text = None
        return self

    def knows(self, caption: str) -> bool:
        """Whether the caption can be embedded."""
        return self.base is not None or caption in self.stored

    def check(self, caption: str) -> None:
        """Say so if the text encoder will cut the caption. Safe to call from many threads."""
        if caption not in self.stored and self.base is not None:
            self._encoder().check(caption)

    def only(self, caption: str, key: str) -> None:
        """One caption serves the whole job: it is embedded now, and no text encoder stays.

        Args:
            key: where the user named it, for messages.

        Raises:
            InputError: it cannot be embedded.
        """
        if not self.knows(caption):
            held = ", ".join(f"'{known}'" for known in self.stored) or "none"
            raise InputError(f"{key}: {self.where} holds no embedding of the caption '{caption}', it has: {held}")
        self.check(caption)
        self.stored = {caption: self([caption])[0]}
        self.base, self._text = None, None
        self._recent.clear()

    @torch.inference_mode()
    def __call__(self, captions: Sequence[str]) -> Tensor:
        """(B, L, D) float32 on the device; (1, L, D) when all captions are the same."""
        distinct = list(dict.fromkeys(captions))
        wanted = [caption for caption in distinct if caption not in self.stored and caption not in self._recent]
        for caption in wanted:
            # one by one, so that a caption's embedding does not depend on its neighbours' rounding
            self._recent[caption] = self._embed(caption)
        rows = {caption: self._found(caption) for caption in distinct}
        while len(self._recent) > _KEPT:
            self._recent.popitem(last=False)
        if len(distinct) == 1:
            return rows[distinct[0]][None]
        return torch.stack([rows[caption] for caption in captions])

    def _found(self, caption: str) -> Tensor:
        if caption in self.stored:
            return self.stored[caption]
        self._recent.move_to_end(caption)
        return self._recent[caption]

    def _embed(self, caption: str) -> Tensor:
        if self.base is None:
            raise InputError(f"{self.where}: holds no embedding of the caption '{caption}'")
        return self._encoder().embed([caption])[0].clone()

    def _encoder(self) -> TextEncoder:
        with self._guard:
            if self._text is None:
                assert self.base is not None
                self._text = self.base.text(self.device)
            return self._text
