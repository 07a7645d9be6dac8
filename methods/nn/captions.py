"""Where a sample's caption comes from: one for all, the sample's own, or a captioner."""

from __future__ import annotations

from collections.abc import Hashable

from torch import Tensor

from methods.base import Batch, Inputs
from methods.errors import BadSample
from methods.nn.captioner import Captioner
from methods.nn.text_encoder import TextEncoder


class CaptionSource:
    """Captions by one rule for a whole job.

    Args:
        text: the text encoder that will read them: it cuts those that are too long, and says so.
        fixed: the caption of every sample, if given.
        captioner: what writes them otherwise; ``None`` takes the samples' own.

    Attributes:
        rule: equal where the captions of the same samples are the same.
        shares: as of :class:`methods.base.Method`.
    """

    def __init__(self, text: TextEncoder, fixed: str | None, captioner: Captioner | None) -> None:
        self.text, self.fixed, self.captioner = text, fixed, captioner
        self.rule: Hashable = ("captions", fixed, None if captioner is None else id(captioner))
        self.shares = frozenset({self.rule} if captioner is not None else ())
        if fixed is not None:
            text.check(fixed)

    def check(self, inputs: Inputs) -> None:
        """Raises BadSample (``no_caption``) for a sample whose own caption is wanted."""
        if self.fixed is not None or self.captioner is not None:
            return
        if not inputs.caption:
            raise BadSample(
                "no_caption", "the sample has no caption: set method.params.caption or method.params.captioner"
            )
        self.text.check(inputs.caption)

    def __call__(self, images: Tensor, batch: Batch) -> list[str]:
        """The captions of a batch whose own ones are checked.

        Args:
            images: (B, 3, H, W) in [-1, 1].
        """
        if self.fixed is not None:
            return [self.fixed] * len(images)
        if self.captioner is not None:
            captioner = self.captioner
            written = batch.once(self.rule, lambda: captioner(images))
            for caption in written:
                self.text.check(caption)
            return written
        captions = [caption for caption in batch.captions if caption]
        if len(captions) != len(images):
            raise BadSample("no_caption", "the sample has no caption")
        return captions
