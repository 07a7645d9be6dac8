"""Finding metrics by name, ours and others', without heavy imports."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from methods import plugins
from methods.errors import InputError
from pipeline import metrics
from pipeline.metrics import registry


def test_names_and_columns_agree_with_the_classes() -> None:
    names = metrics.names()
    assert {"psnr", "ssim", "structure", "lpips", "clip_direction", "dino_structure", "kid_efflite0"} <= set(names)
    network = {"library": "timm", "model": "resnet18", "network": "r.pth"}
    needed = {"frechet": network, "kernel": network, "label_check": {"detector": "d.pth"}}
    for name in names:
        entry: metrics.Entry = {name: needed[name]} if name in needed else name
        built = metrics.build([entry])[0]
        assert built.name == name
        assert built.columns == metrics.columns(entry)


def test_order_is_kept_and_doubles_are_built_once() -> None:
    assert [metric.name for metric in metrics.build(["ssim", "psnr", "ssim"])] == ["ssim", "psnr"]


def test_unknown_names_are_user_errors() -> None:
    with pytest.raises(InputError, match="did you mean 'psnr'"):
        metrics.build(["pnsr"])
    with pytest.raises(InputError, match="known: clip_direction"):
        metrics.columns("zzz")


def test_parameters_are_checked_and_decide_the_columns() -> None:
    assert metrics.columns({"lpips": {"network": "vgg"}}) == ("lpips_vgg", "lpips_vgg_target")
    assert metrics.columns({"lpips": None}) == metrics.columns("lpips") == ("lpips", "lpips_target")
    for entry, said in (
        ({"lpips": {"netwrk": "vgg"}}, "metric 'lpips' has no parameter 'netwrk': did you mean 'network'"),
        ({"lpips": {"network": "resnet"}}, "metrics.lpips.network: "),
        ({"psnr": {"peak": 1}}, "'psnr' has no parameters"),
        ({"psnr": {}, "ssim": {}}, "write each metric as an entry"),
    ):
        with pytest.raises(InputError, match=said):
            metrics.resolve(entry)


def test_weights_are_known_without_loading_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PLACE", "s3://weights")
    given = {"lpips": {"weights": "$PLACE/alex.pth", "heads": {"uri": "s3://b/h.pth", "storage": {"anon": True}}}}
    assert metrics.weight_uris(given) == ("s3://weights/alex.pth", "s3://b/h.pth#anon=True")
    assert metrics.ready(given) == {
        "lpips": {"network": "alex", "weights": "s3://weights/alex.pth", "heads": "s3://b/h.pth#anon=True"}
    }
    assert metrics.weight_uris({"clip_score": {"model": "ViT-B/16"}})[0].startswith("hf://timm/vit_base_patch16")
    assert metrics.weight_uris("psnr") == ()


def test_a_missing_package_is_named_before_anything_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry.importlib.util, "find_spec", lambda name: None)
    for ask in (metrics.columns, lambda name: metrics.build([name])):
        with pytest.raises(InputError, match=r"pip install 'sceneshift\[metrics\]'"):
            ask("kid_efflite0")


def test_nothing_heavy_is_imported() -> None:
    script = "import sys; from pipeline import metrics; names = metrics.names()"
    script += "; metrics.build([name for name in names if name not in ('frechet', 'kernel', 'label_check')])"
    script += "; from pipeline.keep import KeepExpression; KeepExpression.parse('psnr > 1', ['psnr'])"
    script += "; sys.exit(bool({'torch', 'torchmetrics', 'pyarrow', 'ray'} & sys.modules.keys()))"
    subprocess.run([sys.executable, "-c", script], check=True)


class Point:
    """What ``importlib.metadata`` gives for an installed package's entry point."""

    def __init__(self, name: str, found: object) -> None:
        self.name = name
        self._found = found

    def load(self) -> object:
        if isinstance(self._found, Exception):
            raise self._found
        return self._found


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Point]]:
    points: list[Point] = []
    monkeypatch.setattr(plugins, "entry_points", lambda group: points if group == "sceneshift.metrics" else [])
    registry.METRICS.__dict__.pop("all", None)
    yield points
    registry.METRICS.__dict__.pop("all", None)


class Brightness:
    name = "brightness"

    def __init__(self, device: object) -> None:
        self.device = device


def test_third_parties_add_metrics(installed: list[Point]) -> None:
    implementation = f"{__name__}:Brightness"
    sys.modules.setdefault(__name__, sys.modules[Brightness.__module__])
    installed += [
        Point("brightness", metrics.MetricInfo("brightness", ("brightness",), "mean level", implementation)),
        Point("psnr", metrics.MetricInfo("psnr", ("other",), "in our place", implementation)),
    ]
    assert "brightness" in metrics.names()
    assert metrics.columns("psnr") == ("psnr", "psnr_target")
    built = metrics.build(["brightness"], device="cpu")[0]
    assert isinstance(built, Brightness)
    assert built.device == "cpu"


def test_a_broken_package_is_named(installed: list[Point]) -> None:
    installed.append(Point("sharpness", ImportError("no module named x")))
    with pytest.raises(InputError, match="metric 'sharpness'"):
        metrics.names()
