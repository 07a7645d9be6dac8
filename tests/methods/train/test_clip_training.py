"""A CLIP trained here learns, resumes to the bit, and is one that guides and whose tower gives keys."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from methods.base import Inputs
from methods.errors import BadSample, InputError
from methods.nn.clip import load_clip, text_direction
from methods.nn.dino import load_dino
from methods.train import registry
from methods.train.clip.objective import ClipTraining, contrastive
from methods.train.clip.texts import shown_caption
from methods.train.updates import Updates
from tests.support.datasets import picture

SMALL: dict[str, Any] = {"size": 16, "patch": 8, "vision_width": 64, "vision_layers": 1, "text_layers": 1}
CAPTIONS = ("a street, at night", "a street, in the day", "cars, in the day in the snow", "a street, at night")


def built(**params: Any) -> ClipTraining:
    torch.manual_seed(0)
    objective = registry.build("clip", {**SMALL, **params}, torch.device("cpu"), torch.float32, 40)
    assert isinstance(objective, ClipTraining)
    return objective


def samples(objective: ClipTraining) -> list[Any]:
    rng = np.random.default_rng(0)
    return [
        objective.transform("captioned", Inputs("k", picture(n % 3, (16, 16)), caption), rng)
        for n, caption in enumerate(CAPTIONS)
    ]


def run(objective: ClipTraining, steps: range) -> list[float]:
    rows = samples(objective)
    batch: Any = {
        "captioned": {
            "image": torch.stack([row["image"] for row in rows]),
            "ids": torch.stack([row["ids"] for row in rows]),
            "caption": [row["caption"] for row in rows],
        }
    }
    return [objective.step(batch, n, torch.Generator().manual_seed(n), Updates())["loss"] for n in steps]


def test_it_learns_resumes_and_exports(tmp_path: Path) -> None:
    whole = built(warm_up=2)
    losses = run(whole, range(20))
    assert losses[-1] < 0.7 * losses[0]
    first, second = built(warm_up=2), built(warm_up=2)
    run(first, range(3))
    torch.save(first.state_dict(), tmp_path / "state.pt")
    second.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True))
    assert run(second, range(3, 20))[-1] == losses[-1]
    found = whole.validate({"captioned": samples(whole)})
    assert found.metrics["top1"] >= 0.75
    path = whole.export(tmp_path / "model.safetensors", None, {"steps": "20"})
    clip = load_clip(str(path))
    assert clip.resolution == 16
    assert clip.tokenizer([CAPTIONS[0]]).tolist() == whole.tokenizer([CAPTIONS[0]]).tolist()
    direction = text_direction(clip, "a street, in the day", "a street, at night")
    assert direction.shape == (1, 64)
    assert direction.norm().item() == pytest.approx(1, abs=1e-4)
    # the tower behind the keys is the one that encodes pictures
    tower, images = load_dino(path), torch.rand(2, 3, 16, 16)
    features = tower(images * 2 - 1)
    assert features.keys.shape == (2, 5, 64)
    visual: Any = clip.model.visual
    expected = clip.encode_images(images)
    torch.testing.assert_close(tower.norm(features.cls) @ visual.proj, expected, rtol=1e-4, atol=1e-5)


def test_equal_captions_are_equally_right() -> None:
    logits = torch.full((3, 3), -20.0)
    logits[0, 0] = logits[0, 2] = logits[2, 0] = logits[2, 2] = logits[1, 1] = 20.0
    equal, distinct = contrastive(logits, ["a", "b", "a"]), contrastive(logits, ["a", "b", "c"])
    # two right answers share the probability: ln 2 for two rows of three
    assert equal.item() == pytest.approx(2 / 3 * np.log(2), abs=1e-4)
    assert distinct.item() == pytest.approx(2 / 3 * np.log(2), abs=1e-4)
    logits[0, 2] = logits[2, 0] = -20.0
    assert contrastive(logits, ["a", "b", "c"]).item() == pytest.approx(0, abs=1e-4)
    assert contrastive(logits, ["a", "b", "a"]).item() > 10


def test_a_caption_is_shown_in_parts_but_keeps_its_condition() -> None:
    rng = np.random.default_rng(0)
    caption = "a street, with cars, at night"
    assert shown_caption(caption, 0, 0, rng) == caption
    seen = {shown_caption(caption, 1, 0, rng) for _ in range(50)}
    assert seen == {caption, "a street, at night", "with cars, at night", "at night"}
    framed = {shown_caption(caption, 0, 1, rng) for _ in range(20)}
    assert len(framed) > 5
    assert all(caption in text and len(text) > len(caption) for text in framed)


def test_wrong_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a multiple of patch"):
        built(size=20)
    objective = built(templates=0)
    for caption, reason in ((None, "no_caption"), ("xylophone " * 40, "caption_too_long")):
        with pytest.raises(BadSample) as error:
            objective.transform("captioned", Inputs("k", picture(1), caption), np.random.default_rng(0))
        assert error.value.reason == reason
    with pytest.raises(InputError, match=r"written as \.safetensors"):
        objective.export(tmp_path / "model.pt", None, {})
