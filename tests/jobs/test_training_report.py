"""Validation through the code of `run`, the best weights, early stop; the report, the card and the loggers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from typer.testing import CliRunner

from jobs.cli import app
from methods.errors import InputError
from methods.nn.tensor_file import read_metadata
from methods.train import registry
from methods.train.checkpoint import saved_steps, steps_of
from methods.train.selection import Selection, Standing, standing
from pipeline.metrics.set_metric import SetMetric
from pipeline.run.driver import run_job
from pipeline.storage import Store
from pipeline.training.evaluation import Evaluation
from pipeline.training.place import run_training
from pipeline.training.run import train
from pipeline.training.spec import TrainSpec
from pipeline.training.streams import Stream
from tests.jobs.test_train import folder_of, tree
from tests.methods.train.test_precision import PARAMS
from tests.support.datasets import encoded, label_map, picture, write_tar
from tests.support.jobs import index_rows, job


def pairs(place: Path, count: int = 8) -> Path:
    """A tar of pictures with their inverse as target."""
    place.mkdir(parents=True)
    samples = {}
    for number in range(count):
        pixels = picture(number, (32, 24))
        samples[f"{number:03d}"] = {"png": encoded(pixels, "PNG"), "target.png": encoded(255 - pixels, "PNG")}
    write_tar(place / "pairs.tar", samples)
    return place


def paired(tmp_path: Path, **changes: Any) -> dict[str, Any]:
    return {
        "name": "inverse | test",
        "objective": {"name": "pix2pix", "params": {"width": 8, "levels": 2, "discriminator_width": 8, "lr": 0.002}},
        "data": {"pairs": {"uri": str(tmp_path / "in"), "image": "png", "target": "target.png"}},
        "validation": {"count": 3, "metrics": ["psnr", "structure"], "best": "psnr_target"},
        "output": {"uri": str(tmp_path / "out")},
        "steps": 6,
        "batch_size": 2,
        "validate_every": 2,
        "log_every": 1,
        "keep_checkpoints": 1,
        **changes,
    }


def rows(path: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short training on pairs with metrics."""
    place = tmp_path_factory.mktemp("trained")
    pairs(place / "in")
    assert run_training(TrainSpec.parse(paired(place))).ended == "steps"
    return place


def test_validation_is_what_run_measures_with_the_weights(trained: Path, tmp_path: Path) -> None:
    found = rows(trained / "out" / "validation.jsonl")
    assert [row["step"] for row in found] == [0, 2, 4, 6]
    weights = str(trained / "out" / "model.safetensors")
    method = {"name": "pix2pix", "weights": weights}
    members = {"source__image": "png", "source__target": "target.png"}
    spec = job(trained / "in", tmp_path / "run", method=method, metrics=["psnr", "structure"], **members)
    run_job(spec, local=True)
    stream = Stream(TrainSpec.parse(paired(trained)).data["pairs"], 0, 3)
    kept = [row for row in index_rows(tmp_path / "run") if row["key"] in stream.held_out]
    assert len(kept) == 3
    for column in ("psnr", "psnr_target", "structure"):
        assert found[-1][column] == pytest.approx(np.mean([row[f"metric.{column}"] for row in kept]), rel=1e-6)
    assert found[-1]["psnr_target"] > found[0]["psnr_target"]


def test_the_best_weights_and_their_checkpoint_are_kept(trained: Path) -> None:
    found = rows(trained / "out" / "validation.jsonl")[1:]
    best = max(found, key=lambda row: row["psnr_target"])["step"]
    assert saved_steps(trained / "out") == sorted({best, 6})
    assert (trained / "out" / "best.safetensors").exists()
    assert not list((trained / "out").glob(".candidate*"))


def test_a_resume_on_an_object_store_keeps_the_best_checkpoint(tmp_path: Path) -> None:
    folder_of(tmp_path / "in", 6)
    uri = f"memory://best-{tmp_path.name}"
    # nothing gets better than the first validation
    changes = {"objective__params": {"lr": 1e-30}, "validate_every": 1, "ema": None, "checkpoint_every": 1}
    validation = {"count": 2, "best": "mse"}
    spec = TrainSpec.parse(tree(tmp_path, output__uri=uri, validation=validation, keep_checkpoints=2, **changes))
    asked = iter([False, False, False, True])
    assert train(spec, stop=lambda: next(asked)).step == 4
    names = [Path(entry.path).name for entry in Store(uri).list("checkpoints")]
    assert steps_of(names) == [1, 3, 4]
    stop = iter([True])
    train(spec, stop=lambda: next(stop))
    names = [Path(entry.path).name for entry in Store(uri).list("checkpoints")]
    assert steps_of(names) == [1, 4, 5]


def test_held_out_samples_are_searched_once_and_weights_written_when_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs(tmp_path / "in")
    searches: list[Stream] = []
    whole = Stream.first
    monkeypatch.setattr(Stream, "first", lambda self: searches.append(self) or whole(self))
    exported: list[Path] = []
    build = registry.build

    def built(*args: Any) -> Any:
        objective = build(*args)
        export = objective.export
        objective.export = lambda path, *more: exported.append(path) or export(path, *more)  # type: ignore[method-assign]
        return objective

    monkeypatch.setattr(registry, "build", built)
    run_training(TrainSpec.parse(paired(tmp_path)))
    # by whom samples are held out, and by whom they are taken
    assert len(searches) == 2
    measured = [path.name for path in exported]
    assert measured == ["first.safetensors", *[".candidate.safetensors"] * 3, "model.safetensors"]
    exported.clear()
    by_loss = {"count": 3, "best": "l1"}
    run_training(TrainSpec.parse(paired(tmp_path, validation=by_loss, output={"uri": str(tmp_path / "by_loss")})))
    found = rows(tmp_path / "by_loss" / "validation.jsonl")[1:]
    better = [row for n, row in enumerate(found) if all(row["l1"] < before["l1"] for before in found[:n])]
    assert len(exported) == len(better) + 1


def test_the_grid_shows_source_output_and_target(trained: Path) -> None:
    grid = np.asarray(Image.open(trained / "out" / "validation" / "step-00000006" / "samples.png"))
    assert grid.shape == (3 * (192 + 4) - 4, 3 * (256 + 4) - 4, 3)
    source, target = grid[:192, :256].astype(int), grid[:192, 520:].astype(int)
    assert np.abs(source + target - 255).mean() < 3


def test_several_outputs_of_a_sample_stand_beside_each_other(trained: Path) -> None:
    tree = paired(trained, validation={"count": 2, "metrics": ["psnr"], "variants": 2})
    spec = TrainSpec.parse(tree)
    evaluation = Evaluation(spec, {"pairs": Stream(spec.data["pairs"], 0, 2)})
    found = evaluation(trained / "out" / "model.safetensors")
    assert found.pictures["samples"].shape == (2 * (192 + 4) - 4, 4 * (256 + 4) - 4, 3)


def test_unpaired_sets_are_compared_as_sets(trained: Path, tmp_path: Path) -> None:
    folder_of(tmp_path / "b", 4)
    data = {"a": {"uri": str(trained / "in"), "image": "png", "target": None}, "b": {"uri": str(tmp_path / "b")}}
    objective = {"name": "cyclegan_turbo", "params": {"caption_a": "day", "caption_b": "night"}}
    validation = {"count": 3, "metrics": ["psnr", "kid_efflite0"], "method": {"name": "pix2pix"}}
    spec = TrainSpec.parse({**paired(trained), "objective": objective, "data": data, "validation": validation})
    evaluation = Evaluation(spec, {name: Stream(source, 0, 3) for name, source in spec.data.items()})
    found = evaluation(trained / "out" / "model.safetensors")
    # three pictures are too few for an interval
    assert set(found.metrics) == {"psnr", "kid_efflite0", "kid_efflite0_count"}
    assert found.pictures["samples"].shape[1] == 2 * (256 + 4) - 4


@pytest.mark.parametrize("reference", [False, True])
def test_distances_of_sets_are_those_of_a_run(
    trained: Path,
    tmp_path: Path,
    reference: bool,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # fewer have no interval
    folder_of(tmp_path / "others", 6)
    beside = {"uri": str(tmp_path / "others")} if reference else None
    weights = str(trained / "out" / "model.safetensors")
    metrics = ["psnr", {"cmmd": {"model": "bundled://street-clip"}}]
    changes = {"source__image": "png", "source__target": "target.png", "metrics_reference": beside}
    method = {"name": "pix2pix", "weights": weights}
    run_job(job(trained / "in", tmp_path / "run", method=method, metrics=metrics, **changes), local=True)
    measured = json.loads((tmp_path / "run" / "metrics.json").read_text())["dataset"]
    tree = paired(trained, output={"uri": str(tmp_path / "out")})
    tree["validation"] = {"data": tree["data"], "metrics": metrics, "reference": beside}
    spec = TrainSpec.parse(tree)
    evaluation = Evaluation(spec, {"pairs": Stream(spec.data["pairs"], 0)})
    encoded: list[int] = []
    whole = SetMetric.load

    def load(metric: SetMetric) -> Any:
        extractor = whole(metric)
        encode = vars(extractor)["_encode"]
        if not hasattr(encode, "counted"):

            def counted(pictures: Sequence[np.ndarray]) -> Any:
                encoded.append(len(pictures))
                return encode(pictures)

            counted.counted = True  # type: ignore[attr-defined]
            monkeypatch.setattr(extractor, "_encode", counted)
        return extractor

    monkeypatch.setattr(SetMetric, "load", load)
    found = evaluation(Path(weights)).metrics
    distances = {name: value for name, value in found.items() if name.startswith("cmmd")}
    assert len(distances) == 4
    for name, value in distances.items():
        assert value == pytest.approx(measured[name], rel=1e-6), name
    assert not (tmp_path / "out").exists()
    encoded.clear()
    assert evaluation(Path(weights)).metrics == found
    # what no training changes has been encoded
    assert sum(encoded) == 8
    said = [record.message for record in caplog.records if record.message.startswith("validation.metrics: cmmd")]
    assert len(said) == 1
    assert "says little" in said[0]


def test_a_reference_that_nothing_uses_is_refused(trained: Path, tmp_path: Path) -> None:
    tree = paired(trained, output={"uri": str(tmp_path / "out")})
    tree["validation"] = {"count": 2, "metrics": ["psnr"], "reference": {"uri": str(trained / "in")}}
    with pytest.raises(InputError, match=r"^validation.reference: no metric uses it"):
        run_training(TrainSpec.parse(tree))
    tree["validation"] = {"count": 2, "reference": {"uri": str(trained / "in")}}
    with pytest.raises(InputError, match=r"validation.reference: name under validation.metrics"):
        TrainSpec.parse(tree)


@pytest.mark.parametrize(
    ("best", "higher"), [("psnr_target", True), ("clip_score", True), ("recall", True), ("fid", False), ("l1", False)]
)
def test_which_values_are_better(tmp_path: Path, best: str, higher: bool) -> None:
    selection = TrainSpec.parse(paired(tmp_path, validation={"count": 2, "best": best})).validation.selection
    assert selection is not None
    assert selection.higher == higher


def test_a_condition_is_translated_and_the_picture_is_the_target(tmp_path: Path) -> None:
    samples = {
        f"{n}": {"png": encoded(picture(n, (32, 24)), "PNG"), "seg.png": label_map(n, (32, 24))} for n in range(3)
    }
    write_tar(tmp_path / "in" / "a.tar", samples)
    params = {"model": PARAMS["piti_base"]["model"], "condition": "coco_stuff"}
    torch.manual_seed(0)
    objective = registry.build("piti_base", params, torch.device("cpu"), torch.float32, 1)
    weights = objective.export(tmp_path / "base.safetensors", None, {})
    tree = {
        "objective": {"name": "piti_base", "params": params},
        "data": {"pairs": {"uri": str(tmp_path / "in"), "image": "png", "masks": ["seg.png"]}},
        "validation": {"count": 2, "metrics": ["psnr"], "method": {"name": "piti", "params": {"steps": "2"}}},
        "output": {"uri": str(tmp_path / "out")},
    }
    spec = TrainSpec.parse(tree)
    found = Evaluation(spec, {"pairs": Stream(spec.data["pairs"], 0, 2)})(weights)
    assert {"psnr", "psnr_target"} <= found.metrics.keys()
    # condition, output, picture
    assert found.pictures["samples"].shape[1] == 3 * (256 + 4) - 4


def test_the_report_and_the_card_say_how_it_went(trained: Path) -> None:
    page = (trained / "out" / "report.html").read_text()
    assert page.count("<svg") > 8
    assert page.count("data:image/jpeg;base64,") >= 4
    for words in ("psnr_target", "best psnr_target", "8 samples, 3 held out", "worker hours", "http-equiv"):
        assert words in page, words
    assert "src=http" not in page
    card = (trained / "out" / "README.md").read_text()
    _, matter, text = card.split("---\n", 2)
    assert yaml.safe_load(matter)["pipeline_tag"] == "image-to-image"
    assert "(report.html)" in text
    assert r"# inverse \| test" in text
    assert "| `psnr_target` |" in text
    block = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
    assert block["method"] == {"name": "pix2pix", "weights": "out/best.safetensors"}


def test_nothing_that_travels_says_where_it_was_made(trained: Path) -> None:
    """Report, card and weights name local places as they are seen from the folder that holds the output."""
    out = trained / "out"
    for path in (out / "report.html", out / "README.md", out / "model.safetensors", out / "best.safetensors"):
        assert str(trained).encode() not in path.read_bytes(), path.name
    assert "uri: in\n" in (out / "README.md").read_text()
    about = json.loads(read_metadata(out / "model.safetensors")["about"])
    assert json.loads(about["spec"])["data"]["pairs"]["uri"] == "in"


def test_a_validation_that_cannot_work_is_said_before_the_first_step(tmp_path: Path) -> None:
    pairs(tmp_path / "in")
    wrong = paired(tmp_path, validation={"count": 3, "metrics": ["psnr"], "best": "pnsr"})
    with pytest.raises(InputError, match=r"validation.best: no value 'pnsr' .* it has: .*psnr_target"):
        run_training(TrainSpec.parse(wrong))
    assert not (tmp_path / "out").exists()
    # nor is what is there thrown away for it
    run_training(TrainSpec.parse(paired(tmp_path, steps=1)))
    before = sorted((tmp_path / "out").rglob("*"))
    with pytest.raises(InputError, match=r"validation.best: no value 'pnsr'"):
        run_training(TrainSpec.parse(wrong), fresh=True)
    assert sorted((tmp_path / "out").rglob("*")) == before
    with pytest.raises(InputError, match="unknown metric 'psnrr'"):
        run_training(TrainSpec.parse(paired(tmp_path, validation={"count": 3, "metrics": ["psnrr"]})), fresh=True)
    other = paired(tmp_path, validation={"count": 3, "metrics": ["psnr"], "method": {"name": "cyclegan_turbo"}})
    other["output"]["uri"] = str(tmp_path / "new")
    loads = r"^validation.method: 'cyclegan_turbo' does not load what objective 'pix2pix' trains \(its weights: found"
    with pytest.raises(InputError, match=loads):
        run_training(TrainSpec.parse(other))
    assert not (tmp_path / "new").exists()
    with pytest.raises(InputError, match=r"validation.metrics: there is nothing to validate on"):
        TrainSpec.parse(paired(tmp_path, validation={"metrics": ["psnr"]}))
    with pytest.raises(InputError, match=r"validation.patience: name under validation.best"):
        TrainSpec.parse(paired(tmp_path, validation={"count": 2, "patience": 3}))
    folder_of(tmp_path / "pictures", 4)
    toy = tree(tmp_path, data__a__uri=str(tmp_path / "pictures"), validation={"count": 1, "metrics": ["psnr"]})
    with pytest.raises(InputError, match="no method is called 'toy_colour'"):
        run_training(TrainSpec.parse(toy), fresh=True)


def test_best_may_be_changed_on_the_way(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pairs(tmp_path / "in")
    out = tmp_path / "out"

    def spec(best: str | None, steps: int) -> TrainSpec:
        validation = {"count": 3, "metrics": ["psnr", "structure"], "best": best, "direction": "higher"}
        if best is None:
            del validation["direction"]
        return TrainSpec.parse(paired(tmp_path, validation=validation, steps=steps, validate_every=1))

    run_training(spec("psnr_target", 2))
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    # one that is not there is found at the start, and costs nothing
    with pytest.raises(InputError, match=r"validation.best: no value 'struktur' .* it has: .*structure"):
        run_training(spec("struktur", 4))
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before
    caplog.clear()
    run_training(spec("structure", 4))
    assert (out / "best-psnr_target.safetensors").read_bytes() == before[out / "best.safetensors"]
    said = [record.message for record in caplog.records if record.message.startswith("validation.best was")]
    where = out / "best-psnr_target.safetensors"
    wanted = "validation.best was psnr_target, is structure: chosen anew after step 2; the best weights until now are"
    assert said == [f"{wanted} {where}"]
    found = rows(out / "validation.jsonl")
    assert [row["step"] for row in found] == [0, 1, 2, 3, 4]
    best = max(found[3:], key=lambda row: row["structure"])
    assert saved_steps(out) == sorted({best["step"], 4})
    assert f"best structure, step {best['step']}" in (out / "report.html").read_text()
    # resumed once more, it is compared with all since the change
    run_training(spec("structure", 5))
    best = max(rows(out / "validation.jsonl")[3:], key=lambda row: row["structure"])
    assert saved_steps(out) == sorted({best["step"], 5})
    run_training(spec(None, 6))
    assert not (out / "best.safetensors").exists()
    assert (out / "best-structure.safetensors").exists()
    block = yaml.safe_load((out / "README.md").read_text().split("```yaml\n")[1].split("```")[0])
    assert block["method"]["weights"] == "out/model.safetensors"


def test_a_training_that_gets_no_better_ends_early(tmp_path: Path) -> None:
    folder_of(tmp_path / "in", 6)
    changes = {"objective__params": {"lr": 1e-30}, "steps": 50, "validate_every": 1, "ema": None}
    validation = {"count": 2, "best": "mse", "patience": 2}
    spec = TrainSpec.parse(tree(tmp_path, validation=validation, **changes))
    ended = run_training(spec)
    assert (ended.step, ended.ended) == (3, "patience")
    assert saved_steps(tmp_path / "out") == [1, 2, 3]
    again = run_training(spec)
    assert (again.started_at, again.ended) == (3, "patience")
    path = tmp_path / "train.yaml"
    path.write_text(yaml.safe_dump(spec.as_tree()))
    said = CliRunner().invoke(app, ["train", str(path), "--set", "steps=60"]).stdout
    assert "ended early at step 3: no better mse in 2 validations." in said
    assert "raise validation.patience" in said
    # with more patience there is more to do
    patient = run_training(TrainSpec.parse(tree(tmp_path, validation={**validation, "patience": 4}, **changes)))
    assert (patient.started_at, patient.step, patient.ended) == (3, 5, "patience")
    # and without any, all of it
    longer = TrainSpec.parse(tree(tmp_path, validation={"count": 2, "best": "mse"}, **{**changes, "steps": 6}))
    assert run_training(longer).step == 6


def test_standings() -> None:
    values = [
        {"step": 0, "x": 0.0},
        *({"step": n, "x": x} for n, x in enumerate((3.0, 5.0, float("nan"), 5.0, 4.0), 1)),
    ]
    assert standing(values, Selection("x", higher=True)) == Standing(2, 5.0, 3)
    assert standing(values, Selection("x", higher=False)) == Standing(1, 3.0, 4)
    assert standing(values, Selection("y", higher=True)) is None
    assert standing(values, Selection("x", higher=True, after=2)) == Standing(4, 5.0, 1)
