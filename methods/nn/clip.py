"""OpenAI's CLIP models behind one small interface: unit-range pictures and texts in, features out."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods import weights as store
from methods.errors import InputError, first_line
from methods.nn.clip_names import released_uri
from methods.nn.clip_vocabulary import merges_in, tokenizer_of
from methods.nn.tensor_file import read_tensors

MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)
CONTEXT_LENGTH = 77


class Tokenizer(Protocol):
    """Texts -> (N, 77) token ids. Raises InputError for a text that is too long."""

    def __call__(self, texts: Sequence[str]) -> Tensor: ...


class Clip(nn.Module):
    """A frozen CLIP, its pictures given in [0, 1] at its own resolution.

    Args:
        model: has ``encode_image`` and ``encode_text``.
        tokenizer: of its texts.
        resolution: side of its pictures.
    """

    def __init__(self, model: nn.Module, tokenizer: Tokenizer, resolution: int) -> None:
        super().__init__()
        self.model = model.eval().requires_grad_(False)
        self.tokenizer = tokenizer
        self.resolution = resolution
        self.mean: Tensor
        self.std: Tensor
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1), persistent=False)

    def encode_images(self, pictures: Tensor) -> Tensor:
        """(B, 3, R, R) in [0, 1], nothing clamped -> (B, D), not normalised."""
        model: Any = self.model
        return model.encode_image((pictures - self.mean) / self.std)

    @torch.no_grad()
    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """N texts -> (N, D), not normalised. Raises InputError for a text of more than 77 tokens."""
        model: Any = self.model
        device = next(self.model.parameters()).device
        return model.encode_text(self.tokenizer(texts).to(device))


def load_clip(name: str, vocabulary: str | None = None) -> Clip:
    """A CLIP in float32 on the CPU.

    Args:
        name: one of :data:`methods.nn.clip_names.RELEASED`, such as ``ViT-B/32``; or the URI of a state dict in
            OpenAI's layout; or a local folder of a transformers ``CLIPModel`` with its tokenizer.
        vocabulary: URI of a ``bpe_*.txt.gz``; none is the one that the file carries, else that of the released models.

    Raises:
        InputError: weights that cannot be found or do not fit.
    """
    path = store.fetch(released_uri(name))
    if path.is_dir():
        return _from_transformers(path)
    import open_clip.model

    state = read_tensors(path)
    try:
        # the builder takes keys out of the dictionary it is given
        built: Any = open_clip.model.build_model_from_openai_state_dict(dict(state), cast_dtype=torch.float32)
    except (KeyError, RuntimeError) as error:
        raise InputError(
            f"{path}: found {', '.join(list(state)[:3])}, expected a CLIP by OpenAI ({first_line(error)})"
        ) from None
    size = built.visual.image_size
    merges = merges_in(path)
    if vocabulary is not None or merges is None:
        tokenizer = _bpe(None if vocabulary is None else str(store.fetch(vocabulary)))
    else:
        tokenizer = tokenizer_of(merges)
    return Clip(built.float(), _OpenTokenizer(tokenizer), size if isinstance(size, int) else size[0])


class _OpenTokenizer:
    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    def __call__(self, texts: Sequence[str]) -> Tensor:
        for text in texts:
            length = len(self.tokenizer.encode(text)) + 2
            if length > CONTEXT_LENGTH:
                raise InputError(f"the text '{text[:60]}' has {length} tokens, expected at most {CONTEXT_LENGTH}")
        return self.tokenizer(list(texts))


@cache
def _bpe(vocabulary: str | None) -> Any:
    from open_clip.tokenizer import SimpleTokenizer

    if vocabulary is None:
        return SimpleTokenizer(context_length=CONTEXT_LENGTH)
    return SimpleTokenizer(vocabulary, context_length=CONTEXT_LENGTH)


class _Transformers(nn.Module):
    """A transformers CLIPModel with open_clip's two calls."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = model

    def encode_image(self, pictures: Tensor) -> Tensor:
        return self.model.visual_projection(self.model.vision_model(pictures).pooler_output)

    def encode_text(self, tokens: Tensor) -> Tensor:
        return self.model.text_projection(self.model.text_model(tokens).pooler_output)


def _from_transformers(folder: Path) -> Clip:
    from transformers import AutoTokenizer, CLIPModel

    try:
        model: Any = CLIPModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: no transformers CLIPModel with its tokenizer ({first_line(error)})") from None

    def tokenize(texts: Sequence[str]) -> Tensor:
        found = tokenizer(list(texts), padding="max_length", max_length=CONTEXT_LENGTH, return_tensors="pt").input_ids
        if found.shape[1] > CONTEXT_LENGTH:
            raise InputError(f"a text has {found.shape[1]} tokens, expected at most {CONTEXT_LENGTH}")
        return found

    return Clip(_Transformers(model.float()), tokenize, model.config.vision_config.image_size)


@cache
def imagenet_templates() -> tuple[str, ...]:
    """The 79 sentences around a class name that text-guided image editing took over from CLIP's ImageNet experiments.

    CLIP has 80; "a photo of many {}." is not among them.
    """
    from open_clip.zero_shot_metadata import OPENAI_IMAGENET_TEMPLATES

    written = [template("{}") for template in OPENAI_IMAGENET_TEMPLATES]
    return tuple(sentence for sentence in written if sentence != "a photo of many {}.")


def text_cosine(clip: Clip, source: str, target: str) -> float:
    """Cosine of two plain texts, without templates."""
    features = F.normalize(clip.encode_texts([source, target]).float(), dim=-1)
    return float(features[0] @ features[1])


def text_direction(clip: Clip, source: str, target: str) -> Tensor:
    """(1, D) unit vector: mean over the templates of the difference of unit features, target minus source."""

    def unit(text: str) -> Tensor:
        sentences = [template.format(text) for template in imagenet_templates()]
        return F.normalize(clip.encode_texts(sentences).float(), dim=-1)

    return F.normalize((unit(target) - unit(source)).mean(dim=0, keepdim=True), dim=-1)
