"""Training of a DeltaBlock by CLIP (Kwon et al., arXiv 2210.10960, section 4.2 and appendix)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from methods import weights as store
from methods.asyrp.delta_block import DDPMDeltaBlock, GuidedDeltaBlock, save_delta_block
from methods.asyrp.lpips_table import first_reaching, read_table
from methods.asyrp.pictures import to_square
from methods.asyrp.process import (
    CombinedShift,
    ReverseStep,
    generate,
    invert,
    linear_alphas,
    plain_noise,
    reverse_plan,
    sequence,
    update,
)
from methods.asyrp.recorded_shift import EVERY, RecordedShift, save_shifts
from methods.base import Batch, Inputs, sample_seed, to_uint8
from methods.diffuseit.losses import identity_loss
from methods.errors import BadSample, InputError
from methods.nn.arcface import ArcFace, load_arcface
from methods.nn.clip import Clip, load_clip, text_cosine, text_direction
from methods.nn.ddpm_unet import DDPMUNet
from methods.nn.guided_unet import GuidedUNet
from methods.nn.unconditional import bottleneck_channels, load_denoiser
from methods.train.asyrp.info import INFO, AsyrpDeltaParams
from methods.train.objective import ObjectiveInfo, Sample, Streams, Validation
from methods.train.updates import Updates

Block = DDPMDeltaBlock | GuidedDeltaBlock | RecordedShift
"""What is trained."""


@dataclass(frozen=True)
class StepLosses:
    """Of one optimizer step: each a mean over the batch; ``identity`` is 0 without face recogniser."""

    l1: float
    clip: float
    total: float
    identity: float = 0.0


@dataclass(frozen=True)
class Known:
    """What training never changes about a picture: computed once, used in every pass.

    Attributes:
        latent: (3, H, W) the noise it comes from.
        plain: (T, 3, H, W) the unedited chain's predicted x0 at each trained timestep.
        features: (D,) CLIP's unit features of the picture.
        faces: (T, 512) unit face features of ``plain``, with a face recogniser.
    """

    latent: Tensor
    plain: Tensor
    features: Tensor
    faces: Tensor | None = None


class AsyrpDelta:
    """The objective of one attribute.

    Args:
        unet: frozen, on the device.
        clip: frozen, on the device.
        params: what the user set.
        cosine: CLIP cosine of the plain texts.
        direction: (1, D) unit text direction.
        t_edit: the lowest trained timestep.
        face: the face recogniser of the identity loss, frozen, on the device.
    """

    info: ClassVar[ObjectiveInfo] = INFO

    def __init__(
        self,
        unet: DDPMUNet | GuidedUNet,
        clip: Clip,
        params: AsyrpDeltaParams,
        cosine: float,
        direction: Tensor,
        t_edit: int,
        face: ArcFace | None = None,
    ) -> None:
        self.unet, self.clip, self.params = unet, clip, params
        self.cosine, self.direction, self.t_edit, self.face = cosine, direction, t_edit, face
        self.device = direction.device
        self.alphas = linear_alphas(params.beta_start, params.beta_end)
        kept = [t for t in sequence(params.steps_train, params.t_0) if t >= t_edit]
        if not kept:
            raise InputError(f"t_edit is {t_edit}, expected a timestep of the process at or above it: more steps_train")
        self.plan = _training_plan(self.alphas, kept)
        self.block = self._new_block(kept).to(self.device)
        self.shift = CombinedShift([self.block], [params.strength], 1.0)
        self.optimizer = torch.optim.SGD(self.block.parameters(), lr=params.lr)
        self._known: dict[str, Known] = {}

    def _new_block(self, timesteps: Sequence[int]) -> Block:
        """What is trained, as it begins; shifts begin as the release's do, normal of deviation 0.2."""
        params, channels = self.params, bottleneck_channels(self.unet)
        if params.trained == "shifts":
            side = params.image_size // self.unet.config.factor
            every = [EVERY] if params.ignore_timesteps else timesteps
            shifts = RecordedShift({timestep: 0.2 * torch.randn(1, channels, side, side) for timestep in every})
            return shifts.requires_grad_()
        kind = DDPMDeltaBlock if isinstance(self.unet, DDPMUNet) else GuidedDeltaBlock
        embedding = self.unet.embed(torch.zeros(1, device=self.device)).shape[1]
        return kind(channels, embedding, params.norm_num_groups, params.ignore_timesteps)

    @classmethod
    def build(cls, params: AsyrpDeltaParams, device: torch.device, precision: torch.dtype, steps: int) -> AsyrpDelta:
        """Load the frozen networks; ``precision`` is that of the UNet's convolutions.

        Raises:
            InputError: weights or tables that cannot be found or do not fit.
        """
        path = store.fetch(params.unet)
        unet = load_denoiser(path, params.norm_num_groups, params.num_head_channels)
        if params.image_size % unet.config.factor:
            raise InputError(f"{path}: image_size is {params.image_size}, expected a multiple of {unet.config.factor}")
        clip = load_clip(params.clip, params.vocabulary).to(device)
        texts = params.both_texts()
        cosine, direction = text_cosine(clip, *texts), text_direction(clip, *texts)
        if not torch.isfinite(direction).all() or direction.norm() < 0.5:
            raise InputError("source_text and target_text are the same to CLIP: there is no direction to train")
        t_edit = params.t_edit
        if t_edit is None:
            assert params.lpips_x0 is not None
            table = read_table(store.fetch(params.lpips_x0))
            t_edit = first_reaching(table, params.edit_threshold * cosine, params.lpips_x0)
        face = None if params.face_weights is None else load_arcface(store.fetch(params.face_weights)).to(device)
        return cls(unet.to(device).cast_torso(precision), clip, params, cosine, direction, t_edit, face)

    def networks(self) -> Mapping[str, nn.Module]:
        """The block alone is trained."""
        return {"block": self.block}

    def optimizers(self) -> Mapping[str, torch.optim.Optimizer]:
        """That of the block."""
        return {"block": self.optimizer}

    def transform(self, stream: str, inputs: Inputs, rng: np.random.Generator) -> Sample:
        """``image`` (3, S, S) in [-1, 1], and ``key``. Nothing random. Raises BadSample without an image."""
        if inputs.image is None:
            raise BadSample("no_image", "asyrp_delta needs an image")
        return {"image": to_square(inputs.image, self.params.image_size, self.params.resample), "key": inputs.key}

    def step(self, batch: Streams, step: int, generator: torch.Generator, updates: Updates) -> Mapping[str, float]:
        """One batch of pictures: an optimizer step at every trained timestep. Losses are means over the timesteps."""
        images, keys = batch["images"]["image"], batch["images"]["key"]
        assert isinstance(images, Tensor)
        losses = self.descend(self._known_of(images, [str(key) for key in keys]), updates)
        names = ["total", "clip", "l1", *(["identity"] if self.face is not None else [])]
        return {name: sum(getattr(loss, name) for loss in losses) / len(losses) for name in names}

    def descend(self, known: Sequence[Known], updates: Updates) -> list[StepLosses]:
        """Walk the edited chain from noise, with one optimizer step at each timestep."""
        x = torch.stack([one.latent for one in known]).to(self.device)
        plain = torch.stack([one.plain for one in known], dim=1).to(self.device)
        features = torch.stack([one.features for one in known]).to(self.device)
        faces = [None] * len(self.plan)
        if self.face is not None:
            faces = torch.stack([one.faces for one in known if one.faces is not None], dim=1).to(self.device).unbind()
        losses = []
        for number, step in enumerate(self.plan):
            with torch.no_grad():
                embedding = self.unet.embed(torch.full((len(x),), float(step.timestep), device=self.device))
                encoded = self.unet.encode(x, embedding)
                noise = self.unet.decode(encoded, embedding)[:, :3]
            # only the decoder carries gradients: nothing trainable comes before it
            moved = type(encoded)(self.shift(encoded.bottleneck, embedding, step.timestep), encoded.skips)
            following, x0 = update(x, noise, self.unet.decode(moved, embedding)[:, :3], step)
            found = self._losses(x0, plain[number], features, faces[number])
            updates.step("block", self.optimizer, loss=found["total"], part=number)
            x = following.detach()
            losses.append(StepLosses(**{name: value.item() for name, value in found.items()}))
        return losses

    def _losses(self, x0: Tensor, plain: Tensor, features: Tensor, faces: Tensor | None) -> dict[str, Tensor]:
        distance = directional_distance(self._unit_features(x0) - features, self.direction)
        clip = -torch.log((2 - distance) / 2)
        l1 = (x0 - plain).abs().flatten(1).mean(dim=1)
        total = self.params.clip_weight * clip + self.params.l1_weight * self.cosine * l1
        found = {"l1": l1.mean(), "clip": distance.mean()}
        if self.face is not None and faces is not None:
            identity = identity_loss(self.face.of_aligned(x0), faces)
            total = total + self.params.id_weight * identity
            found["identity"] = identity.mean()
        return {**found, "total": total.mean()}

    @torch.no_grad()
    def know(self, images: Tensor, latents: Tensor | None = None) -> list[Known]:
        """What stays the same about (B, 3, S, S) pictures; ``latents``, where known, saves their inversion."""
        params = self.params
        if latents is None:
            timesteps = sequence(params.steps_inversion, params.t_0)
            latents = invert(self.unet, images, self.alphas, timesteps)
        x, plain = latents, []
        for step in self.plan:
            noise = plain_noise(self.unet, x, step.timestep)
            x, x0 = update(x, noise, noise, step)
            plain.append(x0)
        features = self._unit_features(images)
        # in host memory: kept for every picture, needed once per pass
        rows = zip(latents.cpu(), torch.stack(plain, dim=1).cpu(), features.cpu(), strict=True)
        known = [Known(*row) for row in rows]
        if self.face is not None:
            faces = torch.stack([self.face.of_aligned(x0) for x0 in plain], dim=1).cpu()
            known = [replace(one, faces=row) for one, row in zip(known, faces, strict=True)]
        return known

    def _known_of(self, images: Tensor, keys: Sequence[str]) -> list[Known]:
        new = [number for number, key in enumerate(keys) if key not in self._known]
        found = dict(zip(new, self._start(images[new], [keys[number] for number in new]), strict=True)) if new else {}
        known = [found[number] if number in found else self._known[key] for number, key in enumerate(keys)]
        for number, one in found.items():
            if len(self._known) < self.params.kept_pictures:
                self._known[keys[number]] = one
        return known

    def _start(self, images: Tensor, keys: Sequence[str]) -> list[Known]:
        """What is known of pictures by their keys, or of those that the model makes of the keys' noise."""
        if self.params.start == "inversion":
            return self.know(images)
        seeds = [sample_seed(0, key) for key in keys]
        noise = Batch(images, seeds).noise(images.shape[1:], "start")
        return self.know(self._made_of(noise), noise)

    def _made_of(self, noise: Tensor) -> Tensor:
        """The pictures (B, 3, S, S) that the model makes of noise, in as many steps as an inversion has."""
        plan = reverse_plan(self.alphas, sequence(self.params.steps_inversion, self.params.t_0), self.t_edit, 0)
        return generate(self.unet, noise, plan, None, _no_noise)

    def _unit_features(self, images: Tensor) -> Tensor:
        return F.normalize(self.clip.encode_images(clip_view(images, self.clip.resolution)), dim=-1)

    @torch.no_grad()
    def validate(self, samples: Mapping[str, Sequence[Sample]]) -> Validation:
        """Mean losses of the finished edits of held-out pictures, and up to four of them beside their edits."""
        held_out = [(sample["image"], str(sample["key"])) for sample in samples.get("images", ())]
        if not held_out:
            return Validation()
        sums, shown = {}, []
        plan = reverse_plan(self.alphas, sequence(self.params.steps_train, self.params.t_0), self.t_edit, 0)
        for image, key in held_out:
            assert isinstance(image, Tensor)
            picture = image[None].to(self.device)
            (known,) = self._start(picture, [key])
            latent = known.latent[None].to(self.device)
            if self.params.start == "noise":
                picture = self._made_of(latent)
            edited = generate(self.unet, latent, plan, self.shift, _no_noise)
            features = known.features[None].to(self.device)
            faces = None if self.face is None else self.face.of_aligned(picture)
            for name, value in self._losses(edited, picture, features, faces).items():
                sums[name] = sums.get(name, 0.0) + value.item() / len(held_out)
            if len(shown) < 4:
                shown.append(np.concatenate([*to_uint8(torch.cat([picture, edited]).clamp(-1, 1))], axis=1))
        return Validation(sums, {"source and edit": np.concatenate(shown)})

    def state_dict(self) -> dict[str, Any]:
        """Block and optimizer; what is known about pictures is computed again."""
        return {"block": self.block.state_dict(), "optimizer": self.optimizer.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from :meth:`state_dict`."""
        self.block.load_state_dict(state["block"])
        self.optimizer.load_state_dict(state["optimizer"])

    def export(
        self, path: Path, averaged: Mapping[str, Mapping[str, Tensor]] | None, metadata: Mapping[str, str]
    ) -> Path:
        """Write a ``.pth`` in the release's format, whatever the ending of ``path``."""
        block = self.block
        if isinstance(block, RecordedShift):
            shifts = RecordedShift(block.by_timestep())
            shifts.load_state_dict(dict(averaged["block"]) if averaged else block.state_dict())
            return save_shifts(path.with_suffix(".pth"), shifts.by_timestep())
        if averaged:
            block = type(block)(*_dimensions(block), self.params.norm_num_groups, self.params.ignore_timesteps)
            block.load_state_dict(dict(averaged["block"]))
        params = self.params
        schedule = torch.optim.lr_scheduler.StepLR(
            torch.optim.SGD(block.parameters(), lr=params.lr), params.lr_every, params.lr_gamma
        ).state_dict()
        # as the release's own would stand after so many passes
        schedule["last_epoch"] = int(metadata.get("steps", 0)) // params.images_per_pass
        return save_delta_block(path.with_suffix(".pth"), block, self.optimizer.state_dict(), schedule)


def directional_distance(image_direction: Tensor, text_direction: Tensor) -> Tensor:
    """(B,) one minus the cosine of (B, D) image directions and the (1, D) unit text direction."""
    length = image_direction.norm(dim=-1, keepdim=True)
    return 1 - (image_direction / (length + 1e-7) * text_direction).sum(dim=-1)


def clip_view(images: Tensor, resolution: int) -> Tensor:
    """(B, 3, H, W) in [-1, 1] -> (B, 3, R, R) in [0, 1]: bicubic without antialias, centre crop, nothing clamped.

    The release's torchvision did not smooth when it made tensors smaller; the losses of its blocks are made so.
    """
    height, width = images.shape[-2:]
    short = min(height, width)
    size = [int(resolution * height / short), int(resolution * width / short)]
    view = F.interpolate((images + 1) / 2, size, mode="bicubic", align_corners=False, antialias=False)
    top, left = round((size[0] - resolution) / 2), round((size[1] - resolution) / 2)
    return view[..., top : top + resolution, left : left + resolution]


def _no_noise(timestep: int) -> Tensor:
    raise AssertionError(f"a process without boost asked for noise at {timestep}")


def _training_plan(alphas: Tensor, timesteps: Sequence[int]) -> list[ReverseStep]:
    """The trained timesteps, noisiest first; the chain ends after the last, so that it goes straight to x0."""
    levels = [1.0, *(float(alphas[t]) for t in timesteps)]
    return [ReverseStep(t, levels[i + 1], levels[i], edited=True) for i, t in reversed(list(enumerate(timesteps)))]


def _dimensions(block: DDPMDeltaBlock | GuidedDeltaBlock) -> tuple[int, int]:
    linear = block.temb_proj if isinstance(block, DDPMDeltaBlock) else block.emb_layers[1]
    assert isinstance(linear, nn.Linear)
    return linear.out_features, linear.in_features
