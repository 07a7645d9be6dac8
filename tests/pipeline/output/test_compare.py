"""Comparison of outputs: pairs by key and variant, honest intervals, and a page that shows foreign text as text."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from jobs.arguments import ended
from jobs.cli import app
from methods.counting import counted
from methods.errors import InputError
from methods.nn.detection.base import Detections
from methods.nn.detection.small import SmallDetector
from pipeline.job_record import JobRecord, stored_job
from pipeline.metrics.label_check import LabelCheck
from pipeline.output.compare.compare import compare, comparison_page
from pipeline.output.compare.pairing import common_rows, mean_interval, paired_figures
from pipeline.output.compare.rows import IndexRows, sample_names
from pipeline.output.view import View, view_bytes
from pipeline.paths import VIEW_FILE
from pipeline.run.driver import run_job
from pipeline.storage import Store
from tests.support.datasets import street_samples, write_tar
from tests.support.jobs import job
from tests.support.labelled import write_labelled

EVIL = "k<script>alert(1)<|script>"


class Bright:
    """Finds a vehicle that fills the picture where it is as bright as the source."""

    classes = ("person", "véhicule 車")
    aliases: dict[str, str] = {}  # noqa: RUF012

    def detect(self, pictures: list[np.ndarray], score: float) -> list[Detections]:
        del score
        box = np.array([(0.0, 0, 64, 48)])
        nothing = Detections(np.zeros((0, 4)), np.zeros(0), ())
        return [Detections(box, np.ones(1), ("véhicule 車",)) if each[0, 0, 0] < 128 else nothing for each in pictures]


def own_detector(folder: Path) -> str:
    """A file whose place :class:`Bright` takes."""
    small = SmallDetector(("person",), {}, 8, 64)
    return str(small.save(folder / "detector.safetensors", small.state_dict(), {}))


def opened(out: Path) -> tuple[Store, JobRecord]:
    store = Store(str(out))
    record = stored_job(store)
    assert record is not None
    return store, record


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("compare")
    names = [f"k{n:02d}" for n in range(10)]
    write_tar(root / "in" / "a.tar", street_samples([*names, EVIL]))
    write_tar(root / "fewer" / "a.tar", street_samples([*names[2:], EVIL]))
    for name, source, method in (("a", "in", "invert"), ("b", "fewer", "null")):
        spec = job(root / source, root / name, method={"name": method}, metrics=["psnr", "ssim"], name=f"<b>{name}</b>")
        run_job(spec, local=True)
    return root / "a", root / "b"


def test_only_what_all_have_is_compared(outputs):
    found = compare([opened(path) for path in outputs])
    assert found.common.count == 9
    assert [each.alone for each in found.outputs] == [2, 0]
    psnr, ssim = found.figures[0]
    assert (psnr.metric, psnr.pairs, psnr.wins, psnr.losses) == ("psnr", 9, 9, 0)
    assert psnr.difference == pytest.approx(psnr.second - psnr.first)
    assert psnr.interval is not None
    assert psnr.interval[0] > 0
    assert psnr.clear
    assert ssim.second > 0.99
    assert ("method.name", ("invert", "null")) in found.settings
    assert all(each.cost is not None and each.cost.worker_seconds > 0 for each in found.outputs)


def test_an_output_against_itself_differs_by_nothing(outputs):
    found = compare([opened(outputs[0]), opened(outputs[0])])
    for figure in found.figures[0]:
        assert (figure.difference, figure.interval) == (0, (0, 0))
        assert (figure.wins, figure.losses, figure.ties) == (0, 0, 11)
        assert not figure.clear
    assert found.settings == ()


def test_the_page_shows_foreign_text_as_text(outputs):
    page = comparison_page(compare([opened(path) for path in outputs]))
    assert EVIL not in page
    assert "k&lt;script&gt;alert(1)&lt;|script&gt;" in page
    assert "<b>a</b>" not in page
    assert page.count("<script>") == 1
    assert page.count("data:image/jpeg;base64,") == 9 * 3


def test_the_command_writes_page_and_document(outputs, tmp_path):
    first, second = map(str, outputs)
    target = tmp_path / "new" / "page.html"
    result = CliRunner().invoke(app, ["compare", first, second, "-o", str(target), "--json"])
    assert result.exit_code == 0, result.output
    tree = json.loads(result.stdout)
    assert tree["samples"] == 9
    assert tree["against_first"]["B"][0]["wins"] == 9
    assert target.read_text().startswith("<!DOCTYPE html>")
    result = CliRunner().invoke(app, ["compare", first, second, "-o", str(tmp_path / "new" / "night-v1.2"), "--json"])
    assert json.loads(result.stdout)["page"] == str(tmp_path / "new" / "night-v1.2.html")
    assert sorted(each.name for each in target.parent.iterdir()) == ["night-v1.2.html", "page.html"]
    assert CliRunner().invoke(app, ["compare", first]).exit_code == 2
    assert CliRunner().invoke(app, ["compare", first, str(tmp_path / "nowhere")]).exit_code == 2


@pytest.mark.parametrize(
    ("name", "endings", "written"),
    [
        ("page", (".html", ".htm"), "page.html"),
        ("page.HTM", (".html", ".htm"), "page.HTM"),
        ("page.html", (".html", ".htm"), "page.html"),
        ("a.b/page.txt", (".html", ".htm"), "a.b/page.txt.html"),
        ("night", (".yaml", ".yml"), "night.yaml"),
        ("night.yml", (".yaml", ".yml"), "night.yml"),
        (".png", (".png",), ".png.png"),
    ],
)
def test_a_file_to_write_has_its_ending(name: str, endings: tuple[str, ...], written: str) -> None:
    assert ended(Path(name), *endings) == Path(written)


def test_a_folder_is_no_file_to_write(outputs, tmp_path):
    result = CliRunner().invoke(app, ["compare", *map(str, outputs), "-o", str(tmp_path)])
    assert result.exit_code == 2
    assert "is a folder; name a file in it" in " ".join(result.output.split())


def test_outputs_with_nothing_in_common_are_refused(outputs, tmp_path):
    write_tar(tmp_path / "in" / "a.tar", street_samples(["other"]))
    run_job(job(tmp_path / "in", tmp_path / "out"), local=True)
    with pytest.raises(InputError, match="no sample is in the data of all"):
        compare([opened(outputs[0]), opened(tmp_path / "out")])


def test_the_interval_covers_a_planted_shift():
    covered = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        first = rng.normal(10, 3, 60)
        second = first + 0.4 + rng.standard_t(4, 60)
        (figure,) = paired_figures({"metric.psnr": first}, {"metric.psnr": second})
        assert figure.interval is not None
        covered += figure.interval[0] <= 0.4 <= figure.interval[1]
    assert covered >= 90


def test_one_pair_has_no_interval_and_shows_nothing_clearly():
    (figure,) = paired_figures(*({"metric.psnr": np.array([value])} for value in (1.0, 2.0)))
    assert (figure.pairs, figure.difference, figure.interval, figure.clear) == (1, 1, None, False)


@pytest.mark.parametrize("pairs", [2, 3, 5, 12, 49, 50])
def test_the_interval_of_few_pairs_covers_as_often_as_it_says(pairs: int):
    rng = np.random.default_rng(pairs)
    intervals = [mean_interval(rng.normal(0.4, 1, pairs)) for _ in range(400)]
    covered = sum(found is not None and found[0] <= 0.4 <= found[1] for found in intervals)
    # 95 % of 400, within three standard deviations
    assert 367 <= covered <= 393


def test_equal_differences_of_few_pairs_are_no_certainty():
    assert mean_interval(np.full(9, 0.5)) is None
    assert mean_interval(np.zeros(9)) == (0, 0)
    assert mean_interval(np.full(10, 0.5)) == (0.5, 0.5)


def test_an_unfinished_output_is_compared_by_its_parts(outputs, tmp_path):
    first, second = outputs
    out = tmp_path / "b"
    shutil.copytree(second, out)
    whole = compare([opened(first), opened(out)])
    assert whole.outputs[1].rows.origin == "index.parquet"
    (out / "_sceneshift" / "success.json").unlink()
    # what an earlier run left: none of these rows counts
    (out / "index.parquet").write_bytes((first / "index.parquet").read_bytes())
    found = compare([opened(first), opened(out)])
    parts = sorted((out / "index").iterdir())
    assert (
        found.outputs[1].rows.origin == f"{counted(len(parts), 'index part')}, unfinished: what is committed until now"
    )
    assert found.figures == whole.figures
    assert found.outputs[1].counts == whole.outputs[1].counts
    assert comparison_page(found).count("data:image/jpeg;base64,") == 9 * 3
    result = CliRunner().invoke(app, ["compare", str(first), str(out), "-o", str(tmp_path / "page.html")])
    assert result.exit_code == 0
    assert f"{counted(len(parts), 'index part')}, unfinished" in result.output
    parts[0].write_bytes(b"damaged")
    assert CliRunner().invoke(app, ["compare", str(first), str(out)]).exit_code == 3


def test_a_later_filter_counts_in_parts_too(outputs, tmp_path):
    first, second = outputs
    out = tmp_path / "b"
    shutil.copytree(second, out)
    store, record = opened(out)
    limit = sorted(row["metric.psnr"] for row in IndexRows(store, record).take(range(9)))[4]
    (out / "_sceneshift" / "success.json").unlink()
    (out / VIEW_FILE).write_bytes(view_bytes(View.of(f"psnr > {limit}", record.metric_columns)))
    found = compare([opened(first), opened(out)])
    assert found.outputs[1].counts == {"ok": 4, "filtered": 5, "rejected": 0}
    assert found.common.count == 4


def test_survival_is_of_the_samples_in_common(tmp_path, monkeypatch):
    monkeypatch.setattr(LabelCheck, "load", lambda self: Bright())
    folder, labels = write_labelled(tmp_path / "in")
    check = {"uri": str(labels), "check": {"detector": own_detector(tmp_path)}}
    for name, method in (("a", "null"), ("b", "invert")):
        run_job(job(folder, tmp_path / name, method={"name": method}, source__labels=check), local=True)
    found = compare([opened(tmp_path / name) for name in ("a", "b")])
    kept, changed = (each.survival for each in found.outputs)
    assert kept is not None
    assert changed is not None
    assert kept["all"]["found_before"] == changed["all"]["found_before"] > 0
    assert (kept["all"]["survival"], changed["all"]["held"]) == (1.0, 0)
    page = comparison_page(found)
    assert "Do the labels hold" in page
    assert f"{changed['all']['held']} of {changed['all']['found_before']}" in page


def test_a_large_sample_has_the_interval_of_the_bootstrap():
    values = np.random.default_rng(1).normal(0.3, 2, 20_001)
    large, small = mean_interval(values), mean_interval(values[:20_000])
    assert large == pytest.approx(small, abs=0.002)


_ROWS = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 1)), max_size=12)


@given(_ROWS, _ROWS)
def test_rows_belong_together(first: list[tuple[str, int]], second: list[tuple[str, int]]):
    both = (first, second)
    tables = [pa.table({"key": [key for key, _ in r], "variant": [number for _, number in r]}) for r in both]
    found = common_rows([sample_names(table) for table in tables])
    shared = set(first) & set(second)
    names = [[rows[at] for at in places] for rows, places in zip(both, found.rows, strict=True)]
    assert names[0] == names[1]
    assert sorted(names[0]) == sorted(shared)
    assert list(found.rows[0]) == sorted(found.rows[0])
    assert all(rows.index(rows[at]) == at for rows, places in zip(both, found.rows, strict=True) for at in places)
    assert found.alone == tuple(len(set(each) - shared) for each in both)
