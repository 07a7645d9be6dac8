"""Training of pix2pix on pairs (section 3 of arXiv 1611.07004)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from methods.base import Inputs, to_uint8
from methods.errors import BadSample, InputError
from methods.nn.image_prep import to_tensor
from methods.pix2pix.files import save_generator
from methods.pix2pix.network import UNetGenerator
from methods.train.crops import cut
from methods.train.losses.patchgan import PositionPatchGAN, hinge_for_discriminator, hinge_for_generator
from methods.train.objective import ObjectiveInfo, Sample, Streams, Validation
from methods.train.pix2pix.info import INFO, Pix2PixTrainParams
from methods.train.precision import computing_in
from methods.train.updates import Updates


class Pix2PixTraining:
    """Generator and discriminator with their optimizers.

    Against the paper: a hinge loss and spectral norm in the discriminator, which train more steadily at small batches.
    """

    info: ClassVar[ObjectiveInfo] = INFO

    def __init__(self, params: Pix2PixTrainParams, device: torch.device, precision: torch.dtype) -> None:
        self.params, self.device, self.precision = params, device, precision
        self.generator = UNetGenerator(params.width, params.levels).to(device)
        self.discriminator = PositionPatchGAN(params.discriminator_width).to(device)
        betas = (params.beta1, 0.999)
        self.optimizer = torch.optim.Adam(self.generator.parameters(), params.lr, betas)
        self.critic_optimizer = torch.optim.Adam(self.discriminator.parameters(), params.lr, betas)

    @classmethod
    def build(
        cls, params: Pix2PixTrainParams, device: torch.device, precision: torch.dtype, steps: int
    ) -> Pix2PixTraining:
        """Fresh networks, initialised from torch's global generator."""
        return cls(params, device, precision)

    def networks(self) -> Mapping[str, nn.Module]:
        """Generator and discriminator."""
        return {"generator": self.generator, "discriminator": self.discriminator}

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """The generator's and the discriminator's."""
        return {"generator": self.optimizer, "discriminator": self.critic_optimizer}

    def transform(self, stream: str, inputs: Inputs, rng: np.random.Generator) -> Sample:
        """``source`` and ``target`` (3, H, W) in [-1, 1], cut alike.

        Raises:
            BadSample: no target, a target of another size, or a size that ``image_prep`` refuses.
        """
        target = inputs.columns.get("target")
        if inputs.image is None or not isinstance(target, np.ndarray):
            raise BadSample("no_target", "the sample has no target picture: name its column in data.pairs.target")
        if inputs.image.shape != target.shape:
            raise BadSample("sizes_differ", f"source {inputs.image.shape[:2]} and target {target.shape[:2]} differ")
        source, wanted = cut([inputs.image, target], self.params.image_prep, rng)
        return {"source": to_tensor(source, signed=True), "target": to_tensor(wanted, signed=True)}

    def step(self, batch: Streams, step: int, generator: torch.Generator, updates: Updates) -> Mapping[str, float]:
        """The discriminator's step on the present translation, then the generator's."""
        source, target = batch["pairs"]["source"], batch["pairs"]["target"]
        assert isinstance(source, Tensor)
        assert isinstance(target, Tensor)
        adversarial = step >= self.params.gan_from and self.params.lambda_gan > 0
        self.generator.train()
        with computing_in(self.precision, self.device):
            output = self.generator(source)
        output = output.float()
        losses: dict[str, float] = {}
        if adversarial:
            real, fake = self.discriminator(target, source), self.discriminator(output.detach(), source)
            critic_loss = hinge_for_discriminator(real, fake)
            updates.step("discriminator", self.critic_optimizer, loss=critic_loss)
            losses["discriminator"] = critic_loss.item()
        difference = (output - target).abs().mean()
        loss = self.params.lambda_l1 * difference
        if adversarial:
            self.discriminator.requires_grad_(False)
            fooled = hinge_for_generator(self.discriminator(output, source))
            loss = loss + self.params.lambda_gan * fooled
            losses["gan"] = fooled.item()
        updates.step("generator", self.optimizer, loss=loss)
        self.discriminator.requires_grad_(True)
        return {"l1": difference.item(), **losses}

    @torch.no_grad()
    def validate(self, samples: Mapping[str, Sequence[Sample]]) -> Validation:
        """``l1`` of the translation and of the untouched source; source, translation and target side by side."""
        self.generator.eval()
        found, untouched, pictures = [], [], {}
        for number, sample in enumerate(samples["pairs"]):
            source, target = sample["source"], sample["target"]
            assert isinstance(source, Tensor)
            assert isinstance(target, Tensor)
            source, target = source[None].to(self.device), target[None].to(self.device)
            output = self.generator(source)
            found.append((output - target).abs().mean().item())
            untouched.append((source - target).abs().mean().item())
            pictures[f"pair {number}"] = to_uint8(torch.cat([source, output, target], dim=3))[0]
        return Validation({"l1": float(np.mean(found)), "l1_untouched": float(np.mean(untouched))}, pictures)

    def state_dict(self) -> dict[str, Any]:
        """Networks and optimizers."""
        return {
            "generator": self.generator.state_dict(),
            "discriminator": self.discriminator.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "critic_optimizer": self.critic_optimizer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.generator.load_state_dict(state["generator"])
        self.discriminator.load_state_dict(state["discriminator"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.critic_optimizer.load_state_dict(state["critic_optimizer"])

    def export(
        self, path: Path, averaged: Mapping[str, Mapping[str, Tensor]] | None, metadata: Mapping[str, str]
    ) -> Path:
        """The generator alone, as method ``pix2pix`` loads it. Raises InputError for another ending."""
        if path.suffix != ".safetensors":
            raise InputError(f"{path}: pix2pix weights are written as .safetensors")
        tensors = dict(self.generator.state_dict())
        if averaged is not None:
            tensors.update(averaged["generator"])
        return save_generator(path, self.generator, tensors, metadata)
