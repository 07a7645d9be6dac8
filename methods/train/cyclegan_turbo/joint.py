"""CycleGAN-Turbo's losses with one forward pass and one optimizer step for all of them, for small networks.

The losses are those of section 3.3 of arXiv 2403.12036. The release makes every translation anew for each of them; here
one translation serves its cycle and its adversaries, at about half the cost of an iteration.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from methods.errors import InputError
from methods.train.cyclegan_turbo.label_maps import Annotations
from methods.train.cyclegan_turbo.state import CycleGANTurboState
from methods.train.cyclegan_turbo.tone import carried, tones_apart
from methods.train.draws import Draws
from methods.train.losses.patchgan import hinge_for_discriminator, hinge_for_generator
from methods.train.objective import Sync
from methods.train.turbo.networks import frozen_for

Known = Mapping[str, Annotations | None]
"""By ``a`` and ``b``: what is known of the pictures, where training has labels."""


def pass_through(
    training: CycleGANTurboState, a: Tensor, b: Tensor, known: Known, draws: Draws, sync: Sync
) -> dict[str, float]:
    """One step of the auto-encoder phase: both directions give back pictures of both domains.

    Each direction is shown half of either batch (with one picture a batch, its own target domain). The nets that know a
    domain's tones learn already.
    """
    found, half = dict[str, float](), len(a) // 2
    mixed = {"a2b": torch.cat([a[:half], b[half:]]), "b2a": torch.cat([b[:half], a[half:]])}
    for direction, images in mixed.items():
        same = training.generate(images, direction, training.noise(draws, f"same.{direction}", images))
        loss = F.l1_loss(same, images)
        loss.backward()
        found[f"autoencoder_{direction}"] = loss.item()
    found["grad_norm"] = training.update(sync)
    if training.tones:
        for judge, real, told in (("disc_a", b, known["b"]), ("disc_b", a, known["a"])):
            assert told is not None
            expected = training.tones[judge].apart(real, told.planes, scale=told.scale)
            expected.backward()
            found[f"tone_{judge}"] = expected.item()
        training.update_judges(sync)
    return found


def iterate_jointly(
    training: CycleGANTurboState,
    a: Tensor,
    b: Tensor,
    known: Known,
    draws: Draws,
    sync: Sync,
    step: int,
) -> dict[str, float]:
    """One iteration: a generator step on all losses, then a discriminator step on real and translated pictures.

    Args:
        training: networks, optimizers and parameters.
        a, b: (B, 3, H, W) in [-1, 1].
        known: what patch judges and tones see beside a picture or its translation.
        draws: random numbers of the step.
        sync: averages gradients over workers.
        step: number of the iteration: not every one has all losses (``cycle_every``, ``identity_every``).
    """
    params, found, fakes = training.params, dict[str, float](), dict[str, Tensor]()
    cycling = bool(params.lambda_cycle or params.lambda_cycle_lpips) and step % params.cycle_every == 0
    identity = bool(params.lambda_idt or params.lambda_idt_lpips) and step % params.identity_every == 0
    if params.lambda_keep and training.kept is None:
        raise InputError("lambda_keep keeps the detail of an earlier training: name it in continue_from")
    judges, patches = training.discriminators, training.patch_judges
    # disc_a judges what was made for domain B, as in the release
    sides = (("a", a, b, "a2b", "b2a", "disc_a"), ("b", b, a, "b2a", "a2b", "disc_b"))

    thaw = [frozen_for(judge) for judge in (*judges.values(), *patches.values(), *training.tones.values())]
    for domain, real, other, there, back, judge in sides:
        noise, told = training.noise(draws, f"fake.{there}", real), known[domain]
        fake = training.generate(real, there, noise)
        losses = dict[str, Tensor]()
        if cycling:
            again = training.generate(fake, back, training.noise(draws, f"again.{there}", real))
            losses[f"cycle_{domain}"] = params.lambda_cycle * F.l1_loss(again, real)
            if params.lambda_cycle_lpips:
                losses[f"cycle_{domain}"] += params.lambda_cycle_lpips * training.distance(again, real).mean()
        if judges:
            losses[f"gan_{domain}"] = params.lambda_gan * judges[judge](fake, "for_G", draws, f"gan.{judge}").mean()
        if patches:
            placed = hinge_for_generator(patches[judge](fake, told.labels if told else None))
            losses[f"patch_{domain}"] = params.lambda_patch * placed
        if told is not None and training.tones:
            expected = expected_tones(training, real, told, there, judge)
            shrink = params.tone_shrink // told.scale
            weights = _weights(told.labels, shrink, params.tone_weights) if params.tone_weights else None
            away = tones_apart(fake, expected, shrink, params.tone_detail, params.tone_coarser, weights)
            losses[f"tone_{domain}"] = params.lambda_tone * away
        if training.kept is not None:
            scale = params.scales[step % len(params.scales)]
            wanted = training.kept.wanted(real, training.embeddings[there], noise, there, scale)
            losses[f"keep_{domain}"] = params.lambda_keep * training.kept.apart(fake, wanted, scale)
        torch.stack(list(losses.values())).sum().backward()
        found |= {name: loss.item() for name, loss in losses.items()}
        fakes[judge] = fake.detach()
        if identity:
            same = training.generate(other, there, training.noise(draws, f"identity.{there}", other))
            kept = params.lambda_idt * F.l1_loss(same, other)
            if params.lambda_idt_lpips:
                kept = kept + params.lambda_idt_lpips * training.distance(same, other).mean()
            kept.backward()
            found[f"idt_{domain}"] = kept.item()
    for undo in thaw:
        undo()
    found["grad_norm.generator"] = training.update(sync)

    # a judge compares what was made of one domain with the pictures of the other
    for (made_of, _, other, _, _, judge), (shown, *_) in zip(sides, reversed(sides), strict=True):
        losses, told, of_fake = dict[str, Tensor](), known[shown], known[made_of]
        if judges:
            answer = judges[judge](fakes[judge], "fake", draws, f"fake.{judge}").mean()
            answer = answer + judges[judge](other, "real", draws, f"real.{judge}").mean()
            losses[judge] = 0.5 * params.lambda_gan * answer
        if patches:
            real = patches[judge](other, told.labels if told else None)
            fake = patches[judge](fakes[judge], of_fake.labels if of_fake else None)
            losses[f"patch_{judge}"] = hinge_for_discriminator(real, fake)
        if told is not None and training.tones:
            losses[f"tone_{judge}"] = training.tones[judge].apart(other, told.planes, scale=told.scale)
        if losses:
            torch.stack(list(losses.values())).sum().backward()
            found |= {name: loss.item() for name, loss in losses.items()}
    if training.judge_optimizers:
        found["grad_norm.discriminators"] = training.update_judges(sync)
    return found


@torch.no_grad()
def expected_tones(training: CycleGANTurboState, real: Tensor, told: Annotations, there: str, judge: str) -> Tensor:
    """What tones a translation of ``real``, (B, 3, H, W) in [-1, 1], shall have.

    Args:
        training: networks and parameters.
        real: what is translated.
        told: its annotations.
        there: the direction; its ``carry_a2b`` or ``carry_b2a`` says whose surfaces go over.
        judge: the one that knows the other domain.
    """
    params = training.params
    expected = training.tones[judge](told.planes, told.scale)
    classes = params.carry_a2b if there == "a2b" else params.carry_b2a
    if not classes:
        return expected
    (other,) = {*training.tones} - {judge}
    shrink = params.tone_shrink // told.scale
    of_these = F.avg_pool2d(told.labels[:, list(classes)].sum(1, keepdim=True), shrink)
    usual = training.tones[other](told.planes, told.scale)
    return carried(expected, F.avg_pool2d(real, shrink), usual, params.carry_share * of_these)


def _weights(labels: Tensor, shrink: int, by_class: Mapping[int, float]) -> Tensor:
    """How many times places count: ``labels`` (B, classes, H, W) -> (B, 1, H / shrink, W / shrink)."""
    more = sum((labels[:, number] * (weight - 1.0) for number, weight in by_class.items()), labels.new_tensor(1.0))
    return F.avg_pool2d(more[:, None], shrink)
