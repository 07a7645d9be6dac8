"""Training PITI's upsampler on degraded pictures, with perceptual and adversarial losses on its guess."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods import weights as store
from methods.base import Inputs
from methods.nn.gaussian_diffusion import GaussianDiffusion
from methods.nn.image_prep import to_tensor
from methods.piti.networks import PITIModel
from methods.piti.sampling import sample_upsampler
from methods.train.losses.critic import PatchCritic, critic_loss, generator_loss
from methods.train.losses.diffusion import hybrid_terms
from methods.train.objective import ObjectiveInfo, Sample, Streams, Validation
from methods.train.piti.degradation import degrade
from methods.train.piti.info import UPSAMPLER, PITIUpsamplerParams
from methods.train.piti.pairs import PairReader, merged, resized, side_by_side, start_model, write_model
from methods.train.precision import computing_in
from methods.train.updates import Updates

PREVIEWS = 4


class PITIUpsampler:
    """The upsampler and its critic on their device, with an optimizer each."""

    info: ClassVar[ObjectiveInfo] = UPSAMPLER

    def __init__(
        self,
        params: PITIUpsamplerParams,
        model: PITIModel,
        reader: PairReader,
        perceptual: nn.Module | None,
        device: torch.device,
        precision: torch.dtype,
    ) -> None:
        self.params, self.reader, self.device, self.precision = params, reader, device, precision
        self.model = model.to(device).train()
        self.perceptual = None if perceptual is None else perceptual.to(device)
        self.critic = PatchCritic().to(device)
        self.diffusion = GaussianDiffusion.make(params.model.schedule)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=params.lr, weight_decay=0.0)
        self.critic_optimizer = torch.optim.Adam(self.critic.parameters(), lr=params.critic_lr)

    @classmethod
    def build(
        cls, params: PITIUpsamplerParams, device: torch.device, precision: torch.dtype, steps: int
    ) -> PITIUpsampler:
        """Make the model; ``precision`` is that of its arithmetic, its weights are float32.

        Raises:
            InputError: weights or files of the parameters that cannot be found or do not fit.
        """
        reader, model = PairReader(params), start_model(params, params.model)
        return cls(params, model, reader, _perceptual(params), device, precision)

    def networks(self) -> Mapping[str, nn.Module]:
        """The model, and the critic where it is used."""
        return {"model": self.model, **({"critic": self.critic} if self.params.adversarial_weight else {})}

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """The model's, and the critic's where it is used."""
        return {
            "model": self.optimizer,
            **({"critic": self.critic_optimizer} if self.params.adversarial_weight else {}),
        }

    def transform(self, stream: str, inputs: Inputs, rng: np.random.Generator) -> Sample:
        """``image`` (3, side, side), the degraded ``small`` one and the ``condition``. Raises BadSample."""
        picture, condition = self.reader.read(inputs, rng)
        image = resized(picture, self.params.model.side)
        levels = ((image + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
        small = degrade(levels, self.params.model.side // self.params.small_side, rng)
        return {"image": image, "small": to_tensor(small), "condition": condition}

    def step(self, batch: Streams, step: int, generator: torch.Generator, updates: Updates) -> Mapping[str, float]:
        """One AdamW step of the model on all its losses, then one Adam step of the critic on the same guess."""
        pairs = batch["pairs"]
        clean, small, condition = (cast(Tensor, pairs[name]) for name in ("image", "small", "condition"))
        index = torch.randint(len(self.diffusion), (len(clean),), generator=generator).to(self.device)
        noise = torch.randn(clean.shape, generator=generator).to(self.device)
        mix = torch.rand(len(clean), generator=generator).to(self.device)
        # dropout draws from the global generators: they are set from this step's, so that a resumed run repeats them
        torch.manual_seed(int(torch.randint(2**62, (), generator=generator)))
        noisy = self.diffusion.q_sample(clean, noise, index)
        large = F.interpolate(small, clean.shape[-2:], mode="bilinear", align_corners=False)
        timesteps = self.diffusion.original(index, len(clean), self.device)
        with computing_in(self.precision, self.device):
            answer = self.model(torch.cat([noisy, large], dim=1), timesteps, condition)
        terms = hybrid_terms(self.diffusion, answer, clean, noisy, noise, index)
        loss = terms.loss.mean()
        losses = {"mse": terms.mse.mean().item(), "vb": terms.vb.mean().item()}
        guess = self.diffusion.predict_clean(noisy, answer[0], index).clamp(-1, 1)
        # the counter is the run's own, so that a resumed run does not pause these losses again
        extra = step >= self.params.extra_after
        if extra and self.perceptual is not None:
            distance = self.perceptual(guess, clean)
            loss = loss + self.params.perceptual_weight * distance
            losses["perceptual"] = distance.item()
        adversarial = extra and self.params.adversarial_weight > 0
        if adversarial:
            self.critic.requires_grad_(False)
            fooled = generator_loss(self.critic, guess)
            self.critic.requires_grad_(True)
            loss = loss + self.params.adversarial_weight * fooled
            losses["adversarial"] = fooled.item()
        updates.step("model", self.optimizer, loss=loss)
        if adversarial:
            losses["critic"] = self._teach_critic(guess.detach(), clean, mix, updates)
        return {"loss": loss.item(), **losses}

    def _teach_critic(self, fake: Tensor, real: Tensor, mix: Tensor, updates: Updates) -> float:
        loss = critic_loss(self.critic, fake, real, mix)
        updates.step("critic", self.critic_optimizer, loss=loss)
        return loss.item()

    @torch.no_grad()
    def validate(self, samples: Mapping[str, Sequence[Sample]]) -> Validation:
        """PSNR of drawn pictures, and some of them between what they were drawn from and the truth."""
        self.model.eval()
        diffusion = GaussianDiffusion.make(self.params.model.schedule, self.params.preview_steps)
        errors, pictures = [], {}
        for number, sample in enumerate(samples["pairs"][:PREVIEWS]):
            clean, small, condition = (
                cast(Tensor, sample[name])[None].to(self.device) for name in ("image", "small", "condition")
            )
            generator = torch.Generator().manual_seed(number)
            made = sample_upsampler(
                self.model,
                diffusion,
                self.model.encode(condition),
                small,
                lambda stream, g=generator, shape=clean.shape: torch.randn(shape, generator=g).to(self.device),
            )
            errors.append(((made - clean) / 2).square().mean())
            pictures[f"sample_{number}"] = side_by_side(condition[0], small[0], made[0], clean[0])
        self.model.train()
        return Validation({"psnr": -10 * torch.stack(errors).mean().log10().item()}, pictures)

    def state_dict(self) -> dict[str, Any]:
        """Model, critic and their optimizers."""
        return {
            "model": self.model.state_dict(),
            "critic": self.critic.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "critic_optimizer": self.critic_optimizer.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.model.load_state_dict(state["model"])
        self.critic.load_state_dict(state["critic"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.critic_optimizer.load_state_dict(state["critic_optimizer"])

    def export(
        self, path: Path, averaged: Mapping[str, Mapping[str, Tensor]] | None, metadata: Mapping[str, str]
    ) -> Path:
        """The model, averaged if it was: official format for a ``.pt``, else ours with ``params.base`` in it."""
        state = merged(self.model, None if averaged is None else averaged["model"])
        return write_model(path, self.params.model, self.params.family, state, metadata, self.params.base)


def _perceptual(params: PITIUpsamplerParams) -> nn.Module | None:
    if not params.perceptual_weight:
        return None
    if params.perceptual == "vgg19":
        from methods.train.losses.vgg_distance import VGGDistance

        return VGGDistance.load(store.fetch(params.vgg))
    from methods.train.losses.perceptual import PerceptualDistance

    return PerceptualDistance()
