"""What three targets of one job cost, in CPU seconds of one core, against three separate jobs.

`python -m benchmarks.targets` renders streets and translates them with the bundled CycleGAN-Turbo to three targets: by
night, with the caption of the other direction (the encoder is the same then), and by the reverse model. Where `--model`
names a Stable Diffusion model, three edits of pix2pix-zero follow, which share one inversion and one first pass. Every
job is a command of its own, as a user starts it: start-up and summaries are in the figures. Prints them and their
ratios, checks that the bytes are the same, and writes benchmarks/results/targets_cpu.json. `--only` measures one of the
two and leaves the other's figures in the file as they are.

What is left once start-up no longer counts is counted, not timed: the operations of the networks of Stable Diffusion
1.4 for one picture of 512 px, by the code that runs (`--only counted` does this alone, in half a minute). `--only
worked` takes the CPU time of the edits of `--model` in one process, beside each other and one by one.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "targets_cpu.json"
TURBO: dict[str, Any] = {"name": "cyclegan_turbo", "preset": "street_day_to_night"}
TURBO_TARGETS: dict[str, Any] = {
    "night": {},
    "dusk": {"method": {"params": {"caption": "driving in the day"}}},
    "reverse": {"method": {"preset": "street_night_to_day"}},
}
EDIT_TARGETS: dict[str, Any] = {
    "night": {"method": {"params": {"target": "night"}}},
    "fog": {"method": {"params": {"target": "fog"}}},
    "snow": {"method": {"params": {"target": "snow"}}},
}


def cpu_seconds(words: list[str]) -> float:
    """CPU seconds of a command of sceneshift and all its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "jobs", *words], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(folder: Path, tree: dict[str, Any], targets: dict[str, Any]) -> dict[str, Any]:
    """CPU seconds of the targets in one job, and as jobs of their own, whose bytes must be the same."""
    folder.mkdir()
    together = folder / "together.yaml"
    together.write_text(json.dumps(tree | {"output": {"uri": str(folder / "together")}, "targets": targets}))
    seconds = cpu_seconds(["run", str(together), "--local"])
    apart = []
    for name, target in targets.items():
        # a job with this one target alone shares nothing
        alone = folder / f"{name}.yaml"
        alone.write_text(json.dumps(tree | {"output": {"uri": str(folder / "apart")}, "targets": {name: target}}))
        apart.append(cpu_seconds(["run", str(alone), "--local"]))
        for part in ("data", "index"):
            for file in (folder / "apart" / name / part).iterdir():
                same = (folder / "together" / name / part / file.name).read_bytes() == file.read_bytes()
                assert same, f"{name}/{part}/{file.name} differs"
    return {"together": round(seconds, 2), "apart": [round(each, 2) for each in apart], "ratio": seconds / sum(apart)}


def counted(steps: int = 50, edits: int = 3) -> dict[str, Any]:
    """Operations of pix2pix-zero on Stable Diffusion 1.4 at 512 px for one picture, in TFLOP, and their ratio.

    Counted are matrix products, convolutions and attention of UNet and VAE, a multiplication and an addition being two;
    left out is what comes to less than a thousandth: text encoder, regularisation, metrics.
    """
    import torch
    from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL
    from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
    from torch.utils.flop_counter import FlopCounterMode

    from methods.nn.attention_capture import cross_attention_layers, make_readable
    from methods.nn.ddim import DDIMStep
    from methods.nn.stable_diffusion import StableDiffusion
    from methods.pix2pix_zero.edit import Edit, edit
    from methods.pix2pix_zero.inversion import invert
    from methods.pix2pix_zero.regularise import Regularisation

    step = DDIMStep(500, 0.5, 0.6)
    with torch.device("meta"):
        model = object.__new__(StableDiffusion)
        model.unet = UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8)
        model.unet.eval().requires_grad_(False)
        make_readable(model.unet)
        model.dtype, model.prediction_type = torch.float32, "epsilon"
        blocks = {"down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4}
        # its stubs know tuples of one
        build: Any = AutoencoderKL
        vae = build(block_out_channels=(128, 256, 512, 512), layers_per_block=2, **blocks).requires_grad_(False)
        latents, caption = torch.empty(1, 4, 64, 64), torch.empty(1, 77, 768)
        picture = torch.empty(1, 3, 512, 512)

    def tflop(work: Any) -> float:
        with FlopCounterMode(display=False) as counter:
            work()
        return counter.get_total_flops() / 1e12

    def walk(number: int) -> None:
        for _ in edit(model, latents, caption, None, [Edit(caption, 0.1, 5.0)] * number, [step], layers):
            pass

    layers = cross_attention_layers(model.unet)
    off = Regularisation(0.0, 0.0, 0, 1)
    with torch.no_grad():
        inversion = tflop(lambda: [*invert(model, latents, caption, [step], off, torch.empty(0))])
        one, two = (tflop(lambda number=number: walk(number)) for number in (1, 2))
        encode, decode = tflop(lambda: vae.encode(picture)), tflop(lambda: vae.decode(latents))
    own, first = two - one, 2 * one - two
    shared = encode + (steps - 2) * inversion + steps * first
    apart = edits * (shared + steps * own + decode)
    return {
        "steps": steps,
        "edits": edits,
        "inversion_step": round(inversion, 4),
        "first_pass_step": round(first, 4),
        "edit_step": round(own, 4),
        "vae_encode": round(encode, 3),
        "vae_decode": round(decode, 3),
        "ratio": round((shared + edits * (steps * own + decode)) / apart, 3),
        "ratio_with_the_inversion_alone_shared": round(
            (encode + (steps - 2) * inversion + edits * (steps * (first + own) + decode)) / apart, 3
        ),
        "ratio_of_many_edits": round((steps * own + decode) / (apart / edits), 3),
    }


def worked(model: str, steps: int, size: int = 64) -> dict[str, Any]:
    """CPU seconds of three edits of one picture in this process: beside each other, and by themselves."""
    import time

    import torch

    import methods
    from methods.base import Batch
    from methods.sharing import Together, sharing

    torch.set_num_threads(1)
    chosen = {"source": "day", "caption": "a street", "steps": steps, "image_prep": "no_resize"}
    with sharing():
        edits = [methods.load("pix2pix_zero", weights=model, target=name, **chosen) for name in EDIT_TARGETS]
    picture = torch.rand(1, 3, size, size, generator=torch.Generator().manual_seed(0)) * 2 - 1

    def seconds(*, beside: bool) -> tuple[float, list[torch.Tensor]]:
        batches = [Batch(picture.clone(), [1], ["a"]) for _ in edits]
        if beside:
            Together.join([*zip(edits, batches, strict=True)])
        begun = time.process_time()
        made = [method.translate(batch) for method, batch in zip(edits, batches, strict=True)]
        return time.process_time() - begun, made

    # each by itself first, for what is done once per process
    edits[0].translate(Batch(picture.clone(), [1], ["a"]))
    apart, alone = seconds(beside=False)
    together, shared = seconds(beside=True)
    assert all(torch.equal(one, other) for one, other in zip(alone, shared, strict=True))
    found = {"model": Path(model).name, "size": size, "steps": steps}
    return found | {"together": round(together, 2), "apart": round(apart, 2), "ratio": round(together / apart, 3)}


def main() -> None:
    """Measure, print and write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", type=int, default=64)
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--model", help="a Stable Diffusion model, for pix2pix-zero")
    parser.add_argument("--edited", type=int, default=4, help="pictures that pix2pix-zero edits")
    parser.add_argument("--steps", type=int, default=20, help="steps of pix2pix-zero")
    parser.add_argument("--only", choices=["cyclegan_turbo", "pix2pix_zero", "counted", "worked"])
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    found: dict[str, Any] = json.loads(RESULTS.read_text()) if options.only else {}
    if options.only in (None, "counted"):
        found["counted_pix2pix_zero_sd14_512px"] = counted()
    if options.model and options.only in (None, "worked"):
        found["worked_pix2pix_zero"] = worked(options.model, options.steps)
    if options.only not in ("counted", "worked"):
        _timed(options, found)
    RESULTS.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps(found, indent=1))


def _timed(options: argparse.Namespace, found: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as room:
        folder = Path(room)
        words = ["sample-data", str(folder / "streets"), "--scenes", str(options.scenes), "--size", str(options.size)]
        cpu_seconds([*words, "--conditions", "day"])
        source = {"uri": f"{folder}/streets/day/*.tar"}
        if options.only != "pix2pix_zero":
            found |= {"scenes": options.scenes, "size": options.size}
            found["cyclegan_turbo"] = measure(folder / "turbo", {"source": source, "method": TURBO}, TURBO_TARGETS)
        if options.model and options.only != "cyclegan_turbo":
            params = {"source": "day", "target": "night", "steps": options.steps, "image_prep": "no_resize"}
            method = {"name": "pix2pix_zero", "weights": options.model, "params": params}
            limited = source | {"limit": options.edited}
            found["pix2pix_zero"] = measure(folder / "zero", {"source": limited, "method": method}, EDIT_TARGETS)
            found["pix2pix_zero"] |= {"pictures": options.edited, "size": options.size, "steps": options.steps}
            found["pix2pix_zero"]["model"] = Path(options.model).name


if __name__ == "__main__":
    main()
