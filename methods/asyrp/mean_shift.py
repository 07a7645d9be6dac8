"""Average a DeltaBlock's shifts over pictures, to apply them to others (the release's ``num_mean_of_delta_hs``).

    python -m methods.asyrp.mean_shift --unet UNET --block BLOCK --pictures DIR --t-edit T --out FILE.pth

writes the mean shift of each edited timestep, and under 0 the mean of those: ``attributes: [{block: FILE.pth}]``, with
``ignore_timesteps: true`` for the latter.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from torch import Tensor

import methods
from methods.asyrp.method import Asyrp
from methods.asyrp.pictures import picture_batches
from methods.asyrp.process import generate, invert, reverse_plan, sequence
from methods.asyrp.recorded_shift import RecordedShift, save_shifts
from methods.errors import InputError


@torch.inference_mode()
def mean_shifts(method: Asyrp, batches: Iterable[Tensor]) -> dict[int, Tensor]:
    """The mean shift (1, C, h, w) at each edited timestep of ``method``, unscaled, along the edits of pictures.

    Args:
        method: with one attribute, a DeltaBlock.
        batches: (B, 3, S, S) pictures in [-1, 1].

    Raises:
        InputError: no pictures, or another attribute.
    """
    params = method.params
    if len(method.shift.blocks) != 1 or isinstance(method.shift.blocks[0], RecordedShift):
        raise InputError("a mean shift is that of one DeltaBlock: name one in attributes")
    (block,) = method.shift.blocks
    plan = reverse_plan(method.alphas, sequence(params.steps, params.t_0), method.t_edit, 0)
    edited = [step for step in plan if step.edited]
    sums: dict[int, Tensor] = {}
    count = 0

    def recording(features: Tensor, embedding: Tensor, timestep: int) -> Tensor:
        found = block(features.float(), embedding.float()).sum(0, keepdim=True)
        sums[timestep] = sums[timestep] + found if timestep in sums else found
        return method.shift(features, embedding, timestep)

    def none(timestep: int) -> Tensor:
        raise AssertionError(f"a process without boost asked for noise at {timestep}")

    for pictures in batches:
        count += len(pictures)
        timesteps = sequence(params.steps_inversion, params.t_0)
        latent = invert(method.unet, pictures.to(method.device), method.alphas, timesteps)
        generate(method.unet, latent, edited, recording, none)
    if not count:
        raise InputError("no pictures to average the shifts of")
    return {timestep: total / count for timestep, total in sums.items()}


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Average a DeltaBlock's shifts over pictures.")
    parser.add_argument("--unet", required=True, help="URI of the UNet")
    parser.add_argument("--block", required=True, help="URI of the DeltaBlock")
    parser.add_argument("--pictures", type=Path, required=True, help="folder of pictures of its domain")
    parser.add_argument("--t-edit", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True, help="the file (.pth) to write")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--steps", type=int, default=40, help="of inversion and edit")
    parser.add_argument("--steps-train", type=int, default=40, help="that the block was trained with")
    parser.add_argument("--strength", type=float, default=1.0)
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--norm-num-groups", type=int, default=32)
    parser.add_argument("--batch-size", type=int, default=8)
    chosen = parser.parse_args(arguments)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        method = methods.load(
            "asyrp",
            weights=chosen.unet,
            device=device,
            attributes=[{"block": chosen.block}],
            strength=chosen.strength,
            t_edit=chosen.t_edit,
            t_boost=0,
            steps=chosen.steps,
            steps_inversion=chosen.steps,
            steps_train=chosen.steps_train,
            image_size=chosen.image_size,
            norm_num_groups=chosen.norm_num_groups,
        )
        assert isinstance(method, Asyrp)
        shifts = mean_shifts(
            method, picture_batches(chosen.pictures, chosen.count, chosen.image_size, chosen.batch_size)
        )
    except InputError as error:
        sys.exit(str(error))
    print(save_shifts(chosen.out, shifts))


if __name__ == "__main__":
    main()
