"""Texts longer than the text encoder reads: cut by one rule for all methods, as the releases cut, and counted."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import CLIPTextModel, CLIPTokenizer

import methods
from methods.base import Inputs
from methods.errors import InputError
from methods.nn.model_folder import ModelFolder
from methods.nn.text_encoder import TextEncoder
from methods.notices import NoticeCounter, notice
from methods.pix2pix_zero.directions import load_concept
from methods.turbo.base_model import BaseModel
from methods.turbo.captions import Captions

CPU = torch.device("cpu")
GOLDEN = Path(__file__).parents[2] / "golden"
TINY = GOLDEN / "pix2pix_zero" / "models" / "tiny_a"
LONG = "a cat and a dog " * 30
PICTURE = np.zeros((64, 64, 3), np.uint8)


@pytest.fixture(scope="module")
def text() -> TextEncoder:
    return ModelFolder(TINY).text(CPU)


def test_long_texts_are_cut_as_the_releases_cut_them(text: TextEncoder) -> None:
    tokenizer = CLIPTokenizer.from_pretrained(str(TINY), subfolder="tokenizer")
    encoder = CLIPTextModel.from_pretrained(str(TINY), subfolder="text_encoder")
    texts = ["", "a cat", "cat " * 75, "cat " * 76, LONG]
    released = tokenizer(texts, padding="max_length", max_length=77, truncation=True, return_tensors="pt").input_ids
    assert torch.equal(text.padded(texts), released)
    with torch.no_grad():
        torch.testing.assert_close(text.embed(texts), encoder(released)[0])


def test_each_cut_text_is_counted_and_the_first_is_shown(text: TextEncoder) -> None:
    with NoticeCounter() as counter:
        for each in ("a cat", "cat " * 75, "cat " * 76, LONG, LONG):
            text.check(each)
        found = counter.take()
        assert list(found) == ["caption_cut"]
        assert found["caption_cut"].count == 3
        assert found["caption_cut"].example.endswith("is 78 tokens long with start and end: cut to 77")
        assert counter.take() == {}


def test_no_count_is_lost_between_threads() -> None:
    with NoticeCounter() as counter:
        threads = [threading.Thread(target=lambda: [notice("x", "y") for _ in range(500)]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert counter.take()["x"].count == 2000


def test_without_a_counter_notices_are_plain_warnings(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        notice("caption_cut", "cut")
    assert caplog.messages == ["cut"]


@pytest.mark.parametrize("name", ["pix2pix_zero", "self_guidance"])
def test_samples_with_long_captions_are_translated_and_counted(name: str) -> None:
    edits = {"edits": [{"edit": "move", "words": ["cat"], "by": [0.1, 0]}]}
    params: dict[str, Any] = {"source": "cat", "target": "dog"} if name == "pix2pix_zero" else edits
    method = methods.load(name, weights=str(TINY), image_prep="no_resize", steps=3, **params)
    with NoticeCounter() as counter:
        for caption in (LONG, "a cat"):
            method.prepare(Inputs("k", PICTURE, caption))
        assert counter.take()["caption_cut"].count == 1
        methods.load(name, weights=str(TINY), negative_prompt=LONG, steps=3, **params)
        assert counter.take()["caption_cut"].count == 1
        methods.load(name, weights=str(TINY), caption=LONG, steps=3, **params)
        assert counter.take()["caption_cut"].count == 1


def test_a_word_that_is_cut_off_is_not_in_the_caption() -> None:
    edit = {"edit": "move", "words": ["table"], "by": [0.1, 0]}
    with NoticeCounter(), pytest.raises(InputError, match="'table' is not in the caption"):
        methods.load("self_guidance", weights=str(TINY), caption="cat " * 80 + "table", steps=3, edits=[edit])


def test_turbo_captions_follow_the_same_rule() -> None:
    base = BaseModel(GOLDEN / "turbo" / "_weights")
    captions = Captions({"held": torch.zeros(77, 8)}, base, "w", CPU)
    with NoticeCounter() as counter:
        for caption in ("held", "night", LONG, LONG):
            captions.check(caption)
        assert counter.take()["caption_cut"].count == 2
        assert torch.equal(captions([LONG])[0], base.text(CPU).embed([LONG])[0])
        assert torch.equal(base.embed(LONG)[0], captions([LONG])[0])
        assert counter.take()["caption_cut"].count == 1


def test_sentences_of_a_concept_are_cut_too(text: TextEncoder, tmp_path: Path) -> None:
    (tmp_path / "long.txt").write_text(f"a cat\n{LONG}\n")
    with NoticeCounter() as counter:
        found = load_concept(str(tmp_path / "long.txt"), text)
        assert counter.take()["caption_cut"].count == 1
    torch.testing.assert_close(found, text.embed(["a cat", LONG]).mean(0, keepdim=True))
