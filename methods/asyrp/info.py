"""The light description of Asyrp; imports no torch."""

from __future__ import annotations

from collections.abc import Sequence

from methods.asyrp.params import AsyrpParams
from methods.base import MethodInfo, Preset
from methods.nn.clip_names import released_uri
from methods.street_labels import STREET_LABELS

_SDEDIT = "https://image-editing-test-12345.s3-us-west-2.amazonaws.com/checkpoints"
# the small denoiser of the rendered streets, and where its blocks were trained to act
_STREET = {"image_size": 32, "num_head_channels": 32, "norm_num_groups": 8, "t_edit": 500, "t_boost": 0}


def _street(weather: str) -> Preset:
    summary = f"rendered streets, day to {weather}; bundled, 32 px"
    attributes = [{"block": f"bundled://street-asyrp-{weather}"}]
    return Preset(summary, "bundled://street-ddpm-32", {**_STREET, "attributes": attributes}, STREET_LABELS[weather])


def _weight_uris(params: AsyrpParams, weights: str | None) -> Sequence[str]:
    tables = [table for table in (params.lpips_x0, params.lpips_x) if table is not None]
    blocks = [attribute.block for attribute in params.attributes]
    clips = [released_uri(params.clip)] if params.measures_texts else []
    return [*([weights] if weights else []), *blocks, *tables, *clips]


INFO = MethodInfo(
    name="asyrp",
    summary="Attributes changed by a shift in the bottleneck of an unconditional diffusion model.",
    paper="https://arxiv.org/abs/2210.10960",
    implementation="methods.asyrp.method:Asyrp",
    params=AsyrpParams,
    presets={
        "celeba_hq": Preset("aligned faces, 256 px; set attributes", f"{_SDEDIT}/celeba_hq.ckpt"),
        "church": Preset("LSUN churches, 256 px; set attributes", f"{_SDEDIT}/church_outdoor.ckpt"),
        # their UNets are handed out by pages that no program can fetch from
        "afhq_dog": Preset(
            "AFHQ dogs, 256 px; set weights (afhq_dog_4m.pt) and attributes", None, {"resample": "bicubic"}
        ),
        "ffhq": Preset("faces of FFHQ, 256 px; set weights (ffhq_10m.pt) and attributes"),
        "metfaces": Preset("painted faces, 256 px; set weights (metface_p2.pt) and attributes"),
        "bedroom": Preset("LSUN bedrooms, 256 px; set attributes", f"{_SDEDIT}/bedroom.ckpt"),
        "street_night": _street("night"),
        "street_snow": _street("snow"),
    },
    inputs=("image",),
    shard_size=32,
    batch_size=(2, 8),
    compiles=True,
    weight_uris=_weight_uris,
)
