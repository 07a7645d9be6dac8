"""The light description of the method `diffusers`; imports neither torch nor diffusers."""

from __future__ import annotations

from collections.abc import Sequence

from methods.base import MethodInfo, Offered
from methods.diffusers.params import DiffusersParams
from methods.uris import uris


def _weight_uris(params: DiffusersParams, weights: str | None) -> Sequence[str]:
    return [*([weights] if weights else []), *uris(params)]


def _check(params: DiffusersParams, weights: str | None, offered: Offered) -> None:
    from methods.diffusers.check import check_job

    check_job(params, weights, offered)


INFO = MethodInfo(
    name="diffusers",
    summary="Any image-to-image, instruction, inpainting or ControlNet pipeline of the installed diffusers.",
    paper="https://huggingface.co/docs/diffusers",
    implementation="methods.diffusers.method:DiffusersPipeline",
    params=DiffusersParams,
    rounded=True,
    inputs=("image", "caption", "label_map"),
    shard_size=32,
    batch_size=(2, 8),
    compiles=True,
    weight_uris=_weight_uris,
    check=_check,
)
