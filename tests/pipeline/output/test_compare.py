"""Comparison of outputs: pairs by key and variant, honest intervals, and a page that shows foreign text as text."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from jobs.cli import app
from methods.errors import InputError
from pipeline.job_record import JobRecord, stored_job
from pipeline.output.compare.compare import compare, comparison_page
from pipeline.output.compare.pairing import common_rows, mean_interval, paired_figures
from pipeline.run.driver import run_job
from pipeline.storage import Store
from tests.support.datasets import street_samples, write_tar
from tests.support.jobs import job

EVIL = "k<script>alert(1)<|script>"


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
    assert CliRunner().invoke(app, ["compare", first]).exit_code == 2
    assert CliRunner().invoke(app, ["compare", first, str(tmp_path / "nowhere")]).exit_code == 2


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
        tables = [pa.table({"metric.psnr": values}) for values in (first, second)]
        (figure,) = paired_figures(*tables)
        assert figure.interval is not None
        covered += figure.interval[0] <= 0.4 <= figure.interval[1]
    assert covered >= 90


def test_one_pair_has_no_interval_and_shows_nothing_clearly():
    (figure,) = paired_figures(*(pa.table({"metric.psnr": [value]}) for value in (1.0, 2.0)))
    assert (figure.pairs, figure.difference, figure.interval, figure.clear) == (1, 1, None, False)


def test_a_large_sample_has_the_interval_of_the_bootstrap():
    values = np.random.default_rng(1).normal(0.3, 2, 20_001)
    large, small = mean_interval(values), mean_interval(values[:20_000])
    assert large == pytest.approx(small, abs=0.002)


_ROWS = st.lists(
    st.tuples(st.sampled_from("abcd"), st.integers(0, 1), st.sampled_from(["ok", "rejected"])), max_size=12
)


@given(_ROWS, _ROWS)
def test_rows_belong_together(first: list[tuple[str, int, str]], second: list[tuple[str, int, str]]):
    schema = pa.schema([("key", pa.string()), ("variant", pa.int32()), ("status", pa.string())])
    tables = [
        pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in r], schema) for r in (first, second)
    ]
    found = common_rows(tables)
    good = [{row[:2] for row in rows if row[2] == "ok"} for rows in (first, second)]
    names = [list(zip(table["key"].to_pylist(), table["variant"].to_pylist(), strict=True)) for table in found.tables]
    assert names[0] == names[1] == sorted(good[0] & good[1])
    assert found.alone == tuple(len(each - (good[0] & good[1])) for each in good)
