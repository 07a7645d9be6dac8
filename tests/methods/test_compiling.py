"""Compiled methods give what uncompiled ones give; nothing is compiled twice for one shape."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch._dynamo.utils import counters

import methods
from methods import compiling
from methods.base import Batch, Inputs, Method
from methods.compiling import compile_heavy, is_compile_error
from methods.errors import InputError
from tests.methods.diffusers.conftest import models
from tests.methods.piti.conftest import native, tiny_base, tiny_upsampler

__all__ = ["models", "native", "tiny_base", "tiny_upsampler"]
GOLDEN = Path(__file__).parents[1] / "golden"
TINY = str(GOLDEN / "pix2pix_zero" / "models" / "tiny_a")
ASYRP = GOLDEN / "asyrp" / "ddpm_edit6"


def asyrp(_: pytest.FixtureRequest) -> Method:
    return methods.load(
        "asyrp",
        weights=str(ASYRP / "unet_official_layout.safetensors"),
        attributes=[{"block": str(ASYRP / "delta.pth")}],
        t_edit=400,
        t_boost=250,
        steps=4,
        steps_inversion=4,
        norm_num_groups=8,
        num_head_channels=64,
        image_size=64,
    )


def cyclegan_turbo(_: pytest.FixtureRequest) -> Method:
    weights, base = GOLDEN / "turbo" / "_weights" / "cyclegan_turbo.pkl", GOLDEN / "turbo" / "_weights"
    return methods.load(
        "cyclegan_turbo",
        weights=str(weights),
        base=str(base),
        direction="a2b",
        caption="driving in the night",
        image_prep="no_resize",
    )


def diffusers(request: pytest.FixtureRequest) -> Method:
    folder = request.getfixturevalue("models")("sd")
    return methods.load("diffusers", weights=str(folder), prompt="a cat", steps=3, image_prep="no_resize")


def pix2pix_turbo(_: pytest.FixtureRequest) -> Method:
    return methods.load("pix2pix_turbo", preset="street_edges")


def pix2pix_zero(_: pytest.FixtureRequest) -> Method:
    return methods.load("pix2pix_zero", weights=TINY, source="cat", target="dog", image_prep="no_resize", steps=4)


def piti(request: pytest.FixtureRequest) -> Method:
    weights = request.getfixturevalue("native")
    return methods.load("piti", weights=str(weights), steps="ddim3", upsampler_steps="ddim2", condition="coco_stuff")


def self_guidance(_: pytest.FixtureRequest) -> Method:
    move = {"edit": "move", "words": ["cat"], "by": [0.3, 0.0]}
    return methods.load("self_guidance", weights=TINY, edits=[move], steps=4, strength=100.0, image_prep="no_resize")


BUILD: dict[str, Callable[[pytest.FixtureRequest], Method]] = {
    made.__name__: made for made in (asyrp, cyclegan_turbo, diffusers, pix2pix_turbo, pix2pix_zero, piti, self_guidance)
}


SHORT = ("cyclegan_turbo", "piti")
"""One of one step and one sampler; compiling the others takes minutes."""


def batch_of(method: Method, count: int) -> Batch:
    random = np.random.default_rng(3)
    if "condition" in method.info.inputs:
        stored = [random.integers(0, 182, (32, 32), np.uint8) for _ in range(count)]
        inputs = [Inputs(f"{n}", None, None, {}, stored=each) for n, each in enumerate(stored)]
    else:
        pictures = random.integers(0, 256, (count, 64, 64, 3), np.uint8)
        inputs = [Inputs(f"{n}", each, "a cat") for n, each in enumerate(pictures)]
    tensors = torch.stack([method.prepare(each) for each in inputs])
    return Batch(tensors, list(range(count)), [each.key for each in inputs], ["a cat"] * count, [{}] * count)


@pytest.fixture(autouse=True)
def _anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))
    torch._dynamo.reset()
    counters.clear()
    yield
    torch._dynamo.reset()


def test_every_method_that_says_so_is_tried_here() -> None:
    ours = {name: info for name, info in methods.registered().items() if info.implementation.startswith("methods.")}
    assert {name for name, info in ours.items() if info.compiles} == BUILD.keys()


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.long] * (name not in SHORT)) for name in sorted(BUILD)]
)
def test_compiled_is_what_it_was(name: str, request: pytest.FixtureRequest) -> None:
    method = BUILD[name](request)
    batch = batch_of(method, 2)
    with torch.inference_mode():
        plain = method.translate(batch)
    # what dynamo and AOT autograd make of the networks, without waiting for machine code
    compile_heavy(method, "aot_eager")
    with torch.inference_mode():
        first = method.translate(batch)
        graphs = counters["stats"]["unique_graphs"]
        assert graphs >= len(method.heavy())  # type: ignore[attr-defined]
        again = method.translate(batch)
    assert torch.allclose(first, plain, atol=1e-3)
    assert torch.equal(first, again)
    # steps of a sampler and later batches are no reason to compile anew
    assert counters["stats"]["unique_graphs"] == graphs


def test_a_padded_batch_repeats_its_last_sample() -> None:
    batch = Batch(torch.arange(6.0).reshape(2, 3), [5, 6], ["a", "b"], [None, "x"], [], {"latent": torch.ones(2, 1)})
    longer = batch.padded(4)
    assert longer.inputs.tolist() == [[0, 1, 2], [3, 4, 5], [3, 4, 5], [3, 4, 5]]
    assert (longer.seeds, longer.keys) == ([5, 6, 6, 6], ["a", "b", "b", "b"])
    assert (longer.captions, longer.columns, len(longer.draws["latent"])) == ([None, "x", "x", "x"], [], 4)
    assert batch.padded(2) is batch


def test_what_cannot_be_compiled_is_said(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    method = asyrp(request)

    def broken(graph: Any, inputs: Any) -> Any:
        raise RuntimeError("no C++ compiler here")

    with pytest.raises(InputError, match=r"cannot compile on this machine .*no C\+\+ compiler here") as error:
        compile_heavy(method, broken)  # type: ignore[arg-type]
    assert "\n" not in str(error.value)
    monkeypatch.setattr(compiling, "_probe", lambda device, backend: None)
    compile_heavy(method, broken)  # type: ignore[arg-type]
    with torch.inference_mode(), pytest.raises(Exception, match=r"no C\+\+ compiler here") as failed:
        method.translate(batch_of(method, 1))
    assert is_compile_error(failed.value)
    assert not is_compile_error(ValueError("x"))
