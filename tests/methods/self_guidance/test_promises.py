"""Edits composed in a spec, batches, no state, the pipeline, and what is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import methods
from methods.base import Batch, Inputs
from methods.errors import BadSample, InputError
from methods.nn.attention_capture import map_size, read
from methods.self_guidance.method import SelfGuidance
from methods.self_guidance.params import SelfGuidanceParams
from methods.self_guidance.properties import centroid
from methods.self_guidance.sampling import Prompt, guided_sampling
from methods.self_guidance.tokens import columns
from methods.sharing import Together, sharing
from pipeline.run.driver import run_job
from tests.support import datasets
from tests.support.jobs import index_rows, job

MOVE: dict[str, Any] = {"edit": "move", "words": ["cat"], "by": [0.3, 0.0], "keep": ["table"]}
CAPTIONS = ["a cat on a table", "table and cat", "a photo of a small cat at the table"]


def load(tiny: str, *edits: dict[str, Any], **params: Any) -> SelfGuidance:
    chosen = {"edits": list(edits) or [MOVE], "image_prep": "no_resize", "steps": 6, "strength": 100.0, **params}
    method = methods.load("self_guidance", weights=tiny, **chosen)
    assert isinstance(method, SelfGuidance)
    return method


def batch_of(method: SelfGuidance, count: int, height: int = 32, width: int = 48) -> Batch:
    pictures = np.random.default_rng(5).integers(0, 256, (count, height, width, 3), np.uint8)
    captions = CAPTIONS[:count]
    inputs = [method.prepare(Inputs("k", picture, words)) for picture, words in zip(pictures, captions, strict=True)]
    return Batch(torch.stack(inputs), seeds=list(range(10, 10 + count)), captions=captions)


@pytest.mark.parametrize("mode", ["real", "generated"])
def test_a_batch_is_its_samples(tiny: str, mode: str) -> None:
    method = load(tiny, mode=mode)
    batch = batch_of(method, 3)
    with torch.inference_mode():
        # as the pipeline calls it
        together = method.translate(Batch(batch.inputs.clone(), batch.seeds, captions=batch.captions))
    alone = torch.cat(
        [
            method.translate(Batch(batch.inputs[n : n + 1], batch.seeds[n : n + 1], captions=batch.captions[n : n + 1]))
            for n in range(3)
        ]
    )
    assert together.shape == (3, 3, 32, 48)
    torch.testing.assert_close(together, alone, atol=1e-3, rtol=0)
    plain = load(tiny, mode=mode, strength=0.0).translate(batch)
    assert (plain - together).abs().flatten(1).max(1).values.min() > 0.02


@pytest.mark.parametrize("mode", ["real", "generated"])
def test_keeping_everything_changes_nothing(tiny: str, mode: str) -> None:
    keep = [{"edit": "layout", "words": ["cat", "table"]}, {"edit": "appearance", "words": ["cat"]}]
    method = load(tiny, *keep, mode=mode, strength=5000.0)
    plain = load(tiny, *keep, mode=mode, strength=0.0)
    batch = batch_of(method, 2)
    # L1 at zero: without care the sign of rounding errors would tear the picture apart
    assert (method.translate(batch) - plain.translate(batch)).abs().max() < 1e-4


def test_a_moved_thing_lies_further_right(tiny: str) -> None:
    found = []
    for strength in (0.0, 60.0):
        only = {"edit": "move", "words": ["cat"], "by": [0.3, 0.0], "appearance_weight": 0}
        method = load(tiny, only, mode="generated", strength=strength, schedule="all", steps=8, caption="a cat")
        batch = batch_of(method, 2)
        noise = batch.noise((4, 8, 12), "latent")
        embeddings = method.model.text.embed(["a cat"] * 2)
        assert method.negative is not None
        prompt = Prompt(embeddings, method.negative.states.expand(2, -1, -1))
        terms = [method._bound("a cat")] * 2
        steps = list(guided_sampling(method.model, noise, prompt, method.steps, 7.5, terms, method.watch))
        last = method.steps[-1]
        with torch.no_grad():
            reading = read(method.model.unet, steps[-2].latents, last.timestep, embeddings, method.watch.layers)
        column = list(columns(method.model.text, "a cat", ["cat"]))
        places = []
        for maps in reading.maps.values():
            seen = maps.mean(1).unflatten(1, map_size(maps.shape[2], 8, 12))
            places.append(centroid(seen[..., column])[..., 0].mean(1))
        found.append(torch.stack(places).mean(0))
    assert (found[1] > found[0]).all()


@pytest.mark.parametrize("formulas", ["paper", "notebook"])
def test_every_word_of_the_caption_can_be_guided(tiny: str, formulas: str) -> None:
    edits = [
        {"edit": "move", "words": ["cat"], "by": [0.2, 0.0], "keep": "all"},
        {"edit": "appearance", "words": "all"},
        {"edit": "resize", "words": "all", "factor": 1.2},
    ]
    method = load(tiny, *edits, formulas=formulas, mode="generated", steps=3, schedule="all")
    # of captions of other lengths in one batch
    batch = batch_of(method, 2)
    found, plain = method.translate(batch), load(tiny, *edits, mode="generated", steps=3, strength=0).translate(batch)
    assert torch.isfinite(found).all()
    assert (found - plain).abs().flatten(1).max(1).values.min() > 0.01
    alone = method.translate(Batch(batch.inputs[1:], batch.seeds[1:], captions=batch.captions[1:]))
    torch.testing.assert_close(found[1:], alone, atol=1e-3, rtol=0)


def test_edits_beside_each_other_share_model_and_inversion(tiny: str, monkeypatch: pytest.MonkeyPatch) -> None:
    edits = [MOVE, {"edit": "resize", "words": ["cat"], "factor": 1.5}]
    inverted: list[int] = []
    invert = SelfGuidance._inverted
    monkeypatch.setattr(SelfGuidance, "_inverted", lambda self, *given: inverted.append(1) or invert(self, *given))
    with sharing():
        built = [load(tiny, edit, steps=3) for edit in edits]
    assert built[0].model is built[1].model
    batches = [batch_of(method, 2) for method in built]
    alone = [method.translate(batch) for method, batch in zip(built, batches, strict=True)]
    Together.join([*zip(built, batches, strict=True)])
    for method, batch, wanted in zip(built, batches, alone, strict=True):
        assert torch.equal(method.translate(batch), wanted)
    assert len(inverted) == 3


def test_looks_borrowed_from_a_picture(tiny: str, tmp_path: Path) -> None:
    path = tmp_path / "dog.png"
    Image.fromarray(datasets.picture(1, (40, 40))).save(path)
    borrow = {"edit": "appearance", "words": ["cat"], "reference": "dog", "reference_words": ["dog"]}
    reference = {"dog": {"image": str(path), "caption": "a dog"}}
    method, plain = (load(tiny, borrow, references=reference, strength=s) for s in (300.0, 0.0))
    batch = batch_of(method, 2)
    first = method.translate(batch)
    assert (first - plain.translate(batch)).abs().max() > 0.02
    assert torch.equal(first, method.translate(batch))
    uris = SelfGuidance.info.weight_uris(method.params, tiny)
    assert list(uris) == [tiny, str(path)]


def test_notebook_formulas_and_half_precision_run(tiny: str) -> None:
    batch = batch_of(load(tiny), 1)
    for params in ({"formulas": "notebook"}, {"distance": "l2"}, {"dtype": "bfloat16"}, {"dtype": "float16"}):
        output = load(tiny, **params).translate(batch)
        assert output.dtype == torch.float32
        assert torch.isfinite(output).all()


def test_the_papers_schedule() -> None:
    def guided(steps: int, schedule: Any = "paper") -> list[int]:
        tree = {"edits": [MOVE], "steps": steps, "schedule": schedule}
        return sorted(SelfGuidanceParams.model_validate(tree).guided_steps())

    assert guided(32) == [0, 1, 2, 3, 4, 5, *range(7, 31, 2)]
    many = guided(960)
    assert many[:180] == list(range(180))
    assert many[180:183] == [181, 183, 185]
    assert many[-1] == 929
    assert guided(4, "all") == [0, 1, 2, 3]
    assert guided(4, [2, 0]) == [0, 2]


def test_in_the_pipeline_what_fails_alone_is_refused_alone(tiny: str, tmp_path: Path) -> None:
    samples = {
        "good": (datasets.picture(1, (32, 32)), b"a cat on a table"),
        "other": (datasets.picture(2, (32, 32)), b"the table, a cat"),
        "nocat": (datasets.picture(3, (32, 32)), b"a dog on a table"),
        "odd": (datasets.picture(4, (36, 32)), b"a cat on a table"),
    }
    members = {name: {"png": datasets.encoded(pixels, "PNG"), "txt": text} for name, (pixels, text) in samples.items()}
    datasets.write_tar(tmp_path / "in" / "part.tar", members)
    spec = job(
        tmp_path / "in",
        tmp_path / "out",
        method__name="self_guidance",
        method__weights=tiny,
        method__params={"edits": [MOVE], "steps": 2, "image_prep": "no_resize"},
    )
    run_job(spec, local=True)
    rows = {row["key"]: (row["status"], row["error"]) for row in index_rows(tmp_path / "out")}
    assert rows == {
        "good": ("ok", None),
        "other": ("ok", None),
        "nocat": ("rejected", "word_not_in_caption"),
        "odd": ("rejected", "size_not_multiple_of_8"),
    }


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"steps": 0}, r"method\.params\.steps: .*greater than or equal to 1"),
        ({"edits": []}, r"method\.params\.edits"),
        ({"edits": [{"edit": "turn", "words": ["cat"]}]}, r"method\.params\.edits.*'move'"),
        ({"edits": [{"edit": "move", "words": ["cat"]}]}, "move needs by or to"),
        ({"edits": [{"edit": "resize", "words": ["cat"], "to": 0.2, "factor": 2}]}, "resize needs factor or to"),
        (
            {"edits": [MOVE | {"words": "cat"}]},
            r"edits\.0\.move\.words: expected a list of words, such as \[cat\], or all",
        ),
        ({"edits": [MOVE | {"words": []}]}, r"edits\.0\.move\.words: expected words of the caption"),
        ({"edits": [MOVE | {"keep": "table"}]}, r"edits\.0\.move\.keep: expected a list of words, such as \[table\]"),
        ({"edits": [MOVE | {"words": "all", "keep": ["table"]}]}, "words: all leaves no other object to keep"),
        ({"edits": [{"edit": "layout", "words": ["cat"], "reference": "x"}]}, "name the reference 'x', .*: none"),
        ({"edits": [{"edit": "layout", "words": ["cat"], "reference_words": ["x"]}]}, "needs reference"),
        ({"schedule": [7]}, "schedule names step 7, the last of 6 is 5"),
        ({"caption": "a dog at a table"}, "'cat' is not in the caption 'a dog at a table'"),
        ({"layers": ["mid_block.attn2"]}, r"no layer 'mid_block\.attn2': known: down_blocks\.0"),
        ({"feature": "up_blocks.7"}, r"no block 'up_blocks\.7'"),
        ({"strenght": 1}, "did you mean 'strength'"),
    ],
)
def test_parameters(tiny: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        methods.load("self_guidance", weights=tiny, **{"edits": [MOVE], "steps": 6, **params})
    assert "\n" not in str(error.value)


def test_references_that_do_not_fit(tiny: str, tmp_path: Path) -> None:
    borrow = {"edit": "appearance", "words": ["cat"], "reference": "r", "reference_words": ["dog"]}
    (tmp_path / "r.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"r\.png: not a picture"):
        load(tiny, borrow, references={"r": {"image": str(tmp_path / "r.png"), "caption": "a dog"}})
    Image.fromarray(datasets.picture(1)).save(tmp_path / "r.png")
    with pytest.raises(InputError, match=r"references\.r: 'dog' is not in the caption 'a cow'"):
        load(tiny, borrow, references={"r": {"image": str(tmp_path / "r.png"), "caption": "a cow"}})
    with pytest.raises(InputError, match="needs a text-to-image model"):
        methods.load("self_guidance", edits=[MOVE])


def test_samples_that_are_refused(tiny: str) -> None:
    method = load(tiny)
    for picture, caption, reason in (
        (None, "a cat", "no_image"),
        (np.zeros((32, 32, 3), np.uint8), None, "no_caption"),
        (np.zeros((32, 32, 3), np.uint8), "a cat", "word_not_in_caption"),
        (np.zeros((32, 30, 3), np.uint8), "a cat at a table", "size_not_multiple_of_8"),
    ):
        with pytest.raises(BadSample) as error:
            method.prepare(Inputs("k", picture, caption))
        assert error.value.reason == reason
