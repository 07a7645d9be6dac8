"""Metrics of sets in whole jobs: shards, resumes, references, and the statistics that are kept for them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from jobs.commands.stats import stats_command
from jobs.console import Console
from methods.errors import InputError
from pipeline.metrics import Pictures, build
from pipeline.metrics.reference import Statistics
from pipeline.metrics.set_features import rank
from pipeline.output.finalise import finalise
from pipeline.output.set_figures import StoredFeatures
from pipeline.output.statistics import dataset_statistics
from pipeline.run.driver import run_job
from pipeline.spec import SourceSpec
from tests.support.datasets import encoded, picture
from tests.support.jobs import job

MODEL = "test_vit"


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny network of timm's."""
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "vit.pth"
    torch.save(timm.create_model(MODEL, pretrained=False).state_dict(), path)
    return str(path)


@pytest.fixture
def pictures(tmp_path: Path) -> Callable[[str, range], Path]:
    def make(name: str, seeds: range) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for seed in seeds:
            (folder / f"{seed:03}.png").write_bytes(encoded(picture(seed), "PNG"))
        return folder

    return make


def entry(weights: str, **more: Any) -> dict[str, Any]:
    return {"kernel": {"library": "timm", "model": MODEL, "network": weights, "resamples": 20, **more}}


def dataset(out: Path) -> dict[str, float]:
    return json.loads((out / "metrics.json").read_text())["dataset"]


def test_shards_and_resumes_change_no_figure(
    tmp_path: Path, weights: str, pictures: Callable[[str, range], Path]
) -> None:
    source = pictures("in", range(14))
    metrics = [entry(weights, sample=9)]
    first = run_job(job(source, tmp_path / "one", metrics=metrics), local=True)
    whole = dataset(tmp_path / "one")
    assert whole["kernel_test_vit_source_count"] == 9
    assert whole["kernel_test_vit_source"] != 0
    assert any("says little" in line for line in first.warnings)
    spec = job(source, tmp_path / "many", metrics=metrics, output__shard_size=3, compute__batch_size=2)
    run_job(spec, local=True)
    assert dataset(tmp_path / "many") == whole
    parts = sorted((tmp_path / "many" / "index").glob("*.parquet"))
    for part in parts[1:3]:
        part.unlink()
    (tmp_path / "many" / "_sceneshift" / "success.json").unlink()
    run_job(spec, local=True)
    assert dataset(tmp_path / "many") == whole


def test_only_a_share_of_the_pictures_is_kept_and_in_few_bytes(
    tmp_path: Path, weights: str, pictures: Callable[[str, range], Path]
) -> None:
    outcome = run_job(job(pictures("in", range(20)), tmp_path / "out", metrics=[entry(weights, share=0.4)]), local=True)
    files = list((tmp_path / "out" / "_sceneshift" / "features").rglob("*_output/*.npy"))
    rows = np.concatenate([np.load(file) for file in files])
    assert 2 <= len(rows) < 16
    assert rows.nbytes <= 4096 * len(rows)
    assert outcome.summary.dataset["kernel_test_vit_source_count"] == len(rows)


def test_a_set_without_pictures_to_compare_has_no_figure_and_says_so(
    tmp_path: Path, weights: str, pictures: Callable[[str, range], Path]
) -> None:
    metrics = ["psnr", entry(weights)]
    for name, more in (
        ("all", {"keep": "psnr > 1000"}),
        ("but_one", {"metrics": ["psnr", entry(weights, share=1e-9)]}),
    ):
        outcome = run_job(
            job(pictures(name, range(4)), tmp_path / f"out_{name}", **{"metrics": metrics, **more}), local=True
        )
        assert outcome.summary.dataset == {}
        assert [line for line in outcome.warnings if "no figure" in line] == [
            "kernel: no figure, for it takes two pictures on either side (outputs 0, others 0)"
        ]


def test_through_a_filter_only_what_it_keeps_counts(
    tmp_path: Path, weights: str, pictures: Callable[[str, range], Path]
) -> None:
    job_of = job(pictures("in", range(8)), tmp_path / "out", metrics=[entry(weights)], output__shard_size=3)
    found = run_job(job_of, local=True).job
    shards = {path.stem for path in (tmp_path / "out" / "index").glob("*.parquet")}
    name = next(
        path.name for path in (tmp_path / "out/_sceneshift/features").iterdir() if path.name.endswith("_output")
    )
    kept = {rank(f"{number:03}", 0) for number in (1, 4, 6)}
    whole = StoredFeatures(found.store, shards, None).sample(name, 100)
    some = StoredFeatures(found.store, shards, kept).sample(name, 100)
    assert whole is not None
    assert some is not None
    order = sorted(range(8), key=lambda number: rank(f"{number:03}", 0))
    assert np.array_equal(some, whole[[place for place, number in enumerate(order) if number in (1, 4, 6)]])
    assert StoredFeatures(found.store, shards, set()).sample(name, 100) is None
    assert StoredFeatures(found.store, (), None).names == set()


def test_a_dataset_and_its_statistics_are_the_same_reference(
    tmp_path: Path, weights: str, pictures: Callable[[str, range], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    source, other = pictures("in", range(6)), pictures("night", range(50, 58))
    (other / "broken.png").write_bytes(b"no picture")
    metrics = [entry(weights)]
    run_job(job(source, tmp_path / "a", metrics=metrics, metrics_reference={"uri": str(other)}), local=True)
    found = dataset(tmp_path / "a")
    assert found["kernel_test_vit"] > 0
    assert "kernel_test_vit_source" not in found
    file = tmp_path / "night.npz"
    assert stats_command(Console(True), str(other), str(file), [json.dumps(metrics[0])], "cpu") == 0
    assert json.loads(capsys.readouterr().out)["pictures"] == 9
    assert len(next(iter(Statistics.from_bytes(file.read_bytes(), "x").features.values()))) == 8
    second = run_job(job(source, tmp_path / "b", metrics=metrics, metrics_reference={"uri": str(file)}), local=True)
    assert dataset(tmp_path / "b") == found
    # the report is made anew without the reference's pictures
    for each in other.iterdir():
        each.unlink()
    assert finalise(second.job, complete=True).dataset == found


@pytest.mark.parametrize(("size", "said"), [((96, 64), True), ((60, 40), False)])
def test_a_reference_of_pictures_of_another_size_is_said(
    tmp_path: Path, weights: str, pictures: Callable[[str, range], Path], size: tuple[int, int], said: bool
) -> None:
    """Of 48x32 pixels are those of the output; three pictures are few besides, whichever side has them."""
    other = tmp_path / "other"
    other.mkdir()
    for seed in range(3):
        (other / f"{seed}.png").write_bytes(encoded(picture(seed, size), "PNG"))
    kept = dataset_statistics(SourceSpec(uri=str(other)), build([entry(weights)]), {weights: "sha256:1"})
    assert kept.side is not None
    assert kept.side == pytest.approx((size[0] * size[1]) ** 0.5)
    assert Statistics.from_bytes(kept.to_bytes(), "x").side == kept.side
    changes: dict[str, Any] = {"metrics": [entry(weights)], "metrics_reference": {"uri": str(other)}}
    notes = run_job(job(pictures("in", range(6)), tmp_path / "out", **changes), local=True).warnings
    middle = f"are about {kept.side:,.0f} pixels a side, those of the output 39"
    assert any(middle in line for line in notes) == said
    assert any("of 3 pictures says little" in line for line in notes)


def test_a_reference_that_cannot_serve_is_refused_before_the_work(
    tmp_path: Path, weights: str, pictures: Callable[[str, range], Path]
) -> None:
    source = pictures("in", range(3))
    other = Statistics("x", 3, {"inception": np.zeros((3, 2048), np.float16)}, {"inception": "sha256:0"})
    (tmp_path / "inception.npz").write_bytes(other.to_bytes())
    (tmp_path / "damaged.npz").write_bytes(b"PK")
    for name, metrics, said in (
        ("inception.npz", [entry(weights)], "no features for metric 'kernel' by the same network"),
        ("damaged.npz", [entry(weights)], "no statistics of a dataset"),
        ("nowhere.npz", [entry(weights)], "nowhere.npz"),
        ("nowhere", [entry(weights)], "nowhere"),
        ("inception.npz", ["psnr"], "no metric uses it"),
    ):
        spec = job(source, tmp_path / "out", metrics=metrics, metrics_reference={"uri": str(tmp_path / name)})
        with pytest.raises(InputError, match=said):
            run_job(spec, local=True)
        assert not (tmp_path / "out").exists()


def test_statistics_are_asked_for_rightly(tmp_path: Path, weights: str) -> None:
    for out, wanted, said in (
        ("stats.json", ["fid"], "NAME.npz"),
        ("a.npz", ["psnr"], "--metric psnr: is measured of each picture"),
        ("a.npz", ["fdi"], "did you mean 'fid'"),
    ):
        with pytest.raises(InputError, match=said):
            stats_command(Console(True), str(tmp_path), str(tmp_path / out), wanted, "cpu")


def test_networks_of_libraries_are_named_and_checked(weights: str) -> None:
    from pipeline.metrics.backbone_features import shared

    with pytest.raises(InputError, match="timm has no such network: did you mean"):
        shared("cpu", "timm", "test_vitt", weights)
    with pytest.raises(InputError, match="has no linear classifier"):
        shared("cpu", "torchvision", "squeezenet1_1", weights)
    with pytest.raises(InputError, match="not torchvision's resnet18"):
        shared("cpu", "torchvision", "resnet18", weights)


def test_features_of_torchvision_are_those_before_the_classifier(tmp_path: Path) -> None:
    from torchvision.models import ResNet18_Weights, resnet18

    from pipeline.metrics.backbone_features import shared

    torch.manual_seed(0)
    network = resnet18().eval()
    torch.save(network.state_dict(), tmp_path / "resnet.pth")
    pixels = picture(3, (64, 48))
    (found,) = shared("cpu", "torchvision", "resnet18", str(tmp_path / "resnet.pth")).of(
        Pictures([pixels], [pixels], [None]), "output"
    )
    setattr(network, "fc", torch.nn.Identity())  # noqa: B010 (its type is Linear)
    prepared = ResNet18_Weights.DEFAULT.transforms()(Image.fromarray(pixels))
    expected = network(prepared[None])[0].detach().numpy()
    assert found is not None
    assert found.astype(np.float64) == pytest.approx(expected, rel=2e-3, abs=1e-3)


def test_pictures_that_statistics_leave_out_are_counted(tmp_path: Path, weights: str, pictures, capsys) -> None:
    source = pictures("some", range(3))
    (source / "broken.png").write_bytes(b"no picture")
    wanted = [json.dumps(entry(weights))]
    assert stats_command(Console(True), str(source), str(tmp_path / "s.npz"), wanted, "cpu") == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out)["unreadable"] == 1
    assert "1 picture cannot be read" in shown.err
