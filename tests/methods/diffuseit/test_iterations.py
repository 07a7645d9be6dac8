"""Results one after the other, each with the guidance's state of the one before: the release's loop by hand.

No official run with several iterations was recorded: what its last guidance leaves is computed here by itself.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from methods.base import Batch
from methods.diffuseit.guidance import Guidance
from methods.diffuseit.method import DiffuseIT
from methods.errors import InputError

STEPS: dict[str, Any] = {"timestep_respacing": "8", "skip_timesteps": 3, "diff_iter": 0, "lambda_dir_cls": 50.0}


def pictures(count: int) -> Tensor:
    coarse = torch.rand(count, 3, 6, 6, generator=torch.Generator().manual_seed(4)) * 2 - 1
    return torch.nn.functional.interpolate(coarse, (48, 48), mode="bilinear")


@pytest.mark.parametrize("name", ["text_run", "image_run"])
def test_the_second_result_begins_with_what_the_first_one_left(load, name: str) -> None:
    options = {**STEPS, "use_colormatch": False, "regularize_content": name == "text_run"}
    method: DiffuseIT = load(name, **options)
    batch = Batch(pictures(1), seeds=[5])
    found = load(name, **options, iterations_num=2).translate(batch)

    last: dict[int, tuple[Tensor, Tensor]] = {}
    calls = 0

    def watch(samples: Tensor, index: Tensor, x: Tensor, clean: Tensor) -> None:
        nonlocal calls
        calls += 1
        last[int(index)] = (x.clone(), clean.clone())

    def run(guidance: Guidance, prefix: str) -> Tensor:
        sampler = method.sampler()
        sampler.watch = watch
        shape = batch.inputs.shape[1:]
        return sampler(batch.inputs.clone(), guidance, lambda stream: batch.noise(shape, prefix + stream)).clamp(-1, 1)

    def guidance(iteration: int) -> Guidance:
        cuts = partial(method._cuts, batch, iteration)
        return Guidance(method.networks, method.params, batch.inputs.clone(), method.signal, cuts)

    first = guidance(0)
    assert torch.equal(run(first, ""), method.translate(batch))
    # the picture that the guidance at index 0 sees: x of the step before, and its prediction
    share = float((1 - method.signal[0]).sqrt())
    mixed = share * last[0][1] + (1 - share) * last[1][0]
    seen = mixed if method.params.use_noise_aug_all else last[0][1]
    fresh, carried = guidance(1), guidance(1)
    with torch.no_grad():
        carried.previous_cls = method.networks.dino(seen).cls
        if method.networks.clip is not None:
            call = torch.tensor([calls - 1])
            cuts = method._cuts(batch, 0, torch.tensor([0]), call)
            carried.previous_clip = method.networks.clip.loss(mixed, first.targets, cuts)
    wanted = run(carried, "iteration_1.")
    assert float((found - wanted).norm() / wanted.norm()) < 1e-4
    assert float((run(fresh, "iteration_1.") - wanted).norm() / wanted.norm()) > 1e-3
    assert float((method.translate(batch) - wanted).norm() / wanted.norm()) > 0.01


def test_a_batch_is_its_samples(load) -> None:
    method = load("image_run", **STEPS, use_colormatch=False, iterations_num=2)
    images = pictures(2)
    together = method.translate(Batch(images, seeds=[1, 2]))
    for number in range(2):
        alone = method.translate(Batch(images[number : number + 1], seeds=[number + 1]))
        assert float((together[number] - alone[0]).norm() / alone.norm()) < 1e-3


def test_no_iteration_at_all_is_refused(load) -> None:
    with pytest.raises(InputError, match=r"params\.iterations_num: .*greater than or equal to 1") as error:
        load("image_run", iterations_num=0)
    assert "\n" not in str(error.value)
