"""The light description of self-guidance; imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

from methods.base import MethodInfo
from methods.nn.captioner_files import captioner_uris
from methods.self_guidance.params import SelfGuidanceParams


def _weight_uris(params: SelfGuidanceParams, weights: str | None) -> Sequence[str]:
    pictures = [reference.image for reference in params.references.values()]
    captioner = captioner_uris(params.captioner) if params.captioner else []
    return [*([weights] if weights else []), *pictures, *captioner]


INFO = MethodInfo(
    name="self_guidance",
    summary="Move, resize, keep or borrow things named in the caption, on a frozen Stable Diffusion.",
    paper="https://arxiv.org/abs/2306.00986",
    implementation="methods.self_guidance.method:SelfGuidance",
    params=SelfGuidanceParams,
    inputs=("image", "caption"),
    shard_size=32,
    batch_size=(4, 8),
    weight_uris=_weight_uris,
)
