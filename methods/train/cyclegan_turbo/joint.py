"""CycleGAN-Turbo's losses with one forward pass and one optimizer step for all of them, for small networks.

The losses are those of section 3.3 of arXiv 2403.12036, and for paired data the reconstruction of section 3.2. The
release makes every translation anew for each loss; here one translation serves all of its losses, at about half the
cost of an iteration.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.train.cyclegan_turbo.state import CycleGANTurboState
from methods.train.draws import Draws
from methods.train.losses.patchgan import hinge_for_discriminator, hinge_for_generator
from methods.train.turbo.networks import frozen_for
from methods.train.updates import Updates


class _Side(NamedTuple):
    """One direction of an iteration: ``source`` is translated ``there``; ``real`` are pictures of the other domain.

    For paired data ``real`` is the true counterpart of ``source``, and the PatchGAN sees ``source`` as its condition.
    """

    domain: str
    source: Tensor
    real: Tensor
    there: str
    back: str
    discriminator: str
    condition: Tensor | None


def pass_through(
    training: CycleGANTurboState, a: Tensor, b: Tensor, draws: Draws, updates: Updates
) -> dict[str, float]:
    """One step of the auto-encoder phase: both directions reproduce pictures of both domains.

    Each direction is shown half of either batch; with one picture per batch, its own target domain.
    """
    found, half = dict[str, float](), len(a) // 2
    mixed = {"a2b": b, "b2a": a}
    if half:
        mixed = {"a2b": torch.cat([a[:half], b[half:]]), "b2a": torch.cat([b[:half], a[half:]])}
    for direction, images in mixed.items():
        same = training.generate(images, direction, training.noise(draws, f"same.{direction}", images))
        loss = F.l1_loss(same, images)
        if direction == "a2b":
            updates.backward(loss)
        else:
            training.update("autoencoder", loss, updates)
        found[f"autoencoder_{direction}"] = loss.item()
    return found


def iterate_jointly(
    training: CycleGANTurboState,
    a: Tensor,
    b: Tensor,
    truth: Mapping[str, Tensor] | None,
    draws: Draws,
    updates: Updates,
) -> dict[str, float]:
    """One iteration: a generator step on all losses, then a discriminator step on real and translated pictures.

    Args:
        training: networks, optimizers and parameters.
        a, b: (B, 3, H, W) in [-1, 1].
        truth: by ``a`` and ``b``: the true counterparts of those pictures in the other domain, for paired data.
        draws: random numbers of the step.
        updates: takes the losses and steps the optimizers.
    """
    params, found, fakes = training.params, dict[str, float](), dict[str, Tensor]()
    discriminators, patches = training.discriminators, training.patch_discriminators
    real_b, real_a = (truth["a"], truth["b"]) if truth else (b, a)
    # disc_a looks at what was made for domain B, as in the release
    sides = (
        _Side("a", a, real_b, "a2b", "b2a", "disc_a", a if truth else None),
        _Side("b", b, real_a, "b2a", "a2b", "disc_b", b if truth else None),
    )
    thaw = [frozen_for(network) for network in training.discriminator_networks().values()]
    for side in sides:
        fake = training.generate(side.source, side.there, training.noise(draws, f"fake.{side.there}", side.source))
        losses = dict[str, Tensor]()
        if params.lambda_cycle or params.lambda_cycle_lpips:
            again = training.generate(fake, side.back, training.noise(draws, f"again.{side.there}", side.source))
            cycle = _distance(training, again, side.source, params.lambda_cycle, params.lambda_cycle_lpips)
            losses[f"cycle_{side.domain}"] = cycle
        if truth:
            made = _distance(training, fake, side.real, params.lambda_rec, params.lambda_rec_lpips)
            losses[f"rec_{side.domain}"] = made
        if discriminators:
            answer = discriminators[side.discriminator](fake, "for_G", draws, f"gan.{side.discriminator}")
            losses[f"gan_{side.domain}"] = params.lambda_gan * answer.mean()
        if patches:
            with training.autocast():
                answer = hinge_for_generator(patches[side.discriminator](fake, side.condition))
            losses[f"patch_{side.domain}"] = params.lambda_patch * answer
        last = torch.stack(list(losses.values())).sum()
        found |= {name: loss.item() for name, loss in losses.items()}
        fakes[side.domain] = fake.detach()
        if params.lambda_idt or params.lambda_idt_lpips:
            updates.backward(last)
            noise = training.noise(draws, f"identity.{side.there}", side.real)
            same = training.generate(side.real, side.there, noise)
            last = _distance(training, same, side.real, params.lambda_idt, params.lambda_idt_lpips)
            found[f"idt_{side.domain}"] = last.item()
        if side is sides[-1]:
            training.update("generator", last, updates)
        else:
            updates.backward(last)
    for undo in thaw:
        undo()

    for side in sides:
        losses, fake = dict[str, Tensor](), fakes[side.domain]
        if discriminators:
            network = discriminators[side.discriminator]
            answer = network(fake, "fake", draws, f"fake.{side.discriminator}").mean()
            answer = answer + network(side.real, "real", draws, f"real.{side.discriminator}").mean()
            losses[side.discriminator] = 0.5 * params.lambda_gan * answer
        if patches:
            patch = patches[side.discriminator]
            with training.autocast():
                answer = hinge_for_discriminator(patch(side.real, side.condition), patch(fake, side.condition))
            losses[f"patch_{side.discriminator}"] = answer
        if losses:
            loss = torch.stack(list(losses.values())).sum()
            if side is sides[-1]:
                training.update_discriminators("discriminators", loss, updates)
            else:
                updates.backward(loss)
            found |= {name: each.item() for name, each in losses.items()}
    return found


def _distance(training: CycleGANTurboState, output: Tensor, target: Tensor, l1: float, lpips: float) -> Tensor:
    """Weighted sum of mean absolute difference and perceptual distance."""
    loss = l1 * F.l1_loss(output, target)
    if not lpips:
        return loss
    with training.autocast():
        return loss + lpips * training.distance(output, target).mean()
