"""The building blocks of the Turbo losses against the official packages' recorded numbers, and their refusals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from methods.errors import InputError
from methods.nn.lpips import LPIPS, VGG16Features, load_lpips
from methods.train.draws import Draws
from methods.train.losses.backbones import (
    ClipPatchFeatures,
    ClipSimilarity,
    EffLiteFeatures,
    clip_normalised,
    load_clip,
)
from methods.train.losses.diffaugment import diff_augment
from methods.train.losses.vision_aided import MultiLevelHead, VisionAidedDiscriminator, multilevel_loss

CPU = torch.device("cpu")


class TinyTrunk(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.c1, self.c2 = nn.Conv2d(3, 6, 3, 1, 1), nn.Conv2d(6, 8, 3, 2, 1)

    def forward(self, images: Tensor) -> list[Tensor]:
        first = self.c1(images).relu()
        return [first, self.c2(first).relu()]


def tiny_lpips(state: dict[str, Tensor]) -> LPIPS:
    trunk = TinyTrunk()
    trunk.load_state_dict({n.removeprefix("lpips.net."): v for n, v in state.items() if n.startswith("lpips.net.")})
    found = LPIPS(trunk, [state[f"lpips.lin{n}.model.1.weight"] for n in (0, 1)])
    torch.testing.assert_close(found.shift, state["lpips.scaling_layer.shift"])
    torch.testing.assert_close(found.scale, state["lpips.scaling_layer.scale"])
    return found


@pytest.fixture(scope="module")
def case(golden: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    folder = golden / "losses_and_metrics"
    return load_file(folder / "inputs.safetensors"), load_file(folder / "expected.safetensors")


def head_of(inputs: dict[str, Tensor]) -> MultiLevelHead:
    head = MultiLevelHead((8, 8, 6), hidden=8)
    head.load_state_dict({n.removeprefix("head."): v for n, v in inputs.items() if n.startswith("head.")})
    return head


def test_heads_losses_and_power_iteration(case: tuple[dict[str, Tensor], dict[str, Tensor]]) -> None:
    inputs, expected = case
    head, features = head_of(inputs), [inputs[f"feat{n}"] for n in range(3)]
    for number, level in enumerate(head.eval()(features)):
        torch.testing.assert_close(level, expected[f"eval_logits{number}"], atol=1e-5, rtol=0)
    logits = head.train()(features)
    for number, level in enumerate(logits):
        torch.testing.assert_close(level, expected[f"train_logits{number}"], atol=1e-5, rtol=0)
    state = head.state_dict()
    checked = 0
    for name, wanted in expected.items():
        if name.startswith("after_train_forward."):
            torch.testing.assert_close(state[name.removeprefix("after_train_forward.")], wanted, atol=1e-5, rtol=0)
            checked += 1
    assert checked == 12
    for variant, real_target in (("multilevel_sigmoid", 1.0), ("multilevel_sigmoid_s", 0.8)):
        for kind in ("real", "fake", "for_G"):
            loss = multilevel_loss(logits, kind, real_target)
            torch.testing.assert_close(loss, expected[f"loss.{variant}.{kind}"], atol=1e-5, rtol=0)


def test_augmentation(case: tuple[dict[str, Tensor], dict[str, Tensor]]) -> None:
    inputs, expected = case
    recorded = {
        f"d.{name}": inputs[f"augment_{name}{suffix}"]
        for name, suffix in (
            *((n, "_u") for n in ("brightness", "saturation", "contrast")),
            *((n, "") for n in ("translation_x", "translation_y", "cutout_x", "cutout_y")),
        )
    }
    found = diff_augment(inputs["augment_in"], Draws(torch.Generator(), CPU, recorded), "d")
    torch.testing.assert_close(found, expected["augment_out"], atol=1e-5, rtol=0)


def test_lpips(case: tuple[dict[str, Tensor], dict[str, Tensor]]) -> None:
    inputs, expected = case
    found = tiny_lpips(inputs)(inputs["lpips_a"], inputs["lpips_b"])
    torch.testing.assert_close(found, expected["lpips_distance"], atol=1e-5, rtol=0)


def test_draws_repeat_and_stay_in_range() -> None:
    def some() -> list[Tensor]:
        draws = Draws(torch.Generator().manual_seed(4), CPU)
        return [draws.normal("a", (2, 3)), draws.uniform("b", (500,)), draws.integers("c", -2, 3, (500,))]

    first, again = some(), some()
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert set(first[2].tolist()) == {-2, -1, 0, 1, 2}


def tiny_clip() -> nn.Module:
    import open_clip

    torch.manual_seed(0)
    vision = {"image_size": 224, "layers": 9, "width": 64, "patch_size": 32, "head_width": 32}
    text = {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1}
    return open_clip.CLIP(48, vision, text, quick_gelu=True).eval().requires_grad_(False)  # type: ignore[arg-type]


def test_clip_features_are_those_of_the_model_and_let_gradients_through() -> None:
    clip = tiny_clip()
    backbone = ClipPatchFeatures(clip.visual)  # type: ignore[arg-type]
    assert backbone.channels == (64, 64, 48)
    images = torch.rand(2, 3, 96, 96) * 2 - 1
    images.requires_grad_()
    found = backbone(images)
    assert [tuple(level.shape) for level in found] == [(2, 64, 7, 7), (2, 64, 7, 7), (2, 48)]
    resized = torch.nn.functional.interpolate(images * 0.5 + 0.5, size=(224, 224), mode="area")
    torch.testing.assert_close(found[2], clip.encode_image(clip_normalised(resized)))  # type: ignore[operator]
    inner = clip.visual.forward_intermediates(  # type: ignore[union-attr, operator]
        clip_normalised(resized), indices=[3, 7], intermediates_only=True, normalize_intermediates=False
    )["image_intermediates"]
    for ours, theirs in zip(found, inner, strict=False):
        torch.testing.assert_close(ours, theirs)
    sum(level.sum() for level in found).backward()  # type: ignore[union-attr]
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in backbone.parameters())


def test_clip_similarity_is_the_mean_over_all_pairs() -> None:
    import open_clip

    clip = tiny_clip()
    similarity = ClipSimilarity(clip, open_clip.get_tokenizer("ViT-B-32-quickgelu"))
    images, captions = torch.rand(2, 3, 64, 64) * 2 - 1, ["a cat", "a dog"]
    loss = similarity(images, captions)
    pictures = torch.nn.functional.interpolate(clip_normalised(images * 0.5 + 0.5), size=(224, 224), mode="bilinear")
    unit = torch.nn.functional.normalize
    i = unit(clip.encode_image(pictures), dim=-1)  # type: ignore[operator]
    t = unit(clip.encode_text(similarity.tokenizer(captions)), dim=-1)  # type: ignore[operator]
    torch.testing.assert_close(loss, 1 - (i @ t.T).mean())


def test_the_small_backbone_and_the_frozen_part() -> None:
    discriminator = VisionAidedDiscriminator(EffLiteFeatures(), hidden=8)
    draws = Draws(torch.Generator().manual_seed(0), CPU)
    loss = discriminator(torch.rand(2, 3, 64, 64) * 2 - 1, "fake", draws, "d")
    assert loss.shape == (2, 1)
    names = [name for name, _ in discriminator.named_parameters()]
    assert names
    assert all(name.startswith("head.") for name in names)


def test_vgg_files_are_read_by_torchvisions_names_and_refused_by_name(tmp_path: Path) -> None:
    torch.manual_seed(0)
    trunk = VGG16Features()
    small = {name: value.half().float() for name, value in trunk.state_dict().items()}
    assert list(small)[:2] == ["features.0.weight", "features.0.bias"]
    assert list(small)[-1] == "features.28.bias"
    vgg, lins = tmp_path / "vgg.pth", tmp_path / "lin.pth"
    torch.save({**small, "classifier.0.weight": torch.zeros(2)}, vgg)
    weights = {f"lin{n}.model.1.weight": torch.rand(1, c, 1, 1) for n, c in enumerate(VGG16Features.channels)}
    torch.save(weights, lins)
    lpips = load_lpips(str(vgg), str(lins))
    x, y = torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32)
    assert lpips(x, x).item() == 0
    assert lpips(x, y).item() > 0

    def wrong(edit: Callable[[], object], message: str) -> None:
        edit()
        with pytest.raises(InputError, match=message) as caught:
            load_lpips(str(vgg), str(lins))
        assert "\n" not in str(caught.value)

    wrong(lambda: torch.save({**weights, "lin2.model.1.weight": torch.rand(1, 3, 1, 1)}, lins), "lin2.*is .*1, 3, 1, 1")
    wrong(lambda: torch.save([1], lins), "found .*list.*, expected a state dict")
    wrong(lambda: torch.save({"features.0.weight": torch.zeros(2)}, vgg), "not VGG-16 as torchvision saves it")
    wrong(lambda: vgg.write_text("nothing"), "no readable pickle")


def test_clip_weights_of_another_kind_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "clip.pt"
    torch.save({"weight": torch.zeros(2)}, path)
    with pytest.raises(InputError, match=r"clip\.pt: not weights of CLIP ViT-B-32-quickgelu"):
        load_clip(str(path))
