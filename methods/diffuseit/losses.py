"""DiffuseIT's losses (section 3), in the exact forms of the official code. All are (B,), one value per sample."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_TEMPERATURE = 0.07


def self_similarity(keys: Tensor) -> Tensor:
    """(B, N, N) cosines between the keys (B, N, D) of each picture; the product of norms is at least 1e-8."""
    norms = keys.norm(dim=-1, keepdim=True)
    return keys @ keys.mT / (norms * norms.mT).clamp(min=1e-8)


def structure_loss(keys: Tensor, source_similarity: Tensor) -> Tensor:
    """Mean squared difference of the self-similarities (equation 6)."""
    return (self_similarity(keys) - source_similarity).square().mean(dim=(1, 2))


def contrastive_loss(keys: Tensor, source_keys: Tensor) -> Tensor:
    """Contrastive loss: each key is pulled to the source's key at its own place, away from all others (equation 7)."""
    found, source = F.normalize(keys, dim=-1), F.normalize(source_keys, dim=-1)
    cosines = found @ source.mT
    own = cosines.diagonal(dim1=1, dim2=2)
    # the official code keeps the place of the positive among the negatives, with a value that counts for nothing
    masked = torch.eye(cosines.shape[1], dtype=torch.bool, device=cosines.device)
    others = cosines.masked_fill(masked, -10.0)
    logits = torch.cat([own.unsqueeze(-1), others], dim=-1) / _TEMPERATURE
    return (logits.logsumexp(dim=-1) - logits[..., 0]).mean(dim=1)


def semantic_divergence(cls: Tensor, previous: Tensor) -> Tensor:
    """Minus the mean squared distance of the class tokens of this and the previous prediction (equation 10)."""
    return -(cls - previous).square().mean(dim=1)


def style_loss(cls: Tensor, target_cls: Tensor) -> Tensor:
    """Mean squared distance to the target's class token (equation 9)."""
    return (cls - target_cls).square().mean(dim=1)


def target_loss(images: Tensor, target: Tensor) -> Tensor:
    """Mean squared distance to the target picture."""
    return (images - target).square().mean(dim=(1, 2, 3))


def range_loss(images: Tensor) -> Tensor:
    """Mean squared distance to [-1, 1]."""
    return (images - images.clamp(-1, 1)).square().mean(dim=(1, 2, 3))


def identity_loss(features: Tensor, source_features: Tensor) -> Tensor:
    """One minus the cosine of two unit face features (B, 512)."""
    return 1 - (features * source_features).sum(dim=1)
