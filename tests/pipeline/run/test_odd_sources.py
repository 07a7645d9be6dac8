"""Whole jobs over data sets as people have them: every picture, member, column and label comes out, or is named."""

from __future__ import annotations

import datetime
import decimal
import io
import json
import os
import struct
import tarfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from methods.errors import InputError
from pipeline import codec
from pipeline.run.driver import run_job
from pipeline.spec import JobSpec
from tests.support.datasets import encoded, picture, write_tar
from tests.support.jobs import data_rows, index_rows, job
from tests.support.label_files import write_files

SIZE = (96, 64)
PNG, JPG = encoded(picture(1, SIZE), "PNG"), encoded(picture(1, SIZE))


def run(root: Path, source: dict[str, Any], **changes: Any) -> tuple[Any, dict[str, dict[str, Any]]]:
    """(outcome, index rows by key) of a job that changes no pixel."""
    tree = job(root / "in", root / "out", method__name="null", max_rejects=100, **changes).as_tree()
    tree["source"] |= source
    outcome = run_job(JobSpec.parse(tree), local=True)
    return outcome, {row["key"]: row for row in index_rows(root / "out")}


def left_out(outcome: Any) -> dict[tuple[str, str], list[str]]:
    return {(each.kind, each.name): list(each.examples) for each in outcome.summary.findings}


def pixels(row: dict[str, Any]) -> np.ndarray:
    """Of a translated picture; a model's output is cut off, not rounded, so that they may be 1 less."""
    return codec.decode(row["image"]).pixels


def test_ten_bits_with_and_without_their_depth(tmp_path):
    """A depth that the file states scales its values; without one they stay dark, and are counted."""
    ramp = np.tile(np.linspace(0, 1023, 96).astype(np.uint16), (64, 1))
    out = io.BytesIO()
    Image.fromarray(ramp).save(out, "PNG")
    plain, stated = out.getvalue(), b"sBIT" + bytes([10])
    chunk = struct.pack(">I", 1) + stated + struct.pack(">I", zlib.crc32(stated))
    write_files(tmp_path / "in", {"plain.png": plain, "stated.png": plain[:33] + chunk + plain[33:]})
    outcome, _ = run(tmp_path, {})
    rows = data_rows(tmp_path / "out")
    assert pixels(rows["stated/0"])[0, :, 0] == pytest.approx(ramp[0] / 1023 * 255, abs=1.51)
    assert pixels(rows["plain/0"])[0, :, 0] == pytest.approx(ramp[0] / 65535 * 255, abs=1.51)
    assert left_out(outcome) == {("depth", "dark"): ["plain"]}


def test_what_img2dataset_leaves(tmp_path):
    meta = [{"url": f"http://x/{n}.jpg", "key": f"00000{n:04d}", "status": "success"} for n in range(3)]
    samples = {
        each["key"]: {"jpg": JPG, "txt": f"street {n}".encode(), "json": json.dumps(each).encode()}
        for n, each in enumerate(meta)
    }
    write_tar(tmp_path / "in/00000.tar", samples)
    pq.write_table(pa.Table.from_pylist(meta), tmp_path / "in/00000.parquet")
    write_files(tmp_path / "in", {"00000_stats.json": {"count": 3}})
    outcome, rows = run(tmp_path, {})
    assert {key: row["caption"] for key, row in rows.items()} == {f"00000{n:04d}": f"street {n}" for n in range(3)}
    found = data_rows(tmp_path / "out")
    assert [json.loads(found[f"{each['key']}/0"]["json"]) for each in meta] == meta
    assert all(row["labels"] is None for row in rows.values())
    assert left_out(outcome) == {("file", ".parquet"): ["00000.parquet"]}


def test_a_stereo_pair_is_a_choice(tmp_path):
    write_tar(tmp_path / "in/a.tar", {f"{n:04d}": {"left.png": PNG, "right.png": JPG} for n in range(2)})
    with pytest.raises(
        InputError, match=r"several \(left\.png, right\.png\): choose one with `source\.image: left\.png`"
    ):
        run(tmp_path, {})
    outcome, rows = run(tmp_path, {"image": "left.png"})
    assert list(rows) == ["0000", "0001"]
    found = data_rows(tmp_path / "out")
    assert all(np.abs(pixels(row).astype(int) - picture(1, SIZE)).max() <= 1 for row in found.values())
    assert [row["right.png"] for row in found.values()] == [JPG] * 2
    assert left_out(outcome) == {("member", "right.png"): []}


def test_every_column_keeps_its_type(tmp_path):
    frame = pd.DataFrame(
        {
            "image": [PNG] * 3,
            "uid": ["a", "b", "c"],
            "weather": pd.Categorical(["clear", "rain", "clear"]),
            "taken": pd.Timestamp("2024-01-01"),
            "day": datetime.date(2024, 1, 1),
            "big": np.uint64(2**63 + 5),
            "half": np.float16(0.5),
            "price": decimal.Decimal("1.50"),
            "boxes": [[[1.0, 2.0, 3.0, 4.0]]] * 3,
            "tags": [["x"], [], None],
            "nothing": [None] * 3,
        }
    )
    table = pa.Table.from_pandas(frame)
    (tmp_path / "in").mkdir()
    pq.write_table(table, tmp_path / "in/data.parquet")
    outcome, _ = run(tmp_path, {"key": "uid"})
    (path,) = (tmp_path / "out/data").glob("*.parquet")
    made = pq.read_table(path)
    names = [name for name in table.column_names if name not in ("image", "nothing")]
    assert made.column("key").to_pylist() == ["a", "b", "c"]
    assert {name: made.column(name).to_pylist() for name in names} == {
        name: table.column(name).to_pylist() for name in names
    }
    types = {name: made.schema.field(name).type for name in ("weather", "big", "half", "price", "day")}
    assert types == {
        "weather": pa.dictionary(pa.int8(), pa.string()),
        "big": pa.uint64(),
        "half": pa.float16(),
        "price": pa.decimal128(3, 2),
        "day": pa.date32(),
    }
    assert left_out(outcome) == {("column", "nothing"): []}


@pytest.mark.parametrize(
    ("name", "text", "key"),
    [
        ("semi.csv", "\ufeffpath;weather;code\r\npics x/ä 1.jpg;clear;007\r\n", "pics x/ä 1"),
        ("bom.csv", '\ufeffpath,weather,code\npics x/ä 1.jpg,clear,"007"\n', "pics x/ä 1"),
        ("tabs.tsv", "path\tweather\tcode\npics x/ä 1.jpg\tclear\t007\n", "pics x/ä 1"),
        ("lists/up.csv", "path,weather,code\n../pics x/ä 1.jpg,clear,007\n", "pics x/ä 1"),
    ],
)
def test_tables_as_spreadsheets_write_them(tmp_path, name, text, key):
    write_files(tmp_path, {"pics x/ä 1.jpg": JPG, name: text})
    _, rows = run(tmp_path, {"uri": str(tmp_path / name)})
    assert {each: row["status"] for each, row in rows.items()} == {key: "ok"}
    (row,) = data_rows(tmp_path / "out").values()
    assert (row["weather"], row["code"]) == ("clear", "007")


def test_every_file_of_a_folder_is_translated_or_named(tmp_path):
    rgb = Image.fromarray(picture(1, SIZE))

    def saved(image: Image.Image, format: str, **options: Any) -> bytes:
        out = io.BytesIO()
        image.save(out, format, **options)
        return out.getvalue()

    good = {
        "upper.JPG": JPG,
        "photo.jfif": JPG,
        "sign.ppm": saved(rgb, "PPM"),
        "shot.jpe": JPG,
        "trailing.jpg": JPG + b"\0" * 500 + b"garbage",
        "cmyk.jpg": saved(rgb.convert("CMYK"), "JPEG", progressive=True),
        "named.jpg": PNG,
        "palette.png": saved(rgb.quantize(16), "PNG", transparency=0),
        "one.png": saved(rgb.convert("1"), "PNG"),
        "tiny.png": saved(rgb.crop((0, 0, 1, 1)), "PNG"),
        "mpo.jpg": saved(rgb, "MPO", save_all=True, append_images=[rgb]),
    }
    bad = {
        "cut.jpg": (JPG[: len(JPG) // 2], "truncated"),
        "html.jpg": (b"<html>not found</html>", "not_an_image"),
        "empty.jpg": (b"", "empty"),
        "animated.webp": (saved(rgb, "WEBP", save_all=True, append_images=[rgb.rotate(90)]), "animated"),
    }
    other = {"a.jp2": b"x", "b.nef": b"x", "noending": PNG, "notes.txt": b"hello", "Thumbs.db": b"x", "._a.jpg": b"x"}
    write_files(tmp_path / "in", {**good, **{name: data for name, (data, _) in bad.items()}, **other})
    write_files(tmp_path, {"elsewhere/x.jpg": JPG})
    for name, target in (("link.jpg", "../elsewhere/x.jpg"), ("broken.jpg", "../nowhere.jpg"), ("d", "../elsewhere")):
        os.symlink(target, tmp_path / "in" / name)
    outcome, rows = run(tmp_path, {})
    translated = {*(name.rpartition(".")[0] for name in good), "link", "d/x"}
    assert {key for key, row in rows.items() if row["status"] == "ok"} == translated
    assert {key: row["error"] for key, row in rows.items() if row["status"] != "ok"} == {
        name.rpartition(".")[0]: reason for name, (_, reason) in bad.items()
    }
    assert left_out(outcome) == {
        ("file", "link"): ["broken.jpg"],
        ("file", ".jp2"): ["a.jp2"],
        ("file", ".nef"): ["b.nef"],
        ("file", ".txt"): ["notes.txt"],
        ("file", "no ending"): ["noending"],
        ("file", "Thumbs.db"): ["Thumbs.db"],
        ("file", "._*"): ["._a.jpg"],
    }


BOX, TRIANGLE = [1.0, 2.0, 30.0, 20.0], [[1.0, 1.0, 30.0, 1.0, 30.0, 20.0]]
ODD: dict[str, tuple[dict[str, Any], dict[str, Any] | None, str | None]] = {
    # what differs from a usual annotation; what differs from the usual label, None: there is none; what is said of it
    "poly4": (
        {"segmentation": [[1, 1, 9, 9], *TRIANGLE]},
        {"segmentation": TRIANGLE},
        "2 points, too few for a polygon",
    ),
    "zero_area": ({"bbox": [5, 5, 0, 0], "area": 0}, None, "bbox has no area (0 x 0)"),
    "no_bbox": ({"bbox": None, "segmentation": TRIANGLE}, {"bbox": None, "segmentation": TRIANGLE}, None),
    "empty_bbox": ({"bbox": []}, None, "has no box, polygon, mask or keypoints"),
    "negative": ({"bbox": [50, 50, -20, -10]}, None, "negative side"),
    "cat_float": ({"category_id": 1.0}, {}, None),
    "cat_text": ({"category_id": "1"}, {}, None),
    "cat_none": ({"category_id": None}, None, "category_id is null"),
    "seg_empty": ({"segmentation": []}, {}, None),
    "seg_flat": ({"segmentation": TRIANGLE[0]}, {"segmentation": TRIANGLE}, None),
    "unknown_cat": ({"category_id": 77}, {"category": "77", "category_id": 77}, "category_id 77 is not declared"),
    "score": ({"score": 0.7, "attributes": {"color": "red"}}, {"attributes": {"score": 0.7, "color": "red"}}, None),
    "crowd_text": ({"iscrowd": "0"}, {}, None),
    "area_text": ({"area": "600"}, {}, None),
    "partly_outside": ({"bbox": [90, 60, 30, 20]}, {"bbox": [90, 60, 30, 20]}, None),
    "wholly_outside": ({"bbox": [97, 2, 30, 20]}, None, "lies outside the picture of 96x64"),
    "keypoints": (
        {"keypoints": [1.5, 2.5, 2, 0, 0, 0], "num_keypoints": 1},
        {"attributes": {"num_keypoints": 1, "keypoints": [1.5, 2.5, 2, 0, 0, 0]}},
        None,
    ),
}
USUAL = {"category": "car", "category_id": 1, "bbox": BOX, "area": 600, "iscrowd": False, "segmentation": None}


@pytest.mark.parametrize("strict", [False, True])
def test_odd_annotations(tmp_path, strict):
    images = [{"id": n, "file_name": f"C:\\sets\\{name}.png", "width": 96, "height": 64} for n, name in enumerate(ODD)]
    one = {"category_id": 1, "bbox": BOX, "area": 600, "iscrowd": 0}
    annotations = [{"id": 100 + n, "image_id": n, **one, **odd[0]} for n, odd in enumerate(ODD.values())]
    document = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "car"}]}
    write_files(tmp_path, {"labels.json": document, **{f"in/{name}.png": PNG for name in ODD}})
    labels = {"format": "coco", "uri": str(tmp_path / "labels.json"), "strict": strict}
    outcome, rows = run(tmp_path, {"labels": labels})
    for name, (_, expected, said) in ODD.items():
        row = rows[name]
        if strict and said is not None:
            assert (row["status"], row["error"]) == ("rejected", "bad_labels"), name
            assert said in row["message"], name
            continue
        found = row["labels"]["annotations"]
        assert len(found) == (expected is not None), name
        if expected is not None:
            wanted = {**USUAL, "attributes": {}, **expected}
            read = {**found[0], "attributes": json.loads(found[0]["attributes"])}
            assert {field: read[field] for field in wanted} == wanted, name
        problems = row["label_problems"] or []
        assert len(problems) == (said is not None), name
        assert said is None or said in problems[0], name
    if not strict:
        assert outcome.summary.labels["left_out"] == sum(said is not None for *_, said in ODD.values())


def test_a_tar_in_any_order_with_any_members_comes_out_as_it_went_in(tmp_path):
    """All pictures first, then labels, classes and metadata; jpg, jpeg and png mixed."""
    names = {"0000": "jpg", "0001": "png", "0002": "jpeg"}
    record = {"annotations": [{"id": 1, "category": "car", "bbox": BOX}], "width": 96, "height": 64}
    parts = [(f"{key}.{ending}", PNG if ending == "png" else JPG) for key, ending in names.items()]
    parts += [(f"{key}.json", json.dumps(record).encode()) for key in names]
    parts += [(f"{key}.cls", b"7") for key in names] + [(f"{key}.meta.json", b'{"speed": 3}') for key in names]
    (tmp_path / "in").mkdir()
    with tarfile.open(tmp_path / "in/a.tar", "w") as archive:
        for name, data in parts:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    _, rows = run(tmp_path, {}, output__format="webdataset")
    assert {key: [each["bbox"] for each in row["labels"]["annotations"]] for key, row in rows.items()} == {
        key: [BOX] for key in names
    }
    (path,) = (tmp_path / "out/data").glob("*.tar")
    with tarfile.open(path) as archive:
        made = {member.name: archive.extractfile(member).read() for member in archive}  # type: ignore[union-attr]
    for key in names:
        assert made[f"{key}.cls"] == b"7"
        assert made[f"{key}.meta.json"] == b'{"speed": 3}'


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_the_metadata_of_an_image_folder_is_a_manifest(tmp_path, ending):
    """As ``datasets`` lays it out: beside the pictures it is named, given as the source it is read."""
    row = {"file_name": "train/a.png", "text": "a street"}
    objects = {"bbox": [[1.0, 2.0, 30.0, 20.0]], "categories": [3]}
    text = (
        "file_name,text\ntrain/a.png,a street\n" if ending == "csv" else json.dumps({**row, "objects": objects}) + "\n"
    )
    write_files(tmp_path / "in", {"train/a.png": PNG, f"metadata.{ending}": text})
    outcome, rows = run(tmp_path, {})
    assert rows["train/a"]["caption"] is None
    assert left_out(outcome) == {("file", f".{ending}"): [f"metadata.{ending}"]}
    assert "read where source.uri names the file" in outcome.summary.findings[0].reason
    _, rows = run(tmp_path, {"uri": str(tmp_path / f"in/metadata.{ending}")}, output__uri=str(tmp_path / "again"))
    rows = {row["key"]: row for row in index_rows(tmp_path / "again")}
    assert rows["train/a"]["caption"] == "a street"
    if ending == "jsonl":
        (found,) = rows["train/a"]["labels"]["annotations"]
        assert (found["bbox"], found["category_id"]) == ([1, 2, 30, 20], 3)


def test_a_table_from_windows(tmp_path):
    write_files(tmp_path, {"pics/a.png": PNG, "in/list.csv": "path\n..\\pics\\a.png\nD:\\photos\\b.png\n"})
    _, rows = run(tmp_path, {"uri": str(tmp_path / "in/list.csv")})
    assert {key.rpartition("/")[2]: (row["status"], row["error"]) for key, row in rows.items()} == {
        "a": ("ok", None),
        "b": ("rejected", "missing"),
    }


def test_a_map_of_the_stored_pixels_turns_with_its_picture(tmp_path):
    exif = Image.Exif()
    exif[0x112] = 6
    out = io.BytesIO()
    Image.fromarray(picture(1, SIZE)).save(out, "JPEG", exif=exif.tobytes())
    stored = np.arange(64 * 96, dtype=np.uint16).reshape(64, 96)
    upright = codec.upright(stored, 6)
    maps = {"a.seg.png": codec.encode_mask(stored), "b.seg.png": codec.encode_mask(np.ascontiguousarray(upright))}
    write_files(tmp_path / "in", {"a.jpg": out.getvalue(), "b.jpg": out.getvalue(), **maps})
    run(tmp_path, {})
    for row in data_rows(tmp_path / "out").values():
        assert pixels(row).shape == (96, 64, 3)
        assert codec.decode_mask(row["seg.png"]).tolist() == upright.tolist()


def test_archives_and_references_say_what_to_do(tmp_path):
    write_files(tmp_path / "in", {"data.zip": b"PK"})
    with pytest.raises(InputError, match=r"data\.zip is an archive that is not read: unpack it"):
        run(tmp_path, {})
    write_files(tmp_path / "in", {"a.png": PNG})
    outcome, _ = run(tmp_path, {})
    assert left_out(outcome) == {("file", ".zip"): ["data.zip"]}
    (tmp_path / "refs").mkdir()
    cells = [{"bytes": None, "path": "x/a.png"}, {"bytes": PNG, "path": "b.png"}]
    pq.write_table(pa.table({"key": ["a", "b"], "image": cells}), tmp_path / "refs/t.parquet")
    run(tmp_path, {"uri": str(tmp_path / "refs")}, output__uri=str(tmp_path / "out2"))
    a, b = index_rows(tmp_path / "out2")
    assert (a["error"], b["status"]) == ("no_image", "ok")
    assert a["message"] == "'image' only names a file (x/a.png) and holds no bytes: embed the pictures"
