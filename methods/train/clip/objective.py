"""Training of a small CLIP (Radford et al., arXiv 2103.00020): pictures and captions that belong together agree."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from torch import Tensor, nn

from methods import weights as store
from methods.base import Inputs
from methods.errors import BadSample, InputError
from methods.nn.clip import CONTEXT_LENGTH, MEAN, STD
from methods.nn.clip_vocabulary import MERGES, tokenizer_of
from methods.nn.image_prep import prepare_image, to_tensor
from methods.nn.tensor_file import write_tensors
from methods.pix2pix_zero.prompts import SENTENCES, bundled_prompts, read_prompts
from methods.train.clip.info import INFO, ClipParams
from methods.train.clip.texts import shown_caption
from methods.train.objective import ObjectiveInfo, Sample, Streams, Validation
from methods.train.precision import computing_in
from methods.train.text_to_image.networks import learned_merges
from methods.train.updates import Updates

_HEAD = 64
_LARGEST_SCALE = math.log(100.0)


class ClipTraining:
    """Both towers, their optimizer, and the contrastive loss."""

    info: ClassVar[ObjectiveInfo] = INFO

    def __init__(self, params: ClipParams, merges: Sequence[str], device: torch.device, precision: torch.dtype) -> None:
        self.params, self.merges, self.device, self.precision = params, list(merges), device, precision
        self.tokenizer = tokenizer_of(tuple(merges))
        vision = CLIPVisionCfg(
            layers=params.vision_layers, width=params.vision_width, patch_size=params.patch, image_size=params.size
        )
        text = CLIPTextCfg(
            context_length=CONTEXT_LENGTH,
            vocab_size=self.tokenizer.vocab_size,
            width=params.text_width,
            heads=params.text_width // _HEAD,
            layers=params.text_layers,
        )
        self.model = CLIP(params.embedding, vision, text, quick_gelu=True).to(device).train()
        self.mean = torch.tensor(MEAN, device=device).view(1, 3, 1, 1)
        self.std = torch.tensor(STD, device=device).view(1, 3, 1, 1)
        groups = [
            {"params": [p for p in self.model.parameters() if p.dim() > 1], "weight_decay": params.weight_decay},
            {"params": [p for p in self.model.parameters() if p.dim() <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=params.lr)

    @classmethod
    def build(cls, params: ClipParams, device: torch.device, precision: torch.dtype, steps: int) -> ClipTraining:
        """Fresh networks, initialised from torch's global generator. Raises InputError: unreadable sentences."""
        sentences = [line for name in bundled_prompts() for line in read_prompts(SENTENCES / f"{name}.txt")]
        if params.sentences is not None:
            sentences += read_prompts(store.fetch(params.sentences))
        return cls(params, learned_merges(sentences, params.vocabulary), device, precision)

    def networks(self) -> Mapping[str, nn.Module]:
        """Both towers are one network."""
        return {"clip": self.model}

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """Its only one."""
        return {"clip": self.optimizer}

    def transform(self, stream: str, inputs: Inputs, rng: np.random.Generator) -> Sample:
        """``image`` (3, S, S) in [0, 1], ``ids`` (77,) int64 and the whole ``caption``.

        Raises:
            BadSample: no picture or caption, or a caption that is too long.
        """
        if inputs.image is None or not inputs.caption:
            raise BadSample("no_caption", "the sample has no caption: name its column in data.captioned.caption")
        params = self.params
        image = to_tensor(prepare_image(inputs.image, f"resized_crop_{params.size}"), signed=False)
        text = shown_caption(inputs.caption, params.clauses, params.templates, rng)
        if len(self.tokenizer.encode(text)) + 2 > CONTEXT_LENGTH:
            raise BadSample("caption_too_long", f"'{text[:60]}' has more than {CONTEXT_LENGTH} tokens")
        flipped = image.flip(-1) if params.flip and rng.random() < 0.5 else image
        return {"image": flipped, "ids": self.tokenizer([text])[0], "caption": inputs.caption}

    def step(self, batch: Streams, step: int, generator: torch.Generator, updates: Updates) -> Mapping[str, float]:
        """One AdamW step."""
        rows = batch["captioned"]
        images, ids = rows["image"], rows["ids"]
        assert isinstance(images, Tensor)
        assert isinstance(ids, Tensor)
        logits = self._logits(images, ids)
        loss = contrastive(logits, list(map(str, rows["caption"])))
        updates.step("clip", self.optimizer, loss=loss)
        with torch.no_grad():
            # above 100 the release clips it too: training is not stable there
            self.model.logit_scale.clamp_(max=_LARGEST_SCALE)
        return {"loss": loss.item(), "scale": self.model.logit_scale.exp().item()}

    def _logits(self, images: Tensor, ids: Tensor) -> Tensor:
        with computing_in(self.precision, self.device):
            pictures = self.model.encode_image((images - self.mean) / self.std)
            texts = self.model.encode_text(ids)
        found, wanted = F.normalize(pictures.float(), dim=-1), F.normalize(texts.float(), dim=-1)
        return self.model.logit_scale.exp() * found @ wanted.T

    @torch.no_grad()
    def validate(self, samples: Mapping[str, Sequence[Sample]]) -> Validation:
        """Loss on held-out pairs, and how often a picture's best text is one with its own caption."""
        rows = samples["captioned"]
        images = torch.stack([_tensor(row["image"]) for row in rows]).to(self.device)
        ids = torch.stack([_tensor(row["ids"]) for row in rows]).to(self.device)
        captions = [str(row["caption"]) for row in rows]
        self.model.eval()
        logits = self._logits(images, ids)
        self.model.train()
        right = [captions[best] == own for best, own in zip(logits.argmax(1).tolist(), captions, strict=True)]
        return Validation({"loss": contrastive(logits, captions).item(), "top1": sum(right) / len(right)})

    def state_dict(self) -> dict[str, Any]:
        """Network and optimizer."""
        return {"clip": self.model.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.model.load_state_dict(state["clip"])
        self.optimizer.load_state_dict(state["optimizer"])

    def export(
        self, path: Path, averaged: Mapping[str, Mapping[str, Tensor]] | None, metadata: Mapping[str, str]
    ) -> Path:
        """Float16 tensors with OpenAI's names, the vocabulary beside them in the same file.

        Raises:
            InputError: another ending than ``.safetensors``.
        """
        if path.suffix != ".safetensors":
            raise InputError(f"{path}: a CLIP is written as .safetensors")
        state = {**self.model.state_dict(), **(averaged["clip"] if averaged else {})}
        # the mask of the text's attention is made anew where the model is built
        state.pop("attn_mask", None)
        tensors = {name: value.half() for name, value in state.items()}
        return write_tensors(path, tensors, {**metadata, MERGES: "\n".join(self.merges)})


def contrastive(logits: Tensor, captions: Sequence[str]) -> Tensor:
    """Cross-entropy over rows and columns of (B, B) logits; pairs with the same caption are all right answers."""
    numbers = {caption: number for number, caption in enumerate(dict.fromkeys(captions))}
    of = torch.tensor([numbers[caption] for caption in captions], device=logits.device)
    same = (of[:, None] == of[None, :]).float()
    targets = same / same.sum(1, keepdim=True)
    return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2


def _tensor(value: Any) -> Tensor:
    assert isinstance(value, Tensor)
    return value
