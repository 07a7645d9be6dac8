"""The gradient that steers a denoising step: all losses on one prediction, fixed parts computed once per image."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from methods.diffuseit.clip_loss import ClipEnsemble, CutsOf
from methods.diffuseit.losses import (
    contrastive_loss,
    identity_loss,
    range_loss,
    self_similarity,
    semantic_divergence,
    structure_loss,
    style_loss,
    target_loss,
)
from methods.diffuseit.params import DiffuseITParams
from methods.nn.arcface import ArcFace
from methods.nn.dino import Dino

# CLIP is half content when its loss is below this
_CONTENT = -0.5


@dataclass(frozen=True)
class GuidanceNetworks:
    """The frozen networks, and what is fixed for a job.

    Attributes:
        clip: with a prompt.
        target, target_cls: (1, 3, S, S) and (1, D) of the target picture, with one.
        face: with ``face_weights``.
    """

    dino: Dino
    clip: ClipEnsemble | None = None
    target: Tensor | None = None
    target_cls: Tensor | None = None
    face: ArcFace | None = None


@dataclass(frozen=True)
class GuidanceLosses:
    """Of one prediction, one value per sample. ``total`` is weighted, the others are not."""

    total: Tensor
    range: Tensor
    clip: Tensor | None
    cls: Tensor


class Guidance:
    """Steers the samples of one batch; lives as long as their denoising.

    Args:
        networks: frozen networks and target.
        params: weights.
        images: (B, 3, S, S) sources in [-1, 1].
        signal: (N,) cumulative alphas of the respaced process.
        cuts_of: (samples, calls, model) -> cuts; samples are numbers in the batch, calls how often each was guided.
    """

    def __init__(
        self,
        networks: GuidanceNetworks,
        params: DiffuseITParams,
        images: Tensor,
        signal: Tensor,
        cuts_of: Callable[[Tensor, Tensor], CutsOf],
    ) -> None:
        self.networks, self.params, self.signal, self.cuts_of = networks, params, signal, cuts_of
        with torch.no_grad():
            source = networks.dino(images)
            self.source_keys = source.keys
            self.source_similarity = self_similarity(source.keys)
            # the divergence is first taken from the source itself
            self.previous_cls = source.cls.clone()
            self.source_face = networks.face.of_aligned(images) if networks.face is not None else None
            self.targets: list[Tensor] = []
            self.previous_clip = torch.zeros(len(images), device=images.device)
            if networks.clip is not None:
                self.targets = networks.clip.targets(images)
                self.previous_clip = networks.clip.loss(images, self.targets, lambda model: None)

    def __call__(
        self, x: Tensor, clean: Tensor, index: Tensor, samples: Tensor, calls: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The gradient to add, and who should start again.

        Args:
            x: (n, 3, S, S) noisy, a leaf that requires gradients.
            clean: (n, 3, S, S) its prediction, made from ``x`` with gradients.
            index: (n,) in the respaced process.
            samples: (n,) numbers of the samples in the batch.
            calls: (n,) how often each was guided before.

        Returns:
            (n, 3, S, S) minus the gradient of the losses with respect to ``x``, and (n,) bool.
        """
        losses = self.losses(x, clean, index, samples, calls)
        (gradient,) = torch.autograd.grad(losses.total.sum(), x)
        self.previous_cls[samples] = losses.cls.detach()
        if losses.clip is not None:
            self.previous_clip[samples] = losses.clip.detach()
        # the official threshold is on the weighted loss
        far = self.params.range_lambda * losses.range.detach() > restart_threshold(self.params)
        return -gradient, far & self.params.use_range_restart

    def losses(self, x: Tensor, clean: Tensor, index: Tensor, samples: Tensor, calls: Tensor) -> GuidanceLosses:
        """All losses that are in force, summed with their weights."""
        params, networks = self.params, self.networks
        share = (1 - self.signal[index]).sqrt().view(-1, 1, 1, 1)
        mixed = share * clean + (1 - share) * x
        seen = mixed if params.use_noise_aug_all else clean
        outside = range_loss(clean)
        total = params.range_lambda * outside
        features = networks.dino(seen)
        total = total + params.lambda_ssim * structure_loss(features.keys, self.source_similarity[samples])
        contrast = contrastive_loss(features.keys, self.source_keys[samples])
        total = total + params.lambda_contra_ssim * self._content_factor(samples) * contrast
        diverging = (index > params.diff_iter).float()
        if diverging.any():
            divergence = semantic_divergence(features.cls, self.previous_cls[samples])
            total = total + params.lambda_dir_cls * diverging * divergence
        if networks.target is not None and networks.target_cls is not None:
            total = total + params.lambda_trg * style_loss(features.cls, networks.target_cls)
            total = total + params.l2_trg_lambda * target_loss(seen, networks.target)
        clip = None
        if networks.clip is not None:
            targets = [target[samples] for target in self.targets]
            clip = networks.clip.loss(mixed, targets, self.cuts_of(samples, calls))
            total = total + params.clip_guidance_lambda * clip
        if networks.face is not None and self.source_face is not None:
            identity = identity_loss(networks.face.of_aligned(seen), self.source_face[samples])
            total = total + params.id_lambda * identity
        return GuidanceLosses(total, outside, clip, features.cls)

    def _content_factor(self, samples: Tensor) -> Tensor:
        """On the contrastive loss, from the CLIP loss of the call before."""
        before = self.previous_clip[samples]
        factor = torch.ones_like(before)
        if self.params.use_prog_contrast:
            factor = torch.where(before > _CONTENT, 0.5, factor)
        if self.params.regularize_content:
            factor = torch.where(before < _CONTENT, 2.0, factor)
        return factor


def restart_threshold(params: DiffuseITParams) -> float:
    """The weighted range loss above which a sample starts again."""
    if params.restart_threshold is not None:
        return params.restart_threshold
    return 0.01 if params.face_weights is None else 0.1
