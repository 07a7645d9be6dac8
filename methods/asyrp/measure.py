"""Measure the LPIPS tables of a domain, from which ``t_edit`` and ``t_boost`` are found (section 4.3).

    python -m methods.asyrp.measure --unet UNET --pictures DIR --out PREFIX

writes ``PREFIX_x0_t.tsv`` and ``PREFIX_x.tsv``. The paper takes about 100 pictures and 1000 steps: a GPU is needed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from methods import weights as store
from methods.asyrp.lpips_table import Table, write_table
from methods.asyrp.pictures import picture_batches
from methods.asyrp.process import linear_alphas, plain_noise, sequence
from methods.errors import InputError
from methods.nn.ddim import add_noise, predicted_x0
from methods.nn.lpips import load_lpips
from methods.nn.unconditional import Denoiser, load_denoiser

Distance = Callable[[Tensor, Tensor], Tensor]
"""(B, 3, H, W) twice, in [-1, 1] but not clamped -> (B,)."""


@torch.no_grad()
def measure_tables(
    unet: Denoiser, batches: Iterable[Tensor], alphas: Tensor, timesteps: Sequence[int], distance: Distance
) -> tuple[Table, Table]:
    """Mean distance to the picture of the predicted x0 and of x itself, along DDIM inversion.

    Args:
        batches: (B, 3, H, W) pictures in [-1, 1].
        timesteps: of the inversion, rising; a row's key is the timestep its step ends at.

    Returns:
        The table of predicted x0 (for ``t_edit``) and that of x (for ``t_boost``).
    """
    of_x0, of_x, count = dict.fromkeys(timesteps[1:], 0.0), dict.fromkeys(timesteps[1:], 0.0), 0
    for pictures in batches:
        x = pictures
        count += len(pictures)
        for now, then in pairwise(timesteps):
            noise = plain_noise(unet, x, now)
            x0 = predicted_x0(x, noise, float(alphas[now]))
            x = add_noise(x0, noise, float(alphas[then]))
            of_x0[then] += float(distance(x0, pictures).sum())
            of_x[then] += float(distance(x, pictures).sum())
    if not count:
        raise InputError("no pictures to measure the LPIPS tables on")
    return {t: value / count for t, value in of_x0.items()}, {t: value / count for t, value in of_x.items()}


def _lpips(alexnet: str | None, lins: str | None, device: torch.device) -> Distance:
    network = load_lpips(alexnet, lins, kind="alex").to(device)
    return lambda one, other: network(one, other).flatten()


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description="Measure the LPIPS tables of a domain.")
    parser.add_argument("--unet", required=True, help="URI of the UNet")
    parser.add_argument("--pictures", type=Path, required=True, help="folder of pictures of its domain")
    parser.add_argument("--out", required=True, help="prefix of the two tables")
    parser.add_argument("--alexnet", help="URI of torchvision's AlexNet, where it is not fetched from there")
    parser.add_argument("--lpips", help="URI of the linear layers of LPIPS v0.1 on AlexNet")
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--image-size", type=int, default=256)
    parser.add_argument("--batch-size", type=int, default=8)
    chosen = parser.parse_args(arguments)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        unet = load_denoiser(store.fetch(chosen.unet)).to(device)
        pictures = picture_batches(chosen.pictures, chosen.count, chosen.image_size, chosen.batch_size)
        of_x0, of_x = measure_tables(
            unet,
            (batch.to(device) for batch in pictures),
            linear_alphas(1e-4, 0.02),
            sequence(chosen.steps, 999),
            _lpips(chosen.alexnet, chosen.lpips, device),
        )
    except InputError as error:
        sys.exit(str(error))
    print(write_table(Path(f"{chosen.out}_x0_t.tsv"), of_x0))
    print(write_table(Path(f"{chosen.out}_x.tsv"), of_x))


if __name__ == "__main__":
    main()
