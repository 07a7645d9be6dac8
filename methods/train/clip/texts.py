"""How a caption is shown to CLIP: whole or in parts, alone or inside one of the sentences that prompts stand in."""

from __future__ import annotations

import numpy as np

from methods.nn.clip import imagenet_templates


def shown_caption(caption: str, clauses: float, templates: float, rng: np.random.Generator) -> str:
    """One form of ``caption``, by chance.

    Args:
        caption: parts are separated by commas ("a street with cars, at night in the rain").
        clauses: probability of some of the parts instead of all; the last one always stays.
        templates: probability of a sentence around it.
        rng: decides.
    """
    parts = [part.strip() for part in caption.split(",") if part.strip()]
    if len(parts) > 1 and rng.random() < clauses:
        # the last part says when and in which weather, as prompts for a translation do
        parts = [*(part for part in parts[:-1] if rng.random() < 0.5), parts[-1]]
    text = ", ".join(parts)
    if rng.random() < templates:
        sentences = imagenet_templates()
        text = sentences[int(rng.integers(len(sentences)))].format(text)
    return text
