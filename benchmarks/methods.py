"""Turbo: speed of a translation and memory of a training step, each against a loop like the release's.

    python benchmarks/methods.py speed  [--size full|mini] [--device cuda] [--images 8] [--repeats 3] [--out FILE]
    python benchmarks/methods.py memory [--size full|mini] [--device cuda] [--pixels 128] [--out FILE]

Weights are random: neither time nor memory depends on their values. ``full`` is the architecture of SD-Turbo (UNet of
SD 2.1, the SD VAE with skips, its text encoder), ``mini`` that of the bundled street model with a small text encoder.

speed: the loop it is measured against does, for one image after the other, what the release's script does: the caption
through the text encoder, LoRA as separate layers, a scheduler step with its noise. Both loops have the same weights and
noise, and their outputs are compared. They run in turns and the best time of each counts, so that a busy machine slows
neither more than the other. On a CPU each has a process of its own: ours is set up as a worker is (translate/cpu.py),
the other is left as it comes. On a GPU, ours is swept over batches, precisions, eager and compiled (CUDA graphs).

memory: peak memory a training image adds (the slope between batch 1 and a larger one; the allocator's peak on a GPU, on
a CPU the resident peak of a process of its own) for the release's order of work, for ours without and with gradient
checkpointing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, cast

ROOT = Path(__file__).resolve().parent.parent
# In front stood this folder, whose methods.py is not the package of that name.
sys.path[:1] = [str(ROOT)]

import torch  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn import functional as F  # noqa: E402

from methods.train.cyclegan_turbo.info import CycleGANTurboTrainParams  # noqa: E402
from methods.train.cyclegan_turbo.objective import CycleGANTurboTraining  # noqa: E402
from methods.train.cyclegan_turbo.official import cyclegan_adapters  # noqa: E402
from methods.train.draws import Draws  # noqa: E402
from methods.train.losses.backbones import EffLiteFeatures  # noqa: E402
from methods.train.losses.perceptual import PerceptualDistance  # noqa: E402
from methods.train.losses.vision_aided import VisionAidedDiscriminator  # noqa: E402
from methods.train.turbo.mini_networks import SCHEDULER as MINI_SCHEDULER  # noqa: E402
from methods.train.turbo.mini_networks import UNET as MINI_UNET  # noqa: E402
from methods.train.turbo.mini_networks import VAE as MINI_VAE  # noqa: E402
from methods.train.turbo.networks import VAE_TARGETS, Parts, add_lora, merged, vae_scale  # noqa: E402
from methods.train.updates import Updates  # noqa: E402
from methods.turbo.captions import Captions  # noqa: E402
from methods.turbo.generator import OneStepGenerator, alpha_bar_of, build_unet  # noqa: E402
from methods.turbo.vae import SkipVAE  # noqa: E402
from pipeline.translate.cpu import configure_cpu  # noqa: E402

TFLOP_PER_IMAGE = 4.47  # of the full model at 512 x 512, counted
FULL_UNET: dict[str, Any] = {
    "sample_size": 64,
    "block_out_channels": [320, 640, 1280, 1280],
    "attention_head_dim": [5, 10, 20, 20],
    "cross_attention_dim": 1024,
    "use_linear_projection": True,
}
FULL_VAE: dict[str, Any] = {
    "block_out_channels": [128, 256, 512, 512],
    "down_block_types": ["DownEncoderBlock2D"] * 4,
    "up_block_types": ["UpDecoderBlock2D"] * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "norm_num_groups": 32,
    "scaling_factor": 0.18215,
}
FULL_SCHEDULER = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
SIZES: dict[str, dict[str, Any]] = {
    "full": {
        "unet": FULL_UNET,
        "vae": FULL_VAE,
        "scheduler": FULL_SCHEDULER,
        "pixels": 512,
        "rank": 128,
        "text": {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 23, "num_attention_heads": 16},
    },
    "mini": {
        "unet": MINI_UNET,
        "vae": MINI_VAE,
        "scheduler": MINI_SCHEDULER,
        "pixels": 128,
        "rank": 8,
        "text": {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 2},
    },
}


def made(size: dict[str, Any], vaes: int) -> tuple[nn.Module, list[SkipVAE]]:
    """UNet and VAEs with random weights and random LoRA in the release's layout."""
    torch.manual_seed(0)
    unet, found = build_unet(size["unet"]), [SkipVAE(size["vae"]) for _ in range(vaes)]
    add_lora(unet, cyclegan_adapters(unet), size["rank"], size["rank"], "default")
    for vae in found:
        add_lora(vae, VAE_TARGETS, 4, 8, "vae_skip")
    for network in (unet, *found):
        for name, parameter in network.named_parameters():
            if ".lora_B." in name:
                nn.init.normal_(parameter, std=1e-3)
    return unet, found


class ReleaseLoop:
    """One image: caption encoded, LoRA unmerged, diffusers' DDPM step."""

    def __init__(self, size: dict[str, Any], unet: nn.Module, vae: SkipVAE, device: torch.device) -> None:
        from diffusers.schedulers.scheduling_ddpm import DDPMScheduler
        from transformers import CLIPTextConfig, CLIPTextModel

        config = {key: value for key, value in size["scheduler"].items() if not key.startswith("_")}
        config |= {"clip_sample": False, "timestep_spacing": "trailing"}
        self.scheduler = DDPMScheduler(**config)
        self.scheduler.set_timesteps(1, device=device)
        self.text = cast(nn.Module, CLIPTextModel(CLIPTextConfig(max_position_embeddings=77, **size["text"])))
        self.text = self.text.to(device).eval()
        self.unet, self.vae, self.device = unet.to(device).eval(), vae.to(device).eval(), device
        self.tokens = torch.randint(0, 49000, (1, 77), generator=torch.Generator().manual_seed(0)).to(device)

    def embed(self) -> Tensor:
        return self.text(self.tokens)[0]

    @torch.no_grad()
    def __call__(self, images: Tensor, noise: Tensor) -> Tensor:
        done = []
        for image, own in zip(images.split(1), noise.split(1), strict=True):
            embedding = self.embed()
            encoded = self.vae.encode(image)
            z = encoded.sample(own) * self.vae.scaling_factor
            timestep = self.scheduler.timesteps
            epsilon = self.unet(z, timestep, encoder_hidden_states=embedding).sample
            steps = [
                cast(Any, self.scheduler.step(e, cast(Any, timestep[0]), s)).prev_sample
                for e, s in zip(epsilon, z, strict=True)
            ]
            x0 = torch.stack(steps)
            done.append(self.vae.decode(x0 / self.vae.scaling_factor, encoded.activations).clamp(-1, 1))
        return torch.cat(done)


class Ours:
    """What the method does: LoRA merged, caption known, closed-form step, batches."""

    def __init__(
        self, size: dict[str, Any], release: ReleaseLoop, batch: int, dtype: torch.dtype, compiled: str | None
    ) -> None:
        unet, vae = build_unet(size["unet"]), SkipVAE(size["vae"])
        unet.load_state_dict(merged(release.unet.state_dict(), 1.0))
        vae.load_state_dict(merged(release.vae.state_dict(), vae_scale(4)))
        generator = OneStepGenerator(unet, vae, alpha_bar_of(size["scheduler"])).to(release.device, dtype).eval()
        for conv in (vae.quant_conv, vae.post_quant_conv):
            if conv is not None:
                conv.float()
        self.generator: Any = generator.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        if compiled:
            self.generator = torch.compile(self.generator, mode=compiled)
        self.embedding, self.batch = release.embed().detach().to(dtype), batch

    @torch.no_grad()
    def __call__(self, images: Tensor, noise: Tensor) -> Tensor:
        parts = zip(images.split(self.batch), noise.split(self.batch), strict=True)
        return torch.cat(
            [
                self.generator(x.contiguous(memory_format=torch.channels_last), self.embedding, n).clamp(-1, 1)
                for x, n in parts
            ]
        )


Loop = Callable[[Tensor, Tensor], tuple[Tensor, float]]
"""Images and noise -> what became of them, and seconds."""


def seconds(run: Callable[[], object], device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize()
    begun = time.perf_counter()
    run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begun


def timed(run: Callable[[Tensor, Tensor], Tensor]) -> Loop:
    """A loop of this process."""

    def loop(images: Tensor, noise: Tensor) -> tuple[Tensor, float]:
        found = list[Tensor]()
        took = seconds(lambda: found.append(run(images, noise)), images.device)
        return found[0], took

    return loop


def serve(connection: Connection, size: str, batch: int | None) -> None:
    """The child's side of :func:`own_process`: the release's loop, or ours where there is a batch."""
    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    torch.set_num_threads(threads)
    unet, (vae,) = made(SIZES[size], 1)
    run: ReleaseLoop | Ours = ReleaseLoop(SIZES[size], unet, vae, torch.device("cpu"))
    if batch is not None:
        run = Ours(SIZES[size], run, batch, torch.float32, None)
        configure_cpu(threads)
    loop = timed(run)
    # until the other side is gone
    with contextlib.suppress(EOFError):
        while True:
            found, took = loop(*map(torch.from_numpy, connection.recv()))
            connection.send((found.numpy(), took))


def own_process(size: str, batch: int | None) -> Loop:
    """A loop in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    here, there = spawn.Pipe()
    spawn.Process(target=serve, args=(there, size, batch), daemon=True).start()

    def loop(images: Tensor, noise: Tensor) -> tuple[Tensor, float]:
        here.send((images.numpy(), noise.numpy()))
        found, took = here.recv()
        return torch.from_numpy(found), took

    return loop


def speed(args: argparse.Namespace) -> dict[str, Any]:
    """Images per second of both loops, and how far apart their outputs are."""
    device, size = torch.device(args.device), SIZES[args.size]
    pixels = args.pixels or size["pixels"]
    generator = torch.Generator().manual_seed(1)
    images = (torch.rand(args.images, 3, pixels, pixels, generator=generator) * 2 - 1).to(device)
    latents = args.images, size["vae"]["latent_channels"], pixels // 8, pixels // 8
    noise = torch.randn(latents, generator=generator).to(device)
    if device.type == "cpu":
        release = None
        reference = own_process(args.size, None)
    else:
        unet, (vae,) = made(size, 1)
        release = ReleaseLoop(size, unet, vae, device)
        reference = timed(release)
    choices: list[tuple[int, torch.dtype, str | None]] = [(min(args.batch, args.images), torch.float32, None)]
    if device.type == "cuda":
        batches = [b for b in (1, 2, 4, 8, 16, 32) if b <= args.images]
        halves = (torch.float16, torch.bfloat16)
        choices = [(b, d, None) for d in (torch.float32, *halves) for b in batches]
        choices += [(b, d, "reduce-overhead") for d in halves for b in batches[-2:]]
    wanted, _ = reference(images, noise)
    rows = []
    for batch, dtype, compiled in choices:
        ours = own_process(args.size, batch) if release is None else timed(Ours(size, release, batch, dtype, compiled))
        error = float((ours(images, noise)[0] - wanted).norm() / wanted.norm())
        times = [(reference(images, noise)[1], ours(images, noise)[1]) for _ in range(args.repeats)]
        theirs, own = (args.images / min(column) for column in zip(*times, strict=True))
        row = {
            "batch": batch,
            "dtype": str(dtype).removeprefix("torch."),
            "compiled": compiled or "no",
            "release_images_per_s": round(theirs, 4),
            "images_per_s": round(own, 4),
            "times_faster": round(own / theirs, 2),
            "relative_error": error,
        }
        if args.size == "full" and pixels == 512:
            row["tflop_per_s"] = round(own * TFLOP_PER_IMAGE, 2)
        print(json.dumps(row), flush=True)
        rows.append(row)
    return {"what": "speed", "size": args.size, "pixels": pixels, "images": args.images, "rows": rows}


def objective_of(size: dict[str, Any], checkpointing: bool, device: torch.device) -> CycleGANTurboTraining:
    """The CycleGAN-Turbo objective over random weights, with the helpers that need no download."""
    unet, vaes = made(size, 2)
    cast(Any, unet).conv_in.requires_grad_(True)
    width = size["unet"]["cross_attention_dim"]
    embeddings = {caption: torch.randn(77, width) for caption in ("a", "b")}
    captions = Captions(embeddings, None, "random", torch.device("cpu"))
    parts = Parts(cast(Any, unet), dict(zip(("a2b", "b2a"), vaes, strict=True)), size["scheduler"], captions)
    params = CycleGANTurboTrainParams(caption_a="a", caption_b="b", rank_unet=size["rank"], checkpointing=checkpointing)
    backbone = EffLiteFeatures().to(device)
    discriminators = {name: VisionAidedDiscriminator(backbone, 64).to(device) for name in ("disc_a", "disc_b")}
    return CycleGANTurboTraining(params, parts, PerceptualDistance().to(device), discriminators, device, torch.float32)


def release_iteration(objective: CycleGANTurboTraining, a: Tensor, b: Tensor, draws: Draws) -> None:
    """The same losses in the release's order: both domains' graphs are held until their sum is carried back."""
    params, discriminators = objective.params, objective.discriminators

    def noise(x: Tensor) -> Tensor:
        return draws.normal("", (len(x), *objective.generators["a2b"].latent_shape(*x.shape[-2:])))

    def distance(x: Tensor, y: Tensor, pixels: float, features: float) -> Tensor:
        return pixels * F.l1_loss(x, y) + features * objective.distance(x, y).mean()

    def update(loss: Tensor) -> None:
        loss.backward()
        Updates().step("generators", objective.optimizer, clip=params.max_grad_norm)

    fake_b = objective.generate(a, "a2b", noise(a))
    again_a = objective.generate(fake_b, "b2a", noise(a))
    fake_a = objective.generate(b, "b2a", noise(b))
    again_b = objective.generate(fake_a, "a2b", noise(b))
    weights = params.lambda_cycle, params.lambda_cycle_lpips
    update(distance(again_a, a, *weights) + distance(again_b, b, *weights))
    del fake_a, fake_b, again_a, again_b
    fake_a, fake_b = objective.generate(b, "b2a", noise(b)), objective.generate(a, "a2b", noise(a))
    loss = (
        discriminators["disc_a"](fake_b, "for_G", draws, "").mean()
        + discriminators["disc_b"](fake_a, "for_G", draws, "").mean()
    )
    update(params.lambda_gan * loss)
    for optimizer in objective.discriminator_optimizers.values():
        optimizer.zero_grad()
    same_b, same_a = objective.generate(b, "a2b", noise(b)), objective.generate(a, "b2a", noise(a))
    weights = params.lambda_idt, params.lambda_idt_lpips
    update(distance(same_a, a, *weights) + distance(same_b, b, *weights))
    for kind, pictures in (("fake", (fake_b.detach(), fake_a.detach())), ("real", (b, a))):
        losses = [
            network(x, kind, draws, "").mean() for network, x in zip(discriminators.values(), pictures, strict=True)
        ]
        (0.5 * params.lambda_gan * torch.stack(losses).sum()).backward()
        optimizers = objective.discriminator_optimizers.values()
        Updates().step("discriminators", *optimizers, clip=params.max_grad_norm)


VARIANTS = {
    "release's order": (False, True),
    "each part carried back at once": (False, False),
    "and checkpointing (ours)": (True, False),
}


def peak_of_one(args: argparse.Namespace) -> None:
    """In a process of its own: peak memory in bytes after steps of batch 1, and then of the larger batch; seconds."""
    device, size = torch.device(args.device), SIZES[args.size]
    pixels = args.pixels or size["pixels"]
    checkpointing, like_release = VARIANTS[args.variant]
    objective = objective_of(size, checkpointing, device)
    found = []
    for batch in (1, args.batch):
        took = 0.0
        # the second step of a size is the timed one, and has the optimizer's state
        for step in range(2):
            generator = torch.Generator().manual_seed(step)
            a, b = ((torch.rand(batch, 3, pixels, pixels, generator=generator) * 2 - 1).to(device) for _ in range(2))
            draws = Draws(generator, device)
            if like_release:
                took = seconds(lambda a=a, b=b, d=draws: release_iteration(objective, a, b, d), device)
            else:
                took = seconds(lambda a=a, b=b, d=draws: objective.iterate(a, b, d, Updates()), device)
        if device.type == "cuda":
            peak = torch.cuda.max_memory_allocated()
        else:
            # it never falls, so the larger batch comes second
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        found.append({"peak": peak, "seconds": took})
    print(json.dumps(found))


def memory(args: argparse.Namespace) -> dict[str, Any]:
    """Bytes a training image adds to the peak, by order of work."""
    # large blocks go back to the system at once, so that the resident peak is what was in use
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "262144", "MALLOC_TRIM_THRESHOLD_": "262144"}
    rows: list[dict[str, Any]] = []
    for variant in VARIANTS:
        command = [sys.executable, __file__, "peak", "--variant", variant, "--batch", str(args.batch)]
        command += ["--size", args.size, "--device", args.device, "--pixels", str(args.pixels or 0)]
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        if done.returncode:
            raise SystemExit(f"{variant}: {done.stderr.strip().splitlines()[-1]}")
        found = json.loads(done.stdout.splitlines()[-1])
        slope = (found[1]["peak"] - found[0]["peak"]) / (args.batch - 1)
        row = {
            "order": variant,
            "mib_per_image": round(slope / 2**20, 1),
            "peak_mib_at_batch": {
                str(b): round(f["peak"] / 2**20) for b, f in zip((1, args.batch), found, strict=True)
            },
            "seconds_per_step": round(found[1]["seconds"], 2),
        }
        of = rows[0]["mib_per_image"] if rows else row["mib_per_image"]
        row["share_of_release"] = round(row["mib_per_image"] / of, 3)
        print(json.dumps(row), flush=True)
        rows.append(row)
    return {
        "what": "training memory",
        "size": args.size,
        "pixels": args.pixels or SIZES[args.size]["pixels"],
        "rows": rows,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("speed", "memory", "peak"))
    parser.add_argument("--size", choices=tuple(SIZES), default="mini")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--images", type=int, default=8)
    parser.add_argument("--batch", type=int, default=4, help="largest batch on a CPU, and of the memory measurement")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--pixels", type=int, default=0, help="side of the square pictures; the size's own by default")
    parser.add_argument("--variant", choices=tuple(VARIANTS), default="release's order")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", "1")))
    if args.what == "peak":
        peak_of_one(args)
        return
    found = (speed if args.what == "speed" else memory)(args)
    found |= {"device": args.device, "torch": torch.__version__, "threads": torch.get_num_threads()}
    found["machine"] = (
        torch.cuda.get_device_name() if args.device == "cuda" else platform.processor() or platform.machine()
    )
    if args.out:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
