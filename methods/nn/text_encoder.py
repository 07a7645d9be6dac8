"""CLIP's text tower as Stable Diffusion and SDXL use it: texts in, hidden states out."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from methods.counting import counted
from methods.errors import InputError, first_line
from methods.notices import notice


class TextEncoder:
    """A text encoder with its tokenizer, frozen, float32, no mask.

    Texts of more than 77 tokens are cut to the first 76 and the end token, as Stable Diffusion and the releases of all
    methods here do. Each cut caption is counted by a notice ``caption_cut``.

    Args:
        folder: a model in diffusers' layout; ``tokenizer`` and ``text_encoder`` are read.
        device: where it runs.
        suffix: of both names: ``_2`` is SDXL's second encoder, which has a projection.

    Raises:
        InputError: either cannot be loaded.
    """

    def __init__(self, folder: Path, device: torch.device, suffix: Literal["", "_2"] = "") -> None:
        from transformers import CLIPTextModel, CLIPTextModelWithProjection, CLIPTokenizer
        from transformers.utils import logging

        # one bar per worker process, for a load of half a second, would only litter the log
        bars = logging.is_progress_bar_enabled()
        logging.disable_progress_bar()
        tokenizer, part = f"tokenizer{suffix}", f"text_encoder{suffix}"
        kind = CLIPTextModelWithProjection if suffix else CLIPTextModel
        # the second name of a vocabulary is what newer versions of transformers write
        for room, *names in ((tokenizer, "vocab.json", "tokenizer.json"), (part, "config.json")):
            if not any((folder / room / name).exists() for name in names):
                raise InputError(f"{folder}: {room}/{names[0]} missing, expected a model in diffusers' layout")
        try:
            self.tokenizer = CLIPTokenizer.from_pretrained(str(folder), subfolder=tokenizer)
            loaded: Any = kind.from_pretrained(
                str(folder), subfolder=part, torch_dtype=torch.float32, output_loading_info=True
            )
            encoder, report = loaded
        except (OSError, ValueError, RuntimeError, TypeError) as error:
            raise InputError(f"{folder}: {tokenizer} or {part} cannot be loaded ({first_line(error)})") from None
        finally:
            if bars:
                logging.enable_progress_bar()
        lost = sorted(name for name in report["missing_keys"] if "position_ids" not in name)
        if lost:
            raise InputError(f"{folder / part}: '{lost[0]}' missing ({counted(len(lost), 'tensor')} in all)")
        self.folder, self.device = folder, device
        self.encoder = encoder.to(device).eval().requires_grad_(False)
        self.width = int(encoder.config.hidden_size)
        self.length = int(encoder.config.max_position_embeddings)
        self._lock = threading.Lock()

    def ids(self, text: str) -> list[int]:
        """Token ids with start and end token, at most 77, not padded. Safe to call from many threads."""
        return self._tokens(text)[0]

    def check(self, text: str) -> None:
        """Say so if the text is longer than what the encoder reads."""
        ids, tokens = self._tokens(text)
        if tokens > len(ids):
            shown = text if len(text) <= 60 else f"{text[:57]}..."
            notice("caption_cut", f"'{shown}' is {tokens} tokens long with start and end: cut to {len(ids)}")

    def padded(self, texts: Sequence[str]) -> Tensor:
        """(n, 77) int64 token ids, padded with the tokenizer's pad token."""
        pad = int(self.tokenizer.pad_token_id)  # type: ignore[arg-type]
        rows = [self.ids(text) for text in texts]
        return torch.tensor([ids + [pad] * (self.length - len(ids)) for ids in rows], dtype=torch.int64)

    @torch.no_grad()
    def embed(self, texts: Sequence[str]) -> Tensor:
        """(n, 77, D) float32: the last hidden states after the final layer norm, as Stable Diffusion reads them."""
        return self.encoder(self.padded(texts).to(self.device))[0]

    @torch.no_grad()
    def penultimate(self, texts: Sequence[str]) -> tuple[Tensor, Tensor | None]:
        """(n, 77, D) float32 of the last layer but one, as SDXL reads them; the projection (n, P), if there is one."""
        output = self.encoder(self.padded(texts).to(self.device), output_hidden_states=True)
        return output.hidden_states[-2], getattr(output, "text_embeds", None)

    def _tokens(self, text: str) -> tuple[list[int], int]:
        """The ids that are kept, and how many there would be."""
        with self._lock:
            # verbose: the tokenizer itself would warn of long texts, once and uncounted
            ids = [int(token) for token in self.tokenizer(text, verbose=False).input_ids]
        return (ids if len(ids) <= self.length else [*ids[: self.length - 1], ids[-1]]), len(ids)
