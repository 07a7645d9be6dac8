"""What does not fit gets one line that names file, found and expected."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

import methods
from jobs.cli import app
from methods.base import Inputs
from methods.errors import BadSample, InputError
from methods.nn.stable_diffusion import StableDiffusion
from methods.pix2pix_zero.directions import load_concept, load_direction, mean_embedding, save_direction
from methods.pix2pix_zero.prompts import SENTENCES, bundled_prompts, read_prompts, swapped, template_prompts
from methods.weights import BUNDLED


def load(tiny: str | None, **params: Any) -> methods.Method:
    return methods.load("pix2pix_zero", weights=tiny, **{"source": "cat", "target": "dog", **params})


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"steps": 0}, "method.params.steps: .*greater than or equal to 3"),
        ({"steps": 1000}, "method.params.steps: .*less than or equal to 999"),
        ({"source": None}, "set source and target"),
        ({"direction": "x.safetensors"}, "either direction, or source and target"),
        ({"guidance_scale": 1.0}, "guidance_scale: .*greater than 1"),
        ({"caption": "a cat", "captioner": "some/where"}, "either caption or captioner"),
        ({"image_prep": "resize_500x500"}, "unknown image_prep"),
        ({"source": "sofa"}, "no sentences for 'sofa' are bundled, there are: cat, "),
        ({"sorce": "cat"}, "no parameter 'sorce': did you mean 'source'"),
    ],
)
def test_parameters(tiny: str, params: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        load(tiny, **params)
    assert "\n" not in str(error.value)


def test_no_weights() -> None:
    with pytest.raises(InputError, match=r"needs a text-to-image model: set method\.weights"):
        load(None)


def broken(tiny: str, place: Path, part: str, change: Any) -> str:
    shutil.copytree(tiny, place / "model")
    change(place / "model" / part)
    return str(place / "model")


def _without_a_tensor(path: Path) -> None:
    tensors = load_file(path)
    tensors.pop("conv_in.weight")
    save_file(tensors, path, {"format": "pt"})


def _set(**values: Any) -> Any:
    def change(path: Path) -> None:
        path.write_text(json.dumps({**json.loads(path.read_text()), **values}))

    return change


@pytest.mark.parametrize(
    ("part", "change", "message"),
    [
        ("scheduler/scheduler_config.json", Path.unlink, "scheduler/scheduler_config.json missing"),
        ("unet/config.json", Path.unlink, "unet/config.json missing"),
        ("tokenizer/vocab.json", Path.unlink, "tokenizer/vocab.json missing"),
        ("unet/diffusion_pytorch_model.safetensors", _without_a_tensor, "'conv_in.weight' missing"),
        ("unet/diffusion_pytorch_model.safetensors", lambda path: path.write_bytes(b"no"), "unet: cannot be loaded"),
        ("scheduler/scheduler_config.json", _set(beta_schedule="odd"), "beta_schedule 'odd', expected linear"),
        ("scheduler/scheduler_config.json", _set(prediction_type="sample"), "prediction_type is sample, expected"),
        ("scheduler/scheduler_config.json", lambda path: path.write_text("{"), "not JSON"),
    ],
)
def test_models(tiny: str, tmp_path: Path, part: str, change: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as error:
        load(broken(tiny, tmp_path, part, change))
    assert str(tmp_path) in str(error.value)


def test_a_file_is_no_model(tmp_path: Path) -> None:
    (tmp_path / "model.ckpt").write_bytes(b"x")
    with pytest.raises(InputError, match=r"no readable safetensors file .*expected the folder"):
        load(str(tmp_path / "model.ckpt"))


class _Code:
    def __reduce__(self) -> Any:
        return print, ("ran",)


def _files(folder: Path) -> dict[str, Path]:
    torch.save(torch.zeros(1, 77, 768), folder / "wide.pt")
    torch.save(torch.zeros(77), folder / "flat.pt")
    torch.save({"a": torch.zeros(1, 77, 32)}, folder / "dict.pt")
    torch.save(torch.full((1, 77, 32), float("nan")), folder / "nan.pt")
    torch.save(torch.zeros(1, 77, 32), folder / "other.pt")
    (folder / "text.pt").write_text("hello")
    torch.save(_Code(), folder / "code.pt")
    (folder / "blank.txt").write_text("\n \n")
    save_file({"a": torch.zeros(1, 77, 32), "b": torch.zeros(1, 77, 32)}, folder / "two.safetensors")
    save_file({"source": torch.zeros(1, 77, 32)}, folder / "half.safetensors", {"format": "sceneshift-direction-1"})
    return {path.name: path for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("wide.pt", r"found embeddings \(1, 77, 768\), expected \(n, 77, 32\) of the text encoder in .*another model"),
        ("flat.pt", r"found a tensor \(77,\) torch.float32, expected embeddings"),
        ("dict.pt", "found a dict, expected one tensor"),
        ("nan.pt", "values that are not numbers"),
        ("other.pt", r"of another text encoder than the one in .* differs by 100 %"),
        ("text.pt", "no readable pickle|cannot be read"),
        ("code.pt", "refused, it holds code"),
        ("blank.txt", "found no sentence"),
        ("two.safetensors", r"found 2 tensors \(a, b\), expected one"),
    ],
)
def test_concepts(
    model: StableDiffusion, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, message: str
) -> None:
    path = _files(tmp_path)[name]
    with pytest.raises(InputError, match=message) as error:
        load_concept(str(path), model.text)
    assert str(path) in str(error.value)
    assert "ran" not in capsys.readouterr().out


def test_half_a_direction_and_none_at_all(model: StableDiffusion, tmp_path: Path) -> None:
    path = _files(tmp_path)["half.safetensors"]
    with pytest.raises(InputError, match="'target' missing, found source"):
        load_direction(str(path), model.text)
    with pytest.raises(InputError, match="no such file"):
        load_direction(str(tmp_path / "nowhere.safetensors"), model.text)


def test_a_direction_of_the_same_network_trained_otherwise_is_refused(
    tiny: str, tmp_path: Path, model: StableDiffusion
) -> None:
    """Its shapes fit; it would move pictures nowhere, without a word."""

    def trained_on(path: Path) -> None:
        tensors = load_file(path)
        moved = {
            name: value + 0.3 * torch.randn_like(value) if value.is_floating_point() else value
            for name, value in tensors.items()
        }
        save_file(moved, path)

    torch.manual_seed(0)
    other = broken(tiny, tmp_path, "text_encoder/model.safetensors", trained_on)
    text = StableDiffusion(other, torch.device("cpu"), torch.float32).text
    means = [mean_embedding(text, [sentence]) for sentence in ("a cat", "a dog")]
    save_direction(tmp_path / "direction.safetensors", means[0], means[1], {})
    with pytest.raises(InputError, match="found embeddings of another text encoder"):
        load_direction(str(tmp_path / "direction.safetensors"), model.text)
    assert load_direction(str(tmp_path / "direction.safetensors"), text).abs().sum() > 0


def test_sizes_are_refused_one_by_one(tiny: str) -> None:
    method = load(tiny, caption="a cat", image_prep="no_resize")
    for shape, reason in (((20, 64), "size_not_multiple_of_8"), ((8, 64), "too_small")):
        with pytest.raises(BadSample) as error:
            method.prepare(Inputs("k", np.zeros((*shape, 3), np.uint8)))
        assert error.value.reason == reason
    with pytest.raises(BadSample, match="needs an image"):
        method.prepare(Inputs("k", None))


def test_bundled_prompts_can_be_read_and_differ() -> None:
    lists = {name: read_prompts(SENTENCES / f"{name}.txt") for name in bundled_prompts()}
    assert {"cat", "dog", "day", "night", "clear", "fog", "rain", "snow"} <= set(lists)
    for name, sentences in lists.items():
        assert len(sentences) >= 40
        assert len(set(sentences)) == len(sentences), name
    assert not set(lists["day"]) & set(lists["night"])


def test_words_are_swapped_whole() -> None:
    assert swapped(["A cat, two Cats"], "cat", "dog", "f") == ["A dog, two dogs"]
    with pytest.raises(InputError, match="f: sentence 2 has no 'cat' to replace"):
        swapped(["a cat", "a category"], "cat", "dog", "f")
    assert len(set(template_prompts("cat"))) == len(template_prompts("cat")) == 420


def test_a_direction_is_made_with_a_model_in_one_file(tmp_path: Path) -> None:
    """And the bundled one is what its sentences and the bundled model give."""
    beside = BUNDLED / "street-direction-night"
    given = [word for name in ("day", "night") for word in ("--sentences", str(beside / f"{name}.txt"))]
    out = tmp_path / "night.safetensors"
    base = ["--base", "bundled://street-text-to-image", "-o", str(out)]
    result = CliRunner().invoke(app, ["directions", "make", "day", "night", *given, *base])
    assert result.exit_code == 0, result.output
    text = StableDiffusion("bundled://street-text-to-image", torch.device("cpu"), torch.float32).text
    bundled = load_direction("bundled://street-direction-night", text)
    torch.testing.assert_close(load_direction(str(out), text), bundled, atol=1e-5, rtol=1e-5)


def test_directions_from_the_command_line(tiny: str, tmp_path: Path, model: StableDiffusion) -> None:
    out, prompts = tmp_path / "d.safetensors", tmp_path / "cats.txt"
    prompts.write_text("a cat in the snow\ntwo cats\n")
    runner = CliRunner()
    result = runner.invoke(
        app, ["directions", "make", "cat", "dog", "--sentences", str(prompts), "--base", tiny, "-o", str(out), "--json"]
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["sentences"] == [2, 2]
    wanted = model.text.embed(["a dog in the snow", "two dogs"]) - model.text.embed(["a cat in the snow", "two cats"])
    torch.testing.assert_close(load_direction(str(out), model.text), wanted.mean(0, keepdim=True), atol=1e-6, rtol=0)
    assert load(tiny, source=None, target=None, direction=str(out)) is not None
    result = runner.invoke(app, ["directions", "make", "cat", "dog", "--template", "--sentences", str(prompts)])
    assert result.exit_code == 2
