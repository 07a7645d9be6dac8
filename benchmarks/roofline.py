"""Operations of the released models, counted without weights, and the images per second that they leave at most.

    python -m benchmarks.roofline [--out FILE]

Networks of the released sizes are built of torch's fake tensors, which have shapes and no numbers, and called once:
convolutions, matrix products and attention are counted, a multiplication and an addition being two operations. The
ceiling of a device is its data sheet's 16-bit rate over the operations of a picture (``pipeline/devices.py``).
``sceneshift plan JOB --calibrate 8 --on H100`` does the same for any job, with its own weights and parameters.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.methods import FULL_SCHEDULER, FULL_UNET, FULL_VAE
from methods.turbo.generator import OneStepGenerator, alpha_bar_of, build_unet
from methods.turbo.vae import SkipVAE
from pipeline.devices import DEVICES

SHOWN = ("L4", "A100", "H100", "B200")
SIDES = (256, 512, 768, 1024)


def counted(call: Callable[[], Any]) -> float:
    """10^12 operations of a call."""
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        call()
    return counter.get_total_flops() / 1e12


def turbo(side: int) -> float:
    """One picture through CycleGAN-Turbo or pix2pix-Turbo: encoder, UNet, decoder with skips; LoRA merged."""
    alpha_bar = alpha_bar_of(FULL_SCHEDULER)
    with FakeTensorMode(allow_non_fake_inputs=True):
        unet, vae = build_unet(FULL_UNET), SkipVAE(FULL_VAE)
        image = torch.empty(1, 3, side, side)
        embedding = torch.empty(1, 77, FULL_UNET["cross_attention_dim"])
        noise = torch.empty(1, 4, side // 8, side // 8)
        generator = OneStepGenerator(unet, vae, alpha_bar).eval()
        return counted(lambda: generator(image, embedding, noise))


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, help="also write the table here")
    asked = parser.parse_args()
    lines = [
        "# Ceilings",
        "",
        f"CycleGAN-Turbo and pix2pix-Turbo in 16 bits; images/s at most, of the data sheets ({Path(__file__).name}).",
        "",
        "| side | TFLOP per image | " + " | ".join(SHOWN) + " |",
        "| ---: | ---: | " + " | ".join("---:" for _ in SHOWN) + " |",
    ]
    for side in SIDES:
        operations = turbo(side)
        rates = " | ".join(f"{DEVICES[name].half / operations:.0f}" for name in SHOWN)
        lines.append(f"| {side} | {operations:.2f} | {rates} |")
    text = "\n".join(lines) + "\n"
    print(text)
    if asked.out:
        asked.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
