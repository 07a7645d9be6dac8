"""CycleGAN-Turbo's losses with one forward pass and one optimizer step for all of them, for small networks.

The losses are those of section 3.3 of arXiv 2403.12036. The release makes every translation anew for each of them; here
one translation serves its cycle and its adversaries, at about half the cost of an iteration.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.train.draws import Draws
from methods.train.objective import Sync
from methods.train.patchgan import hinge_for_discriminator, hinge_for_generator
from methods.train.turbo_networks import frozen_for

if TYPE_CHECKING:
    from methods.train.cyclegan_turbo import CycleGANTurboTraining


def pass_through(training: CycleGANTurboTraining, a: Tensor, b: Tensor, draws: Draws, sync: Sync) -> dict[str, float]:
    """One step of the auto-encoder phase: both directions give back pictures of both domains.

    Each direction is shown half of either batch (with one picture a batch, its own target domain).
    """
    found, half = dict[str, float](), len(a) // 2
    mixed = {"a2b": torch.cat([a[:half], b[half:]]), "b2a": torch.cat([b[:half], a[half:]])}
    for direction, images in mixed.items():
        same = training.generate(images, direction, training.noise(draws, f"same.{direction}", images))
        loss = F.l1_loss(same, images)
        loss.backward()
        found[f"autoencoder_{direction}"] = loss.item()
    found["grad_norm"] = training.update(sync)
    return found


def iterate_jointly(
    training: CycleGANTurboTraining, a: Tensor, b: Tensor, draws: Draws, sync: Sync, *, identity: bool
) -> dict[str, float]:
    """One iteration: a generator step on all losses, then a discriminator step on real and translated pictures.

    Args:
        training: networks, optimizers and parameters.
        a, b: (B, 3, H, W) in [-1, 1].
        draws: random numbers of the step.
        sync: averages gradients over workers.
        identity: whether this iteration has the identity loss.
    """
    params, found, fakes = training.params, dict[str, float](), dict[str, Tensor]()
    judges, patches = training.discriminators, training.patch_judges
    # disc_a judges what was made for domain B, as in the release
    sides = (("a", a, b, "a2b", "b2a", "disc_a"), ("b", b, a, "b2a", "a2b", "disc_b"))

    thaw = [frozen_for(judge) for judge in (*judges.values(), *patches.values())]
    for domain, real, other, there, back, judge in sides:
        fake = training.generate(real, there, training.noise(draws, f"fake.{there}", real))
        again = training.generate(fake, back, training.noise(draws, f"again.{there}", real))
        cycle = params.lambda_cycle * F.l1_loss(again, real)
        cycle = cycle + params.lambda_cycle_lpips * training.distance(again, real).mean()
        fooled = params.lambda_gan * judges[judge](fake, "for_G", draws, f"gan.{judge}").mean()
        loss = cycle + fooled
        if patches:
            placed = params.lambda_patch * hinge_for_generator(patches[judge](fake))
            loss, found[f"patch_{domain}"] = loss + placed, placed.item()
        loss.backward()
        found |= {f"cycle_{domain}": cycle.item(), f"gan_{domain}": fooled.item()}
        fakes[judge] = fake.detach()
        if identity:
            same = training.generate(other, there, training.noise(draws, f"identity.{there}", other))
            kept = params.lambda_idt * F.l1_loss(same, other)
            kept = kept + params.lambda_idt_lpips * training.distance(same, other).mean()
            kept.backward()
            found[f"idt_{domain}"] = kept.item()
    for undo in thaw:
        undo()
    found["grad_norm.generator"] = training.update(sync)

    for _, _, real, _, _, judge in sides:
        told = judges[judge](fakes[judge], "fake", draws, f"fake.{judge}").mean()
        told = told + judges[judge](real, "real", draws, f"real.{judge}").mean()
        loss = 0.5 * params.lambda_gan * told
        found[judge] = loss.item()
        if patches:
            placed = hinge_for_discriminator(patches[judge](real), patches[judge](fakes[judge]))
            loss, found[f"patch_{judge}"] = loss + placed, placed.item()
        loss.backward()
    found["grad_norm.discriminators"] = training.update_judges(sync)
    return found
