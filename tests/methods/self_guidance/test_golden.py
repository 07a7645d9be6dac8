"""The recorded energies, gradients and guided runs: the paper's formulas, and the author's notebook."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.autoencoders.autoencoder_kl import AutoencoderKL

from methods.nn.ddim import sampling_plan
from methods.nn.stable_diffusion import StableDiffusion
from methods.self_guidance import notebook, properties
from methods.self_guidance.energy import Distance, Formulas, Observation, Term, energy
from methods.self_guidance.sampling import GuidedStep, Prompt, Watch, guided_sampling
from methods.self_guidance.tokens import columns
from methods.self_guidance.warp_spec import Warp
from tests.support.golden_case import GoldenCase

TERMS = [
    ("paper00_centroid", Term("centroid", (1,), to=(0.3, 0.6))),
    ("paper01_centroid", Term("centroid", (1, 2), by=(0.2, -0.1))),
    ("paper02_size", Term("size", (2,), to=(0.35,))),
    ("paper03_size", Term("size", (1, 3), factor=1.5)),
    ("paper04_shape", Term("shape", (1, 4))),
    ("paper05_appearance", Term("appearance", (1, 2))),
    ("demo00_centroid", Term("centroid", (1,), to=(0.3, 0.6))),
    ("demo01_centroid", Term("centroid", (1, 2), by=(0.2, -0.1))),
    ("demo02_size", Term("size", (2,), to=(0.35,))),
    ("demo03_size", Term("size", (1, 3), by=(0.1,))),
    ("demo04_silhouette", Term("shape", (1,))),
    ("demo05_silhouette", Term("shape", (2,), warp=Warp(0.2, -0.1, 1.3, 0.8, 20.0))),
    ("demo06_appearance", Term("appearance", (1, 2))),
    ("demo07_centroid", Term("centroid", (4,), to=(0.5, 0.5))),
]


@pytest.mark.parametrize(("name", "term"), TERMS, ids=[name for name, _ in TERMS])
def test_terms_and_their_gradients(cases: Path, name: str, term: Term) -> None:
    case = GoldenCase(cases / "terms")
    leaves = {each: case.inputs[each].clone().requires_grad_() for each in ("attn_layer0", "attn_layer1", "feats")}
    seen = Observation((leaves["attn_layer0"], leaves["attn_layer1"]), leaves["feats"])
    source = Observation((case.inputs["tgt_attn_layer0"], case.inputs["tgt_attn_layer1"]), case.inputs["tgt_feats"])
    distance: Distance = "l2" if name == "demo07_centroid" else "l1"
    loss = energy(term, seen, source, "paper" if name.startswith("paper") else "notebook", distance)
    assert loss.shape == (1,)
    assert abs(loss.item() - float(case.expected[f"{name}.loss"])) <= 1e-6
    gradients = torch.autograd.grad(loss.sum(), list(leaves.values()), allow_unused=True)
    for each, gradient in zip(leaves, gradients, strict=True):
        if f"{name}.grad_{each}" in case.expected:
            assert gradient is not None
            case.check(gradient, f"{name}.grad_{each}", 1e-5)
        else:
            assert gradient is None or gradient.abs().max() == 0


def test_properties(cases: Path) -> None:
    case = GoldenCase(cases / "terms")
    maps, last, features = (case.inputs[name] for name in ("attn_layer0", "attn_layer1", "feats"))
    case.check(properties.centroid(maps), "property.centroid_layer0", 1e-6)
    case.check(properties.size(maps), "property.size_layer0", 1e-6)
    case.check(properties.shape(maps)[..., 1], "property.soft_layer0_tok1", 1e-6)
    case.check(properties.appearance(last, features), "property.appearance", 1e-6)
    case.check(notebook.centroid(maps), "property.demo_centroid_layer0", 1e-6)


def test_appearance_can_be_differentiated_through_its_mask(cases: Path) -> None:
    case = GoldenCase(cases / "terms")
    maps, features = case.inputs["attn_layer1"].clone().requires_grad_(), case.inputs["feats"].clone().requires_grad_()
    wanted = properties.appearance(case.inputs["tgt_attn_layer1"][..., [3]], case.inputs["tgt_feats"])
    loss = (properties.appearance(maps[..., [3]], features) - wanted).abs().mean()
    gradients = torch.autograd.grad(loss, [maps, features])
    case.check(gradients[0], "paper06_appearance.grad_attn_layer1", 1e-5)
    case.check(gradients[1], "paper06_appearance.grad_feats", 1e-5)


@pytest.fixture(scope="module")
def model(cases: Path, tiny: str, tmp_path_factory: pytest.TempPathFactory) -> StableDiffusion:
    """The golden model has no VAE: it borrows another's, which nothing here uses."""
    folder = tmp_path_factory.mktemp("model")
    for part in (cases / "sd_guided5").iterdir():
        if part.is_dir():
            (folder / part.name).symlink_to(part)
    (folder / "vae").symlink_to(Path(tiny) / "vae")
    loaded = StableDiffusion(str(folder), torch.device("cpu"), torch.float32)
    assert isinstance(loaded.vae, AutoencoderKL)
    return loaded


EDITS: dict[Formulas, list[Term]] = {
    "paper": [
        Term("centroid", (5,), 2.0, by=(0.25, -0.1)),
        Term("size", (5,), 1.0, factor=1.5),
        Term("shape", (8, 9), 1.0),
        Term("appearance", (5, 8, 9), 0.5),
    ],
    "notebook": [
        Term("centroid", (5,), 2.0, by=(0.25, -0.1)),
        Term("shape", (8, 9), 1.0),
        Term("appearance", (5, 8, 9), 0.5),
    ],
}


def guided(model: StableDiffusion, case: GoldenCase, formulas: Formulas, terms: list[Term]) -> list[GuidedStep]:
    embeddings = model.text.embed(["", case.about["prompt"]])
    case_steps = case.about["paper"]["guided_steps"] if formulas == "paper" else range(*case.about["demo"]["window"])
    watch = Watch(
        layers=tuple(case.about["attention_layers"]),
        feature="up_blocks.1",
        formulas=formulas,
        resolution=None if formulas == "paper" else case.about["sg_resolution_demo"],
        strength=100.0,
        guided=frozenset(case_steps),
    )
    return list(
        guided_sampling(
            model,
            case.inputs["x_T"],
            Prompt(embeddings[1:], embeddings[:1]),
            sampling_plan(model.scheduler_config, 5),
            case.about["guidance_scale"],
            [terms],
            watch,
            source_start=case.inputs["x_T_source"],
        )
    )


@pytest.mark.parametrize(("formulas", "suffix"), [("paper", "paper"), ("notebook", "demo")])
def test_guided_runs(cases: Path, model: StableDiffusion, formulas: Formulas, suffix: str) -> None:
    case = GoldenCase(cases / "sd_guided5")
    steps = guided(model, case, formulas, EDITS[formulas])
    for number in range(4):
        case.check(steps[number].latents, f"{suffix}_x_after_step{number}", 5e-4)
    case.check(steps[-1].latents, f"latents_{suffix}", 5e-5)
    assert steps[0].gradient is not None
    case.check(steps[0].gradient, f"grad_first_{suffix}", 5e-4)
    losses = torch.cat([step.loss for step in steps if step.loss is not None])
    torch.testing.assert_close(losses, case.expected[f"losses_{suffix}"], atol=1e-4, rtol=0)


def test_without_terms_it_is_plain_sampling(cases: Path, model: StableDiffusion) -> None:
    case = GoldenCase(cases / "sd_guided5")
    case.check(guided(model, case, "paper", [])[-1].latents, "latents_unguided")
    unweighted = [Term(term.kind, term.columns, 0.0, term.to, term.by, term.factor) for term in EDITS["paper"]]
    case.check(guided(model, case, "paper", unweighted)[-1].latents, "latents_unguided")


def test_words_become_the_recorded_columns(cases: Path, model: StableDiffusion) -> None:
    about: dict[str, Any] = json.loads((cases / "sd_guided5" / "case.json").read_text())
    assert model.text.ids(about["prompt"]) == about["token_ids"]
    for reading in ("demo", "paper"):
        for edit in about[reading]["edits"]:
            assert list(columns(model.text, about["prompt"], edit["words"])) == edit["tokens"]
    assert columns(model.text, about["prompt"], ["the"]) == (4, 7)
    assert len(columns(model.text, about["prompt"], ["grass"])) == 5
    with pytest.raises(ValueError, match="'dog' is not in the caption"):
        columns(model.text, about["prompt"], ["dog"])
