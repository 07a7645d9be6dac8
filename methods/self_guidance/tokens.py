"""From words to the columns of attention maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from methods.nn.text_encoder import TextEncoder
from methods.self_guidance.energy import Term
from methods.self_guidance.params import TermSpec


def columns(
    text: TextEncoder,
    caption: str,
    words: Sequence[str] | Literal["all"],
    other_than: Sequence[str] | Literal["all"] = (),
) -> tuple[int, ...]:
    """Positions of all tokens of all occurrences of ``words`` in ``caption``, the start token being 0.

    Words are matched as runs of token ids, so that ``car`` is not found in ``cart``; each token is a column of its own.
    ``all`` is every token of the caption, start and end included and padding not, as the author's notebook has it where
    no words are given.

    Args:
        other_than: words of the caption whose tokens are left out.

    Raises:
        ValueError: a word that the caption does not hold.
    """
    caption_ids = text.ids(caption)
    if words == "all":
        out = columns(text, caption, other_than)
        return tuple(number for number in range(len(caption_ids)) if number not in out)
    found: list[int] = []
    for word in words:
        ids = text.ids(word)[1:-1]
        starts = [n for n in range(1, len(caption_ids) - len(ids)) if ids and caption_ids[n : n + len(ids)] == ids]
        if not starts:
            raise ValueError(f"'{word}' is not in the caption '{caption}'")
        found += [start + n for start in starts for n in range(len(ids)) if start + n not in found]
    return tuple(found)


def bind(text: TextEncoder, spec: TermSpec, caption: str, reference_captions: dict[str, str]) -> Term:
    """A term for one caption.

    Raises:
        ValueError: as :func:`columns`.
    """
    there = None
    if spec.reference is not None:
        there = columns(text, reference_captions[spec.reference], spec.reference_words)
    return Term(
        kind=spec.kind,
        columns=columns(text, caption, spec.words, spec.other_than),
        weight=spec.weight,
        to=spec.to,
        by=spec.by,
        factor=spec.factor,
        reference=spec.reference,
        source_columns=there,
        warp=spec.warp,
        raw=spec.raw,
        threshold=spec.threshold,
        distance=spec.distance,
    )
