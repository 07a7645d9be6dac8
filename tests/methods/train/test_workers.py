"""Two real processes that train one model: the gradients of one process, sent during the backward pass, no hang."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch import Tensor, nn

from methods.train import registry
from methods.train.checkpoint import saved_steps
from methods.train.loop import FitConfig, Fitted, fit
from methods.train.objective import Streams
from methods.train.recipe import Recipe
from methods.train.text_to_image.objective import TextToImageTraining
from methods.train.updates import Updates
from methods.train.workers import Share, agree_on, alone, average_gradients, same_start
from tests.methods.train.test_recipe import CPU, batch, build

ROOT = Path(__file__).resolve().parents[3]
FEW_BYTES = partial(average_gradients, bucket_bytes=64)
"""Buckets so small that even these networks fill several."""


def in_two_processes(place: Path, *parts: str) -> None:
    """Run functions of this file, one after the other, on both sides of a process group."""
    code = f"import tests.methods.train.test_workers as t; t.side({parts!r}, %d, {str(place)!r})"
    both = [subprocess.Popen([sys.executable, "-c", code % rank], cwd=ROOT, env=dict(os.environ)) for rank in (0, 1)]
    try:
        assert [process.wait(timeout=280) for process in both] == [0, 0]
    finally:
        for process in both:
            process.kill()


def side(parts: tuple[str, ...], rank: int, place: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{place}/meet", rank=rank, world_size=2)
    real = dist.all_reduce
    for part in parts:
        globals()[part](rank, Path(place))
        dist.all_reduce = real  # type: ignore[assignment]
    # as Ray Train ends its workers: without it, exit races with the group's own threads and may abort
    dist.barrier()
    dist.destroy_process_group()


def after_the_pass(
    parameters: Sequence[nn.Parameter], complete: Callable[[nn.Parameter], None], backward: Callable[[], None]
) -> None:
    """Gradients one by one, when all is done: what overlapping must not change by a bit."""
    alone(parameters, complete, backward)
    for parameter in parameters:
        if parameter.grad is not None:
            dist.all_reduce(parameter.grad)
            parameter.grad /= 2


def recorded(share: Share, into: list[Tensor]) -> Share:
    def shared(
        parameters: Sequence[nn.Parameter], complete: Callable[[nn.Parameter], None], backward: Callable[[], None]
    ) -> None:
        share(parameters, complete, backward)
        into.append(torch.cat([p.grad.flatten() for p in parameters if p.grad is not None]))

    return shared


def layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(*[nn.Linear(6, 6) for _ in range(4)])


def pictures() -> Tensor:
    return torch.randn(2, 2, 4, 6, generator=torch.Generator().manual_seed(5))


def of_one_process(rank: int, place: Path) -> None:
    """Two batches on two workers against all four pieces at once, with a loss before the last one."""
    x = pictures()
    joined, gradients = layers(), list[Tensor]()
    optimizer = torch.optim.SGD(joined.parameters(), lr=0.1)
    updates = Updates(recorded(alone, gradients))
    updates.backward(joined(x.flatten(0, 2)).square().mean())
    updates.step("only", optimizer, loss=joined(x.flatten(0, 2)).mean())
    network = layers().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    updates = Updates(recorded(FEW_BYTES, gradients), batches=2)
    sent = spied(lambda: None)
    for number in range(2):
        assert not sent
        updates.begin(number)
        updates.backward(network(x[rank, number]).square().mean())
        updates.step("only", optimizer, loss=network(x[rank, number]).mean())
    assert len(sent) == 4
    torch.testing.assert_close(gradients[1], gradients[0])
    for one, other in zip(joined.parameters(), network.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def spied(note: Callable[[], object]) -> list[object]:
    """What ``note`` says at every start of an all-reduce from now on."""
    sent, real = list[object](), dist.all_reduce

    def all_reduce(*args: object, **kwargs: object) -> object:
        sent.append(note())
        return real(*args, **kwargs)  # type: ignore[arg-type]

    dist.all_reduce = all_reduce  # type: ignore[assignment]
    return sent


def during_the_pass(rank: int, place: Path) -> None:
    """Gradients of the last layers are under way before those of the first layer are known."""
    network = layers()
    first = next(network.parameters())
    known: list[bool] = []
    first.register_post_accumulate_grad_hook(lambda parameter: known.append(True))
    sent = spied(lambda: bool(known))
    updates = Updates(FEW_BYTES)
    updates.step(
        "only", torch.optim.SGD(network.parameters(), lr=0.1), loss=network(pictures()[rank, 0]).square().mean()
    )
    assert sent == [False] * 3 + [True]
    # a convolution in another order of memory keeps it: the gradients are views of what was sent
    convolution = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    same_start({"c": convolution})
    mine, joined = convolution(torch.full((1, 3, 4, 4), rank + 1.0)).square().mean(), list[Tensor]()
    strides = list[tuple[int, ...]]()

    def seen(*args: object) -> None:
        average_gradients(*args)  # type: ignore[arg-type]
        assert convolution.weight.grad is not None
        strides.append(convolution.weight.grad.stride())
        joined.append(convolution.weight.grad.clone())

    both = [convolution(torch.full((1, 3, 4, 4), n + 1.0)).square().mean() for n in (0, 1)]
    wanted = torch.autograd.grad(torch.stack(both).mean(), convolution.weight)
    Updates(seen).step("only", torch.optim.SGD(convolution.parameters(), lr=0.1), loss=mine)
    assert strides == [convolution.weight.stride()]
    torch.testing.assert_close(joined[0], wanted[0])


def of_parts(rank: int, place: Path) -> None:
    """Each worker's loss reaches another part of the network, and nobody's the last one."""
    for overlapped in (True, False):
        network = layers()
        before = [parameter.detach().clone() for parameter in network.parameters()]
        x = pictures()[rank, 0]
        loss = network[2](network[rank](x)).square().mean()
        mine = next(network[rank].parameters())
        alone_found = torch.autograd.grad(loss, mine, retain_graph=True)[0]
        optimizer = torch.optim.AdamW(network.parameters(), lr=0.1, weight_decay=0.5)
        gradients = list[Tensor | None]()

        def noted(*args: object, network: nn.Module = network, gradients: list[Tensor | None] = gradients) -> None:
            FEW_BYTES(*args)  # type: ignore[arg-type]
            gradients += [parameter.grad for parameter in network.parameters()]

        updates = Updates(noted)
        if overlapped:
            updates.step("only", optimizer, loss=loss)
        else:
            updates.backward(loss)
            updates.step("only", optimizer)
        assert [gradient is None for gradient in gradients] == [False] * 6 + [True] * 2
        torch.testing.assert_close(gradients[2 * rank], alone_found / 2)
        # what nobody touched does not even decay
        assert all(torch.equal(before[n], list(network.parameters())[n]) for n in (6, 7))
        whole = torch.cat([parameter.detach().flatten() for parameter in network.parameters()])
        both = [torch.empty_like(whole) for _ in range(2)]
        dist.all_gather(both, whole)
        assert torch.equal(both[0], both[1])


def twice_in_a_pass(rank: int, place: Path) -> None:
    """What a reentrant pass would lose is an error on every worker."""
    from torch.utils.checkpoint import checkpoint

    network = layers()
    x = pictures()[rank, 0].requires_grad_()
    again = checkpoint(network, checkpoint(network, x, use_reentrant=True), use_reentrant=True)
    with pytest.raises(RuntimeError, match="a gradient came twice in one backward pass"):
        Updates(FEW_BYTES).step("only", torch.optim.SGD(network.parameters(), lr=0.1), loss=again.sum())
    # by backward alone it is what one process makes of it
    network = layers()
    again = checkpoint(network, checkpoint(network, x, use_reentrant=True), use_reentrant=True)
    updates = Updates(FEW_BYTES)
    updates.backward(again.sum())
    updates.step("only", torch.optim.SGD(network.parameters(), lr=0.1))


def of_one_or_two_networks(rank: int, place: Path) -> None:
    to_the_bit(rank, "clip", "pix2pix")
    of_latents(rank)


def of_latents(rank: int) -> None:
    """The text-to-image model's autoencoder: two workers with two batches each against one batch of all pictures."""
    draw = torch.Generator().manual_seed(1)
    # pictures of another brightness and contrast on each worker: the deviation of all is the mean of none
    pieces = [scale * torch.rand(2, 3, 32, 32, generator=draw) + shift for scale, shift in ((1, -1), (0.1, 0.5)) * 2]
    ids = torch.zeros(8, 77, dtype=torch.int64)
    found = []
    for share, batches, mine in ((alone, [torch.cat(pieces)], 1), (FEW_BYTES, pieces[rank::2], 2)):
        objective = build("text_to_image")
        assert isinstance(objective, TextToImageTraining)
        # sampled latents would be others in another batch
        objective._noise = lambda shape, generator: torch.zeros(tuple(shape))
        updates = Updates(share, batches=mine)
        for number, images in enumerate(batches):
            updates.begin(number)
            rows = {"captioned": {"image": images, "ids": ids[: len(images)]}}
            objective.step(rows, 0, torch.Generator().manual_seed(number), updates)
        found.append((objective.deviation, torch.cat([p.detach().flatten() for p in objective.vae.parameters()])))
    (whole, weights), (deviation, shared) = found
    assert whole != 1
    assert deviation == pytest.approx(whole, rel=1e-6)
    torch.testing.assert_close(shared, weights)
    both = [torch.empty(1, dtype=torch.float64) for _ in range(2)]
    dist.all_gather(both, torch.tensor([deviation], dtype=torch.float64))
    assert torch.equal(*both)


def of_a_gradient_s_gradient(rank: int, place: Path) -> None:
    to_the_bit(rank, "piti_upsampler")


def to_the_bit(rank: int, *names: str) -> None:
    """An iteration of two batches of an objective, against gradients that are averaged when all is done."""
    for name in names:
        found = []
        for share in (after_the_pass, FEW_BYTES):
            objective = build(name)
            updates = Updates(share, batches=2)
            for number in range(2):
                updates.begin(number)
                draw = torch.Generator().manual_seed(10 * number + rank)
                torch.manual_seed(draw.initial_seed())
                objective.step(batch(name, 2 * number + rank), 0, draw, updates)
            found.append([p.detach() for network in objective.networks().values() for p in network.parameters()])
        for one, other in zip(*found, strict=True):
            assert torch.equal(one, other), name


def resumed(rank: int, place: Path) -> None:
    assert agree_on(7 + rank, torch.device("cpu")) == 7

    def batches(number: int) -> Streams:
        generator = torch.Generator().manual_seed(10 * number + rank)
        return {"a": {"image": torch.rand(2, 3, 8, 8, generator=generator)}}

    def trained(name: str, steps: int, stop: Callable[[], bool] = lambda: False) -> Fitted:
        torch.manual_seed(rank)
        objective = registry.build("toy_colour", {}, CPU, torch.float32, steps)
        recipe = Recipe(ema=0.9, accumulate=2, schedule="cosine", memory_format="channels_last")
        config = FitConfig(place / name, steps, recipe, checkpoint_every=2, log_every=1, rank=rank, world=2)
        return fit(objective, batches, config, stop=stop)

    assert trained("whole", 5).step == 5
    asked = iter([False, False, True])
    # one of them is asked: both stop at the same step
    assert trained("parts", 5, (lambda: next(asked)) if rank else lambda: False).step == 3
    assert trained("parts", 5).started_at == 3


PARTS = (
    "of_one_process",
    "during_the_pass",
    "of_parts",
    "twice_in_a_pass",
    "of_one_or_two_networks",
    "of_a_gradient_s_gradient",
    "resumed",
)


@pytest.mark.slow
def test_two_workers_train_as_one_stop_together_and_resume_to_the_bit(tmp_path: Path) -> None:
    # All in one pair of processes: starting it takes longer than any part. The traceback names the one that failed.
    in_two_processes(tmp_path, *PARTS)
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert one.keys() == two.keys()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert saved_steps(tmp_path / "parts") == [4, 5]
