"""The light description of pix2pix; imports no torch."""

from __future__ import annotations

from methods.base import MethodInfo
from methods.pix2pix.params import Pix2PixParams

INFO = MethodInfo(
    name="pix2pix",
    summary="A small U-Net trained on pairs, such as those of a slow method: one pass per picture.",
    paper="https://arxiv.org/abs/1611.07004",
    implementation="methods.pix2pix.method:Pix2Pix",
    params=Pix2PixParams,
    shard_size=256,
    batch_size=(8, 32),
)
