"""The dataset card: its front matter is what `datasets` needs, its snippets run, its figures are right."""

from __future__ import annotations

import contextlib
import io
import json
import re
from pathlib import Path
from typing import Any

import datasets
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from pipeline.job_record import JobRecord
from pipeline.output.card import write_card
from pipeline.run.driver import run_job
from pipeline.sink.huggingface import parquet_features, webdataset_features
from pipeline.sink.schema import data_schema
from pipeline.sources.layout import Layout
from tests.support.datasets import encoded, picture, street_samples, write_parquet, write_tar
from tests.support.jobs import job
from tests.support.summaries import summary_of

BOX = {"annotations": [{"bbox": [2.0, 3.0, 10.5, 12.0], "category_id": 1, "area": 126.0, "iscrowd": 0}]}


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()


def uneven_samples() -> dict[str, dict[str, bytes]]:
    """Samples that differ in what they carry, as real sets do: the first has neither caption nor labels."""
    samples = street_samples([f"k{n}" for n in range(7)])
    for n, members in enumerate(samples.values()):
        members["target.jpg"] = encoded(picture(n + 50))
        if n % 2:
            members["json"] = json.dumps(BOX).encode()
        else:
            del members["txt"]
    del samples["k2"]["seg.png"]
    samples["bad"] = {"jpg": b""}
    return samples


def make(root: Path, format: str, **changes: Any) -> Path:
    write_tar(root / "in" / "a.tar", uneven_samples())
    spec = job(root / "in", root / "out", output__format=format, output__shard_size=3, metrics=["psnr"], **changes)
    run_job(spec, local=True)
    return root / "out"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, Path]:
    return {
        name: make(tmp_path_factory.mktemp(name), name, output__pairs=True, output__image={"format": "jpeg"})
        for name in ("parquet", "webdataset")
    }


def parts(card: str) -> tuple[dict[str, Any], str]:
    """Front matter and text."""
    _, matter, text = card.split("---\n", 2)
    return yaml.safe_load(matter), text


def card_of(tree: dict[str, Any], metrics: dict[str, Any], schema: pa.Schema | None) -> str:
    return write_card(JobRecord.model_validate(tree), summary_of(metrics), schema)


def described(out: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    return (
        json.loads((out / "_sceneshift" / "job.json").read_text()),
        json.loads((out / "metrics.json").read_text()),
    )


def test_load_dataset_opens_parquet_with_pictures(made):
    rows = datasets.load_dataset(str(made["parquet"]), split="train")
    assert isinstance(rows, datasets.Dataset)
    assert len(rows) == 7
    for n in range(7):
        row = rows[n]
        for name in ("image", "source_image", "target.jpg"):
            assert row[name].size == (48, 32)
    assert [caption is None for caption in rows["caption"]] == [n % 2 == 0 for n in range(7)]
    assert rows[1]["labels"]["annotations"][0]["bbox"] == [2.0, 3.0, 10.5, 12.0]
    index = datasets.load_dataset(str(made["parquet"]), "index", split="train")
    assert isinstance(index, datasets.Dataset)
    assert sorted(index["status"]) == ["ok"] * 7 + ["rejected"]


def test_load_dataset_opens_tars_of_uneven_samples(made):
    rows = datasets.load_dataset(str(made["webdataset"]), split="train")
    assert isinstance(rows, datasets.Dataset)
    assert rows["__key__"][:] == [f"k{n}" for n in range(7)]
    for n in range(7):
        row = rows[n]
        assert all(row[name].size == (48, 32) for name in ("jpg", "source.jpg", "target.jpg"))
        assert (row["txt"] is None) == (n % 2 == 0)
        assert row["json"]["key"] == f"k{n}"
        assert (row["seg.png"] is None) == (n == 2)
    assert rows[1]["json"]["annotations"][0]["bbox"] == [2.0, 3.0, 10.5, 12.0]


@pytest.mark.parametrize("format", ["parquet", "webdataset"])
def test_the_snippets_run(made, format, monkeypatch):
    monkeypatch.chdir(made[format].parent)
    _, text = parts((made[format] / "README.md").read_text())
    snippets = re.findall(r"```python\n(.*?)```", text, re.S)
    assert len(snippets) == (4 if format == "parquet" else 5)
    results: dict[str, Any] = {}
    for code in snippets:
        compile(code, "card", "exec")
        # Ray takes seconds to start; other tests read outputs with it.
        if "import ray" not in code:
            with contextlib.redirect_stdout(io.StringIO()):
                exec(code, results)
    assert isinstance(results["picture"], Image.Image)
    assert results["picture"].size == (48, 32)
    assert isinstance(results["good"], pd.DataFrame)
    assert len(results["good"]) == 7


def test_the_figures_are_those_of_the_output(made):
    matter, text = parts((made["parquet"] / "README.md").read_text())
    tree, metrics = described(made["parquet"])
    assert matter["size_categories"] == ["n<1K"]
    assert f"`{tree['fingerprint']}`" in text
    assert "| ok, in the data | 7 | 87.5 % |" in text
    assert "| rejected | 1 | 12.5 % |" in text
    assert "| attempted | 8 | 100 % |" in text
    assert "`empty` 1" in text
    low, high = metrics["columns"]["psnr"]["ci95"]
    assert f"{low:.3f} to {high:.3f}" in text
    assert 'read_parquet("out/data")' in text


def test_a_carried_column_is_no_picture():
    layout = Layout(image="jpg", carry={"image": "binary"})
    assert {"name": "source_image", "dtype": "binary"} in parquet_features(layout, False)


@pytest.mark.parametrize("pairs", [False, True])
def test_parquet_features_are_what_datasets_would_write(pairs):
    carry: Any = {
        "id": "int64",
        "speed": "double",
        "night": "bool",
        "city": "string",
        "raw": "binary",
        "width": "int64",
    }
    layout = Layout(image="jpg", target="target.jpg", masks=("seg.png", "labels"), carry=carry)
    schema = data_schema(layout, pairs)
    features = datasets.Features.from_arrow_schema(schema)
    pictures = ["image", "target.jpg", "seg.png", "source_labels", *(["source_image"] if pairs else [])]
    for name in pictures:
        features[name] = datasets.Image()
    ours = parquet_features(layout, pairs)
    assert ours == features._to_yaml_list()
    assert datasets.Features._from_yaml_list(ours) == features


def test_webdataset_features_are_understood():
    layout = Layout(image="png", caption="txt", masks=("seg", "depth.png"), carry={"id": "int64", "raw.bin": "binary"})
    features = datasets.Features._from_yaml_list(webdataset_features(layout, "jpg", True))
    kinds = {name: type(feature).__name__ for name, feature in features.items()}
    assert kinds["json"] == "Json"
    pictures = {name for name, kind in kinds.items() if kind == "Image"}
    assert pictures == {"jpg", "source.png", "source.jpg", "seg.png", "seg.jpg", "depth.png"}
    assert features["raw.bin"] == datasets.Value("binary")
    assert "id" not in features


def test_passthrough_columns_are_declared(tmp_path):
    write_parquet(tmp_path / "in" / "a.parquet", street_samples(["a", "b"]))
    run_job(job(tmp_path / "in", tmp_path / "out"), local=True)
    rows = datasets.load_dataset(str(tmp_path / "out"), split="train")
    assert isinstance(rows, datasets.Dataset)
    assert rows["city"][:] == ["city 0", "city 1"]
    assert rows["frame"][:] == [0, 1]
    assert rows[0]["seg"].mode == "L"


@pytest.mark.parametrize("format", ["parquet", "webdataset"])
def test_where_nothing_is_ok_the_index_still_loads(tmp_path, format):
    write_tar(tmp_path / "in" / "a.tar", {"a": {"jpg": b"nothing"}})
    run_job(job(tmp_path / "in", tmp_path / "out", output__format=format), local=True)
    matter, text = parts((tmp_path / "out" / "README.md").read_text())
    assert [each["config_name"] for each in matter["configs"]] == ["index"]
    assert "import ray" not in text
    index = datasets.load_dataset(str(tmp_path / "out"), split="train")
    assert isinstance(index, datasets.Dataset)
    assert index["status"][:] == ["rejected"]


def test_an_empty_output_has_a_card_too(made):
    tree, metrics = described(made["parquet"])
    metrics |= {"rows": dict.fromkeys(metrics["rows"], 0), "columns": {}, "reasons": {}}
    matter, text = parts(card_of(tree, metrics, None))
    assert "configs" not in matter
    assert "## Limits" in text
    assert "too large" not in text


def test_without_a_merged_index_the_parts_are_the_index(made):
    tree, metrics = described(made["parquet"])
    matter, text = parts(card_of(tree, metrics, None))
    assert matter["configs"][1]["data_files"][0]["path"] == "index/*.parquet"
    table = pd.read_parquet(made["parquet"] / "index")
    assert len(table) == 8
    assert 'pd.read_parquet("out/index")' in text


def test_an_object_store_is_addressed_with_its_endpoint(made):
    for format in ("parquet", "webdataset"):
        tree, metrics = described(made[format])
        output = tree["spec"]["output"]
        output["uri"] = "s3://bucket/o'ne"
        output["storage"] |= {"endpoint_url": "http://host:9000", "region": "eu-1", "key_env": "OTHER_KEY"}
        schema = pq.read_schema(made[format] / "index.parquet")
        _, text = parts(card_of(tree, metrics, schema))
        for code in re.findall(r"```python\n(.*?)```", text, re.S):
            compile(code, "card", "exec")
            assert "s3://bucket/o'ne" in code or "s3://bucket/o''ne" in code
            assert "http://host:9000" in code
        assert "OTHER_KEY" not in text
        assert "o''ne/index.parquet'" in text


def test_foreign_text_does_not_become_markup(made):
    tree, metrics = described(made["parquet"])
    tree["spec"]["name"] = "a <b>|\n# b"
    tree["layout"]["carry"] = {"we|ird`name": "int64"}
    metrics["reasons"] = {"x|y": 3}
    schema = pa.schema([("key", pa.string()), ("metric.a|b", pa.float64())])
    matter, text = parts(card_of(tree, metrics, schema))
    assert matter["pretty_name"] == "a <b>| # b"
    assert "# a \\<b\\>\\| \\# b" in text
    assert "``we\\|ird`name``" not in matter
    assert "`` we\\|ird`name ``" in text
    assert "`x\\|y` 3" in text
    for line in text.splitlines():
        if line.startswith("| `"):
            assert len(re.findall(r"(?<!\\)\|", line)) in (3, 4, 9)


def test_limits_name_what_was_done(tmp_path, made):
    tree, metrics = described(made["parquet"])
    _, text = parts(card_of(tree, metrics, None))
    assert "bit for bit" in text
    assert "`keep` dropped" not in text
    tree["spec"]["keep"] = "psnr > 3"
    tree["spec"]["compute"] |= {"gpus": 1, "dtype": "bfloat16"}
    _, text = parts(card_of(tree, metrics, None))
    assert "`keep` dropped" in text
    assert "bit for bit" not in text
    assert "on GPUs in bfloat16" in text


@pytest.mark.parametrize("format", ["parquet", "webdataset"])
def test_card_and_report_hold_no_path_of_the_machine(made, format):
    folder = made[format]
    for page in ("README.md", "report/index.html"):
        assert str(folder.parent) not in (folder / page).read_text()
