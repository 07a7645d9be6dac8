"""A tiny BLIP of random weights, saved as the hub stores one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.decoders import WordPiece as WordPieceDecoder
from tokenizers.models import WordPiece
from tokenizers.pre_tokenizers import BertPreTokenizer
from tokenizers.processors import TemplateProcessing

import methods
from methods.base import Batch
from methods.errors import InputError
from methods.nn.captioner import Captioner

WORDS = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "a", "picture", "of", "cat", "dog", "red", "##s", "street", "[DEC]"]


@pytest.fixture(scope="module")
def blip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import BlipConfig, BlipForConditionalGeneration

    folder = tmp_path_factory.mktemp("blip")
    small = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    ids = {"bos_token_id": 12, "sep_token_id": 2, "pad_token_id": 0, "eos_token_id": 2}
    config = BlipConfig(
        text_config={**small, **ids, "vocab_size": len(WORDS), "encoder_hidden_size": 16, "projection_dim": 8},
        vision_config={**small, "image_size": 32, "patch_size": 16, "projection_dim": 8},
        projection_dim=8,
    )
    torch.manual_seed(0)
    BlipForConditionalGeneration(config).save_pretrained(folder)
    tokenizer = Tokenizer(WordPiece({word: number for number, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = BertPreTokenizer()  # type: ignore[assignment]
    tokenizer.decoder = WordPieceDecoder()  # type: ignore[assignment]
    tokenizer.post_processor = TemplateProcessing(  # type: ignore[assignment]
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    tokenizer.add_special_tokens(["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[DEC]"])
    tokenizer.save(str(folder / "tokenizer.json"))
    return folder


def test_captions_without_the_prompt_one_by_one_or_together(blip: Path) -> None:
    captioner = Captioner(str(blip), torch.device("cpu"))
    images = torch.rand(3, 3, 40, 64, generator=torch.Generator().manual_seed(1)) * 2 - 1
    together = captioner(images)
    assert len(together) == 3
    assert together == [captioner(image[None])[0] for image in images]
    for caption in together:
        # neither the prompt's three words, which every caption begins with, nor special tokens
        assert "[" not in caption
    ids = torch.tensor([captioner.tokenizer.encode("a picture of").ids])
    whole = captioner.model.generate(
        pixel_values=torch.zeros(1, 3, 32, 32),
        input_ids=ids,
        num_beams=3,
        max_length=30,
        min_length=10,
        do_sample=False,
    )
    assert whole[0, :4].tolist() == [12, 4, 5, 6]


def test_a_captioner_in_the_method(blip: Path, tiny: str) -> None:
    method = methods.load(
        "pix2pix_zero", weights=tiny, source="cat", target="dog", captioner=str(blip), steps=3, image_prep="no_resize"
    )
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(1)) * 2 - 1
    with torch.inference_mode():
        output = method.translate(Batch(x.clone(), seeds=[1, 2], captions=[None, None]))
    assert output.shape == (2, 3, 32, 32)
    info, params, weights = methods.resolve(
        "pix2pix_zero", "cat_to_dog", None, {"captioner": "Salesforce/blip-image-captioning-base"}
    )
    uris = list(info.weight_uris(params, weights))
    assert uris[0] == "CompVis/stable-diffusion-v1-4"
    assert "hf://pix2pix-zero-library/cat_sd14/cat_sd14.pt" in uris
    assert "hf://Salesforce/blip-image-captioning-base/model.safetensors" in uris


def test_what_is_no_captioner(blip: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"config.json.*: no such file"):
        Captioner(str(tmp_path), torch.device("cpu"))
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        (tmp_path / name).write_bytes((blip / name).read_bytes())
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(InputError, match="not a tokenizer"):
        Captioner(str(tmp_path), torch.device("cpu"))
    tree = json.loads((blip / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**tree, "model_type": "clip"}))
    with pytest.raises(InputError, match="model_type is 'clip', expected 'blip'"):
        Captioner(str(tmp_path), torch.device("cpu"))
