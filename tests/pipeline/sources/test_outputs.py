"""An output as the source of the next job: the same labels, captions, masks, members and types, whatever its format."""

from __future__ import annotations

import datetime
import decimal
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pipeline.job import Job
from pipeline.job_record import stored_job
from pipeline.labels.arrow import to_arrow_value
from pipeline.labels.record import parse_record, record_text
from pipeline.labels.records import Annotation, Labels
from pipeline.output.export.run import ExportOptions, export_folder
from pipeline.run.driver import run_job
from pipeline.sources.listing import found_under
from pipeline.spec import SourceSpec
from pipeline.storage import Store
from tests.support.datasets import encoded, label_map, picture, write_tar
from tests.support.jobs import index_rows, job

FORMATS = ["parquet", "webdataset"]

_number = st.floats(0, 40, width=32).map(lambda value: round(value, 3))
_text = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=6)
_plain = st.one_of(st.booleans(), st.integers(-9, 9), _text)
_polygon = st.lists(_number, min_size=6, max_size=8).map(lambda flat: flat[: len(flat) // 2 * 2])
_annotation = st.builds(
    Annotation,
    category=_text,
    category_id=st.none() | st.integers(0, 2**40),
    bbox=st.none() | st.tuples(_number, _number, _number, _number),
    segmentation=st.none() | st.lists(_polygon, max_size=2),
    rle=st.none() | st.sampled_from([{"size": [2, 3], "counts": "06"}, {"size": [2, 3], "counts": "6"}]),
    area=st.none() | _number,
    iscrowd=st.booleans(),
    id=st.none() | _text,
    attributes=st.dictionaries(_text, _plain, max_size=3),
)


@given(st.lists(_annotation, max_size=3), st.dictionaries(_text, _text, max_size=2), _text)
def test_a_record_reads_back_exactly(annotations, attributes, raw):
    labels = Labels(width=48, height=32, annotations=annotations, attributes=attributes, raw=raw)
    text = record_text(to_arrow_value(labels), raw)
    assert parse_record(json.loads(text), text) == labels


def coco(names: list[str], annotations: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "images": [{"id": n, "file_name": name, "width": 48, "height": 32} for n, name in enumerate(names)],
        "annotations": annotations,
        "categories": [{"id": 4, "name": "car"}, {"id": 9, "name": "person"}],
    }


_box = {"category_id": 4, "bbox": [1.5, 2, 30, 20], "area": 600, "iscrowd": 0, "id": 1}
KINDS: list[dict[str, Any]] = [
    _box,
    {**_box, "segmentation": [[1, 2, 30, 2, 30, 20.25]]},
    {**_box, "iscrowd": 1, "segmentation": {"size": [32, 48], "counts": [100, 50, 32 * 48 - 150]}},
    {**_box, "category_id": 9, "keypoints": [3, 4, 2, 0, 0, 0, 9.5, 8, 1], "num_keypoints": 2},
    {**_box, "attributes": {"occluded": True, "note": "ä"}, "score": 0.5},
]
FRAME = {
    "name": "b.png",
    "attributes": {"weather": "rainy", "timeofday": "night"},
    "labels": [
        {
            "id": "7",
            "category": "car",
            "box2d": {"x1": 1, "y1": 2, "x2": 9, "y2": 8},
            "attributes": {"truncated": True},
        },
        {
            "id": "8",
            "category": "lane",
            "poly2d": [{"vertices": [[1, 2], [3, 4], [5, 9]], "types": "LCL", "closed": False}],
        },
    ],
}


def labels_of(out: Path) -> dict[str, Any]:
    return {row["key"]: (row["labels"], row["caption"]) for row in index_rows(out)}


def chained(source: Path, tmp_path: Path, first: str, second: str, **changes: Any) -> tuple[Path, Path]:
    one, two = tmp_path / f"{first}-one", tmp_path / f"{first}-{second}-two"
    if not one.exists():
        run_job(job(source, one, output__format=first, **changes), local=True)
    run_job(job(one, two, output__format=second), local=True)
    return one, two


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_job_of_a_job_keeps_coco_labels(tmp_path_factory, data):
    root = tmp_path_factory.mktemp("chain")
    annotations = data.draw(st.lists(st.sampled_from(KINDS), max_size=4))
    placed = [{**each, "id": n, "image_id": n % 2} for n, each in enumerate(annotations)]
    (root / "in").mkdir()
    for name in ("a.png", "b.png"):
        (root / "in" / name).write_bytes(encoded(picture(1), "PNG"))
    (root / "labels.json").write_text(json.dumps(coco(["a.png", "b.png"], placed)))
    first, second = data.draw(st.sampled_from(FORMATS)), data.draw(st.sampled_from(FORMATS))
    labels = {"format": "coco", "uri": str(root / "labels.json")}
    one, two = chained(root / "in", root, first, second, source__labels=labels)
    assert labels_of(two) == labels_of(one)
    assert sum(len(found["annotations"]) for found, _ in labels_of(two).values()) == len(annotations)


@pytest.mark.parametrize("first", FORMATS)
@pytest.mark.parametrize("second", FORMATS)
def test_a_job_of_a_job_keeps_bdd100k_frames(tmp_path, first, second):
    members = {"png": encoded(picture(1), "PNG"), "json": json.dumps(FRAME).encode(), "txt": b"a wet street"}
    write_tar(tmp_path / "in" / "a.tar", {"b": members})
    one, two = chained(tmp_path / "in", tmp_path, first, second)
    assert labels_of(two) == labels_of(one)
    labels, caption = labels_of(two)["b"]
    assert caption == "a wet street"
    assert json.loads(labels["attributes"]) == FRAME["attributes"]
    assert [each["category"] for each in labels["annotations"]] == ["car", "lane"]
    # What the labels came from is still the frame, not our own record of it.
    assert json.loads(index_rows(two)[0]["labels_raw"]) == FRAME


@pytest.mark.parametrize(
    ("first", "second"), [("parquet", "webdataset"), ("webdataset", "files"), ("files", "parquet")]
)
def test_what_a_first_job_made_true_stays_true(tmp_path, first, second):
    """A night stays a night through a job that changes nothing, and in the frames that come out of both."""
    said = {"weather": "rainy", "timeofday": "daytime", "lights": True}
    frame = {**FRAME, "attributes": said}
    write_tar(tmp_path / "in" / "a.tar", {"b": {"png": encoded(picture(1), "PNG"), "json": json.dumps(frame).encode()}})
    one, two = tmp_path / "one", tmp_path / "two"
    run_job(job(tmp_path / "in", one, method__preset="night", output__format=first), local=True)
    run_job(job(one, two, method__name="null", output__format=second, source__labels={"format": "bdd100k"}), local=True)
    assert labels_of(two) == labels_of(one)
    assert json.loads(labels_of(two)["b"][0]["attributes"])["timeofday"] == "night"
    for out in (one, two):
        store = Store(str(out))
        record = stored_job(store)
        assert record is not None
        export_folder(Job.from_record(record, store), Store(f"{out}-bdd"), ExportOptions("bdd100k"))
        (labels,) = Path(f"{out}-bdd/labels").rglob("*.json")
        (found,) = json.loads(labels.read_text())
        assert found["attributes"] == {**said, "timeofday": "night"}
        assert found["labels"] == frame["labels"]


def members_of(out: Path) -> dict[str, bytes]:
    found = {}
    for path in sorted((out / "data").glob("*.tar")):
        with tarfile.open(path) as archive:
            for member in archive:
                content = archive.extractfile(member)
                assert content is not None
                found[member.name] = content.read()
    return found


def test_members_stay_members(tmp_path):
    own, meta = json.dumps({"url": "http://x", "gps": [1, 2]}).encode(), b'{"speed": 3}\n'
    members = {"jpg": encoded(picture(1)), "cls": b"7", "json": own, "meta.json": meta, "seg.png": label_map(1)}
    write_tar(tmp_path / "in" / "a.tar", {"0001": {**members, "npy": b"\x93NUMPY..."}})
    one, two = chained(tmp_path / "in", tmp_path, "webdataset", "webdataset")
    chained(tmp_path / "in", tmp_path, "parquet", "webdataset")
    for out in (one, two, tmp_path / "parquet-webdataset-two"):
        found = members_of(out)
        for name in ("cls", "json", "meta.json", "seg.png", "npy"):
            assert found[f"0001.{name}"] == {**members, "npy": b"\x93NUMPY..."}[name], (out.name, name)
        assert json.loads(found["0001.sceneshift.json"])["key"] == "0001"


def test_types_survive_a_tar(tmp_path):
    zone = datetime.timezone(datetime.timedelta(hours=2))
    columns: dict[str, pa.Array] = {
        "key": pa.array(["a.b/c", "d"]),
        "image": pa.array([encoded(picture(n), "PNG") for n in range(2)]),
        "big": pa.array([2**63 + 5, None], pa.uint64()),
        "weather": pa.array(["clear", "rain"]).dictionary_encode(),
        "taken": pa.array([datetime.datetime(2024, 1, 1, 3, tzinfo=zone), None], pa.timestamp("us", "+02:00")),
        "day": pa.array([datetime.date(2024, 1, 1)] * 2),
        "price": pa.array([decimal.Decimal("1.50"), None]),
        "tags": pa.array([["x", "y"], []]),
        "where": pa.array([{"lat": 1.5, "names": ["n"]}, None]),
        "small": pa.array([1, 2], pa.int8()),
    }
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table(columns), tmp_path / "in" / "a.parquet")
    _, two = chained(tmp_path / "in", tmp_path, "webdataset", "parquet")
    (data,) = (two / "data").glob("*.parquet")
    table = pq.read_table(data)
    for name, column in columns.items():
        if name != "image":
            assert table[name].to_pylist() == column.to_pylist(), name
            assert table.schema.field(name).type == column.type, name


@pytest.mark.parametrize("format", FORMATS)
def test_an_output_means_its_data(tmp_path, format):
    samples = {f"s{n}": {"png": encoded(picture(n), "PNG")} for n in range(3)}
    write_tar(tmp_path / "in" / "a.tar", samples)
    out = tmp_path / "out"
    run_job(job(tmp_path / "in", out, output__format=format), local=True)
    ending = "tar" if format == "webdataset" else "parquet"
    for uri in (out, out / "data", out / "data" / f"*.{ending}", out / "**" / f"*.{ending}", tmp_path / "ou*"):
        found = found_under(str(uri), SourceSpec(uri=str(uri)))
        names = [Path(name).name for name in found.sizes]
        assert names == [path.name for path in (out / "data").iterdir()], uri
    # A data file whose shard is not committed does not exist.
    next((out / "index").iterdir()).unlink()
    assert found_under(str(out), SourceSpec(uri=str(out))).sizes == {}


@pytest.mark.parametrize("format", FORMATS)
def test_variants_are_samples_of_their_own(tmp_path, format):
    write_tar(tmp_path / "in" / "a.tar", {"a": {"png": encoded(picture(1), "PNG")}})
    run_job(job(tmp_path / "in", tmp_path / "one", variants=2, output__format=format), local=True)
    run_job(job(tmp_path / "one", tmp_path / "two"), local=True)
    assert [row["key"] for row in index_rows(tmp_path / "two")] == ["a_v0", "a_v1"]


def test_a_carried_picture_does_not_take_the_place_of_the_translated_one(tmp_path):
    members = {"jpg": encoded(picture(1)), "png": label_map(2)}
    write_tar(tmp_path / "in" / "a.tar", {"a": members})
    run_job(job(tmp_path / "in", tmp_path / "out", output__format="webdataset"), local=True)
    found = members_of(tmp_path / "out")
    assert found["a.carried.png"] == members["png"]
    assert found["a.png"] != members["png"]
    assert io.BytesIO(found["a.png"]).read(4) == b"\x89PNG"
