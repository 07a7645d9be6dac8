"""The light description of self-guidance; imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

from methods.base import MethodInfo, Preset
from methods.nn.captioner_files import captioner_uris
from methods.self_guidance.params import SelfGuidanceParams


def _weight_uris(params: SelfGuidanceParams, weights: str | None) -> Sequence[str]:
    pictures = [reference.image for reference in params.references.values()]
    captioner = captioner_uris(params.captioner) if params.captioner else []
    return [*([weights] if weights else []), *pictures, *captioner]


INFO = MethodInfo(
    name="self_guidance",
    summary="Move, resize, keep or borrow things named in the caption, on a frozen Stable Diffusion or SDXL.",
    paper="https://arxiv.org/abs/2306.00986",
    implementation="methods.self_guidance.method:SelfGuidance",
    params=SelfGuidanceParams,
    presets={
        "sdxl_notebook": Preset(
            "the author's public notebook: SDXL, 300 ancestral steps; set edits and strength (hundreds to thousands)",
            "stabilityai/stable-diffusion-xl-base-1.0",
            {
                "mode": "generated",
                "formulas": "notebook",
                "sampler": "ddpm",
                "steps": 300,
                "guidance_scale": 5.0,
                "schedule": "all",
                "layers": [f"up_blocks.0.attentions.1.transformer_blocks.{number}.attn2" for number in (1, 2, 3)],
                "feature": "up_blocks.2",
                "resolution": 64,
                "image_prep": "resize_1024x1024",
            },
        ),
        "street_move_cars": Preset(
            "generated streets by day, their cars moved to the right; bundled, 32 px",
            "bundled://street-text-to-image-32",
            {
                "mode": "generated",
                "image_prep": "resize_32x32",
                "steps": 25,
                "guidance_scale": 5.0,
                "strength": 1500.0,
                "schedule": "all",
                "edits": [
                    {"edit": "move", "words": ["cars"], "keep": "all", "by": [0.25, 0.0], "appearance_weight": 0.1}
                ],
            },
        ),
    },
    inputs=("image", "caption"),
    shard_size=32,
    batch_size=(4, 8),
    compiles=True,
    weight_uris=_weight_uris,
)
