"""The light description of DiffuseIT; imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

from methods.base import MethodInfo, Preset
from methods.diffuseit.params import DiffuseITParams
from methods.nn.clip_names import released_uri

_IMAGENET = "https://openaipublic.blob.core.windows.net/diffusion/jul-2021/256x256_diffusion_uncond.pt"
# the recipes of the release's README
_TEXT = {"use_range_restart": True, "use_noise_aug_all": True, "regularize_content": True}
_PICTURE = {"use_range_restart": True, "use_noise_aug_all": True, "use_colormatch": True, "diff_iter": 100}


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
    },
    inputs=("image",),
    shard_size=16,
    batch_size=(1, 4),
    weight_uris=_weight_uris,
)
