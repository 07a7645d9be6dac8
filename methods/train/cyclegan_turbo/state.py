"""What a CycleGAN-Turbo training holds: both directions' networks, the discriminators, and their optimizers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from methods.errors import InputError
from methods.train.cyclegan_turbo.info import CycleGANTurboTrainParams
from methods.train.draws import Draws
from methods.train.losses.patchgan import PositionPatchGAN
from methods.train.losses.vision_aided import VisionAidedDiscriminator
from methods.train.turbo.networks import Parts, kept_state, restore, set_checkpointing
from methods.train.updates import Updates
from methods.turbo.generator import OneStepGenerator

DISCRIMINATORS = ("disc_a", "disc_b")


class CycleGANTurboState:
    """Both directions of a CycleGAN-Turbo model and the two discriminators.

    Trained are, as in the release, the UNet's LoRA with its first layer, and both VAEs' LoRA (the skip convolutions'
    own weights stay where they were). Every parameter is listed once with the optimizer, where the release lists some
    twice.

    Args:
        params: see :class:`CycleGANTurboTrainParams`.
        parts: networks with names ``a2b`` and ``b2a`` of the VAEs, on the CPU.
        distance: perceptual distance, frozen, on the device.
        discriminators: ``disc_a`` sees pictures made for domain B, ``disc_b`` those for A (the release's names);
            none where ``lambda_gan`` is 0.
        device, precision: where, and in which precision the networks compute; weights stay in float32.
        steps: length of the run, for the auto-encoder phase.
    """

    def __init__(
        self,
        params: CycleGANTurboTrainParams,
        parts: Parts,
        distance: nn.Module,
        discriminators: Mapping[str, VisionAidedDiscriminator],
        device: torch.device,
        precision: torch.dtype,
        steps: int = 1,
    ) -> None:
        self.params, self.device, self.precision, self.steps = params, device, precision, steps
        self.scheduler = parts.scheduler
        self.captions = {"a2b": params.caption_b, "b2a": params.caption_a}
        self.embeddings = {d: parts.captions([caption]).clone().to(device) for d, caption in self.captions.items()}
        cast(nn.Module, parts.unet).to(device)
        self.unet, self.vaes = parts.unet, {name: vae.to(device) for name, vae in parts.vaes.items()}
        self.generators = {d: OneStepGenerator(self.unet, vae, parts.alpha_bar) for d, vae in self.vaes.items()}
        self.first_layer = parts.first_layer[0].to(device)
        set_checkpointing(self.unet, list(self.vaes.values()), params.checkpointing)
        self.distance = distance
        self.discriminators = dict(discriminators)
        conditions = 3 if params.paired else 0
        self.patch_discriminators = {
            name: PositionPatchGAN(params.patch_width, conditions).to(device)
            for name in (DISCRIMINATORS if params.lambda_patch else ())
        }
        self.trained = [p for p in [*self.unet.parameters(), *self._vae_parameters()] if p.requires_grad]
        networks = self.discriminator_networks()
        self.optimizer = self._optimizer(self.trained, params.lr)
        lr = params.lr_discriminator or params.lr
        self.discriminator_optimizers = {
            name: self._optimizer(list(network.parameters()), lr) for name, network in networks.items()
        }

    def _optimizer(self, parameters: list[nn.Parameter], lr: float) -> torch.optim.Optimizer:
        params = self.params
        betas, decay = (params.beta1, params.beta2), params.weight_decay
        return torch.optim.AdamW(parameters, lr=lr, betas=betas, weight_decay=decay, eps=params.eps)

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """The generator's, and one for each discriminator."""
        return {"generator": self.optimizer, **self.discriminator_optimizers}

    def discriminator_networks(self) -> dict[str, nn.Module]:
        """All discriminators by name, PatchGANs included."""
        patches = {f"patch_{name}": network for name, network in self.patch_discriminators.items()}
        return {**self.discriminators, **patches}

    def _vae_parameters(self) -> list[nn.Parameter]:
        return [parameter for vae in self.vaes.values() for parameter in vae.parameters()]

    def networks(self) -> Mapping[str, nn.Module]:
        """UNet, VAEs and discriminators."""
        vaes = {f"vae_{direction}": vae for direction, vae in self.vaes.items()}
        return {"unet": self.unet, **vaes, **self.discriminator_networks()}

    def autocast(self) -> torch.autocast:
        """Mixed precision where the training asks for it.

        Plain autocast: it is what torch restores where gradient checkpointing computes blocks again.
        """
        return torch.autocast(self.device.type, self.precision, enabled=self.precision != torch.float32)

    def generate(self, images: Tensor, direction: str, noise: Tensor) -> Tensor:
        """G(images, direction), (B, 3, H, W) in [-1, 1]."""
        with self.autocast():
            return self.generators[direction](images, self.embeddings[direction], noise).clamp(-1.0, 1.0)

    def noise(self, draws: Draws, name: str, images: Tensor) -> Tensor:
        """The draw of the latents' posterior for a batch of images."""
        shape = self.generators["a2b"].latent_shape(*images.shape[-2:])
        return draws.normal(f"{name}.latent", (len(images), *shape))

    def update(self, name: str, loss: Tensor, updates: Updates) -> None:
        """Step the generator; ``loss`` is the last one of the step."""
        updates.step(name, self.optimizer, loss=loss, clip=self.params.max_grad_norm)

    def update_discriminators(self, name: str, loss: Tensor, updates: Updates) -> None:
        """Step the discriminators; ``loss`` is the last one of the step."""
        optimizers = self.discriminator_optimizers.values()
        updates.step(name, *optimizers, loss=loss, clip=self.params.max_grad_norm)

    def state_dict(self) -> dict[str, Any]:
        """Trained weights and buffers, and the optimizers; what never changes is left out."""
        optimizers = {name: optimizer.state_dict() for name, optimizer in self.discriminator_optimizers.items()}
        return {
            "networks": {name: kept_state(network) for name, network in self.networks().items()},
            "optimizer": self.optimizer.state_dict(),
            "discriminator_optimizers": optimizers,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`.

        Raises:
            InputError: an earlier version wrote it, or the networks are others.
        """
        if "discriminator_optimizers" not in state:
            raise InputError("checkpoint: an earlier version wrote it: train again from the start (--fresh)")
        for name, network in self.networks().items():
            restore(network, state["networks"].get(name, {}), name)
        self.optimizer.load_state_dict(state["optimizer"])
        for name, optimizer in self.discriminator_optimizers.items():
            optimizer.load_state_dict(state["discriminator_optimizers"][name])
