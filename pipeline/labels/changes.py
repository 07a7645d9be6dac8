"""What a translation changes about a picture's labels: a picture made into a night is no longer in the daytime."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pipeline.labels.records import Labels

_PLACE = "{caption}"


@dataclass(frozen=True)
class LabelChanges:
    """What is true of every translated picture, whatever its source said.

    Attributes:
        attributes: of the whole picture (``timeofday``: ``night``).
        caption: template with ``{caption}`` for the source's, or words and what they become; ``None`` leaves captions
            as they are.
    """

    attributes: Mapping[str, str] = field(default_factory=dict)
    caption: str | Mapping[str, str] | None = None

    @classmethod
    def of(
        cls,
        preset: Mapping[str, str],
        wanted: Mapping[str, str | bool | int | float],
        caption: str | Mapping[str, str] | None,
    ) -> LabelChanges:
        """From what a preset declares and what the spec sets, which counts more."""
        texts = {key: each if isinstance(each, str) else json.dumps(each) for key, each in wanted.items()}
        return cls({**preset, **texts}, caption)

    def apply(self, labels: Labels) -> Labels:
        """The labels of the translated picture; ``raw`` stays what the source said."""
        if not self.attributes:
            return labels
        return replace(labels, attributes={**labels.attributes, **self.attributes})

    def captioned(self, caption: str | None) -> str | None:
        """The caption of the translated picture; without one in the source only a template that needs none is used.

        Words are replaced where they stand as whole words, in whatever case, the longest first.
        """
        if isinstance(self.caption, Mapping):
            return None if caption is None else _replaced(caption, self.caption)
        if self.caption is None or (caption is None and _PLACE in self.caption):
            return caption
        return self.caption.replace(_PLACE, caption or "")

    def as_tree(self) -> dict[str, object]:
        """For provenance: what was set, JSON-ready."""
        caption = dict(sorted(self.caption.items())) if isinstance(self.caption, Mapping) else self.caption
        return {"set": dict(sorted(self.attributes.items())), "caption": caption}


def _replaced(text: str, words: Mapping[str, str]) -> str:
    becomes = {each.casefold(): other for each, other in words.items()}
    either = "|".join(map(re.escape, sorted(words, key=len, reverse=True)))
    return re.sub(
        rf"(?<!\w)(?:{either})(?!\w)", lambda found: becomes.get(found[0].casefold(), found[0]), text, flags=re.I
    )
