"""Metrics on networks, against the packages they are known from: random weights of the published layouts."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import lpips as reference_lpips
import numpy as np
import open_clip
import pytest
import timm
import torch
import torch.nn.functional as F
import torchvision
from PIL import Image
from safetensors.torch import save_file
from torchvision import transforms

from methods.errors import InputError
from pipeline import metrics
from pipeline.metrics import Pictures, lpips_levels


def picture(seed: int, size: tuple[int, int] = (80, 64), detail: int = 9) -> np.ndarray:
    small = np.random.default_rng(seed).integers(0, 256, (detail, detail, 3), np.uint8)
    return np.asarray(Image.fromarray(small).resize(size, Image.Resampling.BICUBIC))


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """torchvision's builders give untrained networks in place of published ones."""
    for name in ("alexnet", "vgg16", "squeezenet1_1"):
        make: Callable[..., torch.nn.Module] = getattr(torchvision.models, name)
        monkeypatch.setattr(torchvision.models, name, lambda pretrained=False, make=make: make(weights=None))


@pytest.mark.parametrize("network", ["alex", "squeeze", "vgg"])
def test_lpips_is_that_of_its_own_package(network: str, offline: None, tmp_path: Path) -> None:
    torch.manual_seed(3)
    reference = reference_lpips.LPIPS(net=network, verbose=False).eval()
    trunk = {
        f"features.{layer}": value
        for name, value in reference.net.state_dict().items()
        for _, _, layer in [name.partition(".")]
    }
    torch.save(trunk, tmp_path / "trunk.pth")
    heads = Path(reference_lpips.__file__).parent / "weights" / "v0.1" / f"{network}.pth"
    entry = {"lpips": {"network": network, "weights": str(tmp_path / "trunk.pth"), "heads": str(heads)}}
    a, b, c = picture(0), picture(1), picture(2)
    name = metrics.columns(entry)[0]
    measured = metrics.build([entry])[0].measure(Pictures([a, a, a], [b, c, a], [None, b, None]))
    assert list(measured.values[name])[2] == pytest.approx(0, abs=1e-6)
    for found, other in zip(measured.values[name], (b, c), strict=False):
        tensors = [reference_lpips.im2tensor(each) for each in (other, a)]
        expected = float(reference(*tensors))
        assert expected > 1e-4
        assert found == pytest.approx(expected, abs=1e-5)
    assert math.isnan(measured.values[f"{name}_target"][0])
    assert measured.values[f"{name}_target"][1] == pytest.approx(
        float(reference(reference_lpips.im2tensor(c), reference_lpips.im2tensor(b))), abs=1e-5
    )


def test_lpips_of_pictures_of_other_sizes_stands_alone(offline: None, tmp_path: Path) -> None:
    torch.save(torchvision.models.alexnet().state_dict(), tmp_path / "alex.pth")
    heads = Path(reference_lpips.__file__).parent / "weights" / "v0.1" / "alex.pth"
    metric = metrics.build([{"lpips": {"weights": str(tmp_path / "alex.pth"), "heads": str(heads)}}])[0]
    sources = [picture(0), picture(1, (40, 48)), picture(2), picture(3, (31, 64))]
    outputs = [each // 2 for each in sources]
    together = metric.measure(Pictures(sources, outputs, [None] * 4)).values["lpips"]
    for number in range(3):
        alone = metric.measure(Pictures([sources[number]], [outputs[number]], [None])).values["lpips"]
        assert together[number] == alone[0]
    assert math.isnan(together[3])


@pytest.mark.parametrize("most", [None, 0], ids=["kept", "no room"])
def test_lpips_looks_at_the_sources_once_for_all_targets(
    offline: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most: int | None
) -> None:
    torch.save(torchvision.models.squeezenet1_1().state_dict(), tmp_path / "net.pth")
    heads = Path(reference_lpips.__file__).parent / "weights" / "v0.1" / "squeeze.pth"
    entry = {"lpips": {"network": "squeeze", "weights": str(tmp_path / "net.pth"), "heads": str(heads)}}
    first, second = (metrics.build([entry])[0] for _ in range(2))
    shared = cast("Any", first).load()
    assert cast("Any", second).load() is shared
    if most is not None:
        monkeypatch.setattr(lpips_levels, "MOST_BYTES", most)
    seen: list[int] = []
    levels_of = shared.network.levels_of
    monkeypatch.setattr(shared.network, "levels_of", lambda batch: seen.append(len(batch)) or levels_of(batch))
    sources = [picture(0), picture(1)]
    values = [
        metric.measure(Pictures(sources, [each // part for each in sources], [None] * 2)).values["lpips_squeeze"]
        for metric, part in ((first, 2), (second, 3))
    ]
    assert sum(seen) == (6 if most is None else 8)
    # what is asked for again is what was made of it alone
    alone = first.measure(Pictures([sources[1].copy()], [sources[1] // 3], [None])).values["lpips_squeeze"]
    assert values[1][1] == alone[0]
    assert values[0] != values[1]
    del sources
    gc.collect()
    assert (len(shared._kept), shared._bytes) == (0, 0)


def test_weights_of_another_network_are_refused_before_the_first_picture(tmp_path: Path) -> None:
    torch.save(torchvision.models.squeezenet1_1().state_dict(), tmp_path / "squeeze.pth")
    heads = Path(reference_lpips.__file__).parent / "weights" / "v0.1" / "alex.pth"
    metric: Any = metrics.build([{"lpips": {"weights": str(tmp_path / "squeeze.pth"), "heads": str(heads)}}])[0]
    with pytest.raises(InputError, match="not AlexNet as torchvision saves it"):
        metric.load()


def test_dino_structure_is_that_of_the_papers(tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = timm.create_model("vit_base_patch8_224.dino", pretrained=False, embed_dim=128, num_heads=2, depth=3)
    save_file(network.eval().state_dict(), tmp_path / "dino.safetensors")
    a, b = picture(0, (120, 90)), picture(1, (120, 90))
    metric = metrics.build([{"dino_structure": {"weights": str(tmp_path / "dino.safetensors")}}])[0]
    measured = metric.measure(Pictures([a, a], [b, a], [None, None]))
    # img2img-turbo's src/my_utils/dino_struct.py, in its terms
    preprocess = transforms.Compose(
        [
            transforms.Resize((224, 224)),
            transforms.ToTensor(),
            transforms.Normalize(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        ]
    )

    def keys_self_sim(pixels: np.ndarray) -> torch.Tensor:
        kept: list[torch.Tensor] = []
        tensor: Any = preprocess(Image.fromarray(pixels))
        blocks: Any = network.blocks
        hook = blocks[-1].attn.qkv.register_forward_hook(lambda module, args, out: kept.append(out))
        with torch.no_grad():
            network(tensor[None])
        hook.remove()
        keys = kept[0].reshape(1, -1, 3, 2, 64).permute(2, 0, 3, 1, 4)[1][0]
        x = keys.transpose(0, 1).reshape(1, keys.shape[1], -1)[0][None]
        norm = x.norm(dim=2, keepdim=True)
        return (x @ x.transpose(1, 2)) / torch.clamp(norm @ norm.transpose(1, 2), min=1e-8)

    expected = float(F.mse_loss(keys_self_sim(b), keys_self_sim(a)))
    assert expected > 1e-6
    assert measured.values["dino_structure"][0] == pytest.approx(expected, rel=1e-3, abs=1e-8)
    assert measured.values["dino_structure"][1] == 0


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, str]:
    """A small CLIP in OpenAI's layout: the model of open_clip, and its file."""
    torch.manual_seed(1)
    size = {"embed_dim": 32, "quick_gelu": True}
    vision: Any = {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8}
    text: Any = {"context_length": 77, "vocab_size": 49408, "width": 64, "heads": 1, "layers": 2}
    model = open_clip.CLIP(**size, vision_cfg=vision, text_cfg=text).eval()
    path = tmp_path_factory.mktemp("clip") / "clip.safetensors"
    save_file({name: value.contiguous() for name, value in model.state_dict().items()}, path)
    return model, str(path)


def unit(features: torch.Tensor) -> torch.Tensor:
    return F.normalize(features.detach().float(), dim=-1)[0]


def test_clip_metrics_are_those_of_open_clip(clip: tuple[Any, str]) -> None:
    model, path = clip
    prepare: Any = open_clip.image_transform(
        32, is_train=False, mean=(0.48145466, 0.4578275, 0.40821073), std=(0.26862954, 0.26130258, 0.27577711)
    )
    tokenize = open_clip.get_tokenizer("ViT-B-32")
    source, output = picture(0, (75, 60)), picture(1, (75, 60))
    with torch.no_grad():
        before, after = (unit(model.encode_image(prepare(Image.fromarray(each))[None])) for each in (source, output))
        day, night = (unit(model.encode_text(tokenize([each]))) for each in ("a street", "a street at night"))
    pictures = Pictures(
        [source] * 3,
        [output, output, source],
        [None] * 3,
        source_caption=["a street", None, "a street"],
        caption=["a street at night", None, "a street at night"],
    )
    score, direction = metrics.build([{"clip_score": {"model": path}}, {"clip_direction": {"model": path}}])
    scores = list(score.measure(pictures).values["clip_score"])
    assert scores[0] == pytest.approx(max(100 * float(after @ night), 0), abs=1e-3)
    assert math.isnan(scores[1])
    found = list(direction.measure(pictures).values["clip_direction"])
    assert found[0] == pytest.approx(float(F.cosine_similarity(after - before, night - day, dim=0)), abs=1e-4)
    assert math.isnan(found[1])
    assert math.isnan(found[2]), "the picture did not change"


def test_texts_of_the_spec_stand_in_for_captions_and_long_ones_give_no_value(clip: tuple[Any, str]) -> None:
    _, path = clip
    source, output = picture(0), picture(1)
    pictures = Pictures([source], [output], [None], source_caption=["x"], caption=["y " * 100])
    (score,) = metrics.build([{"clip_score": {"model": path}}])
    assert math.isnan(score.measure(pictures).values["clip_score"][0])
    given = {"model": path, "source": "by day", "target": "by night"}
    (direction,) = metrics.build([{"clip_direction": given}])
    assert -1 <= direction.measure(pictures).values["clip_direction"][0] <= 1
