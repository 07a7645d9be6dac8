"""The light description of DiffuseIT; imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

from methods.base import MethodInfo, Preset
from methods.diffuseit.params import DiffuseITParams
from methods.nn.clip_names import released_uri
from methods.street_labels import STREET_LABELS

_IMAGENET = "https://openaipublic.blob.core.windows.net/diffusion/jul-2021/256x256_diffusion_uncond.pt"
# the recipes of the release's README
_TEXT = {"use_range_restart": True, "use_noise_aug_all": True, "regularize_content": True}
_PICTURE = {"use_range_restart": True, "use_noise_aug_all": True, "use_colormatch": True, "diff_iter": 100}
# the small models of the rendered streets; its CLIP's image tower stands in for DINO. Of the losses the one towards the
# text alone: published weights are for 256 px, and the keys of a tower that was trained on weather hold the weather.
_STREET = {
    "use_noise_aug_all": True,
    "clip_guidance_lambda": 250.0,
    "lambda_ssim": 0.0,
    "lambda_contra_ssim": 0.0,
    "lambda_dir_cls": 0.0,
    "image_size": 64,
    "num_head_channels": 32,
    "norm_num_groups": 8,
    "clip_models": ["bundled://street-clip"],
    "dino": "bundled://street-clip",
    "source": "a street in the day",
}


def _street(weather: str, prompt: str) -> Preset:
    summary = f"rendered streets, day to {weather}; bundled, 64 px"
    return Preset(summary, "bundled://street-ddpm", {**_STREET, "prompt": prompt}, STREET_LABELS[weather])


def _weight_uris(params: DiffuseITParams, weights: str | None) -> Sequence[str]:
    uris = [params.dino]
    if params.prompt is not None:
        uris += [released_uri(name) for name in params.clip_models]
    optional = (weights, params.target_image, params.face_weights, params.clip_vocabulary)
    return [*uris, *(uri for uri in optional if uri is not None)]


INFO = MethodInfo(
    name="diffuseit",
    summary="Pictures take a text's meaning or another picture's style and keep their structure; nothing is trained.",
    paper="https://arxiv.org/abs/2209.15264",
    implementation="methods.diffuseit.method:DiffuseIT",
    params=DiffuseITParams,
    presets={
        "text": Preset("ImageNet model at 256 px; set prompt and source", _IMAGENET, _TEXT),
        "picture": Preset("ImageNet model at 256 px; set target_image", _IMAGENET, _PICTURE),
        "face_picture": Preset(
            "faces as FFHQ at 256 px; set weights (ffhq_10m.pt), face_weights and target_image",
            None,
            {**_PICTURE, "restart_threshold": 0.1},
        ),
        "street_night": _street("night", "a street at night"),
        "street_snow": _street("snow", "a street in the day in the snow"),
    },
    inputs=("image",),
    shard_size=16,
    batch_size=(1, 4),
    weight_uris=_weight_uris,
)
