"""What a translation changes about a picture's labels: a picture made into a night is no longer in the daytime."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from pipeline.labels.records import Labels

_PLACE = "{caption}"


@dataclass(frozen=True)
class LabelChanges:
    """What is true of every translated picture, whatever its source said.

    Attributes:
        attributes: of the whole picture (``timeofday``: ``night``).
        caption: template with ``{caption}`` for the source's; ``None`` leaves captions as they are.
    """

    attributes: Mapping[str, str] = field(default_factory=dict)
    caption: str | None = None

    @classmethod
    def of(
        cls, preset: Mapping[str, str], wanted: Mapping[str, str | bool | int | float], caption: str | None
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
        """The caption of the translated picture; without one in the source only a template that needs none is used."""
        if self.caption is None or (caption is None and _PLACE in self.caption):
            return caption
        return self.caption.replace(_PLACE, caption or "")

    def as_tree(self) -> dict[str, object]:
        """For provenance: what was set, JSON-ready."""
        return {"set": dict(sorted(self.attributes.items())), "caption": self.caption}
