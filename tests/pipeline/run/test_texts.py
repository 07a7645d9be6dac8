"""Texts of sources as editors and tables write them: captions, labels and columns come out right, or are named."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from methods.errors import InputError
from pipeline.run.driver import run_job
from tests.support.datasets import encoded, picture, write_tar
from tests.support.jobs import data_rows, index_rows, job
from tests.support.label_files import write_files

JPG = encoded(picture(1))
BOX = {"id": 1, "bbox": [1, 1, 10, 10], "category": "café"}


def run(root: Path, uri: str = "", **changes: Any) -> tuple[Any, dict[str, dict[str, Any]]]:
    """(outcome, index rows by key) of a job that changes no pixel."""
    outcome = run_job(job(root / "in" / uri, root / "out", method__name="null", **changes), local=True)
    return outcome, {row["key"]: row for row in index_rows(root / "out")}


def findings(outcome: Any) -> dict[str, tuple[str, ...]]:
    return {each.name: each.examples for each in outcome.findings}


def test_captions_have_no_marks_of_editors_and_other_encodings_are_named(tmp_path):
    texts = {
        "bom": b"\xef\xbb\xbfcaf\xc3\xa9",
        "windows": b"a dog\r\n",
        "latin": b"caf\xe9",
        "utf16": "é".encode("utf-16"),
    }
    pictures = {f"{name}.jpg": JPG for name in texts}
    write_files(tmp_path / "in", pictures | {f"{name}.txt": text for name, text in texts.items()})
    outcome, rows = run(tmp_path)
    said = {key: row["caption"] for key, row in rows.items()}
    assert said == {"bom": "café", "windows": "a dog", "latin": None, "utf16": None}
    assert findings(outcome) == {"txt": ("latin", "utf16")}


def test_label_records_that_are_damaged_are_named_and_a_byte_order_mark_is_no_damage(tmp_path):
    whole = json.dumps({"annotations": [BOX]}, ensure_ascii=False)
    texts = {
        "a": whole.encode(),
        "bom": b"\xef\xbb\xbf" + whole.encode(),
        "cut": whole.encode()[:30],
        "latin": whole.encode("latin-1"),
        "other": b'{"camera": 3}',
    }
    write_tar(tmp_path / "in" / "a.tar", {key: {"jpg": JPG, "json": text} for key, text in texts.items()})
    outcome, rows = run(tmp_path)
    found = {key: row["labels"] and row["labels"]["annotations"][0]["category"] for key, row in rows.items()}
    assert found == {"a": "café", "bom": "café", "cut": None, "latin": None, "other": None}
    assert [key for key, row in rows.items() if row["label_problems"]] == ["cut"]
    assert outcome.summary.labels["left_out"] == 1
    assert any("(cut)" in line for line in outcome.warnings)
    assert findings(outcome) == {"json": ("latin",)}


def test_strict_labels_reject_a_damaged_record(tmp_path):
    samples = {"a": json.dumps({"annotations": [BOX]}).encode(), "b": b'{"annotations": ['}
    write_tar(tmp_path / "in" / "a.tar", {key: {"jpg": JPG, "json": text} for key, text in samples.items()})
    _, rows = run(tmp_path, source__labels__strict=True, max_rejects=10)
    assert (rows["a"]["status"], rows["b"]["error"]) == ("ok", "bad_labels")


def test_of_a_list_of_captions_the_first_counts_and_the_list_passes_through(tmp_path):
    (tmp_path / "in").mkdir()
    table = pa.table({"key": ["a", "b"], "image": [JPG, JPG], "caption": [["one", "two"], []], "text": [1, 2]})
    pq.write_table(table, tmp_path / "in" / "a.parquet")
    _, rows = run(tmp_path)
    data = data_rows(tmp_path / "out")
    assert [rows[key]["caption"] for key in "ab"] == ["one", None]
    assert [data[f"{key}/0"]["source_caption"] for key in "ab"] == [["one", "two"], []]
    assert [data[f"{key}/0"]["text"] for key in "ab"] == [1, 2]


def test_a_quotation_mark_that_is_not_closed_does_not_swallow_rows(tmp_path):
    """Read on, it would be one caption of all the rows that follow, and those would be gone."""
    rows = 'file_name,caption\na.jpg,fine\nb.jpg,"open\na.jpg,x\nb.jpg,y\n'
    write_files(tmp_path / "in", {"a.jpg": JPG, "b.jpg": JPG, "m.csv": rows.encode()})
    with pytest.raises(InputError, match="line 3: a value that begins with a quotation mark"):
        run(tmp_path, "m.csv")


def test_a_table_with_blanks_after_its_commas(tmp_path):
    rows = b"key, file_name, caption\none, a.jpg, a dog\n"
    write_files(tmp_path / "in", {"a.jpg": JPG, "m.csv": rows})
    _, found = run(tmp_path, "m.csv")
    assert {key: (row["status"], row["caption"]) for key, row in found.items()} == {"one": ("ok", "a dog")}


def test_text_of_json_lines_stays_text(tmp_path):
    row = {"file_name": "a.jpg", "id": "2024-01-01T10:00:00Z", "caption": "2024-01-01", "at": ["2024-01-01"]}
    write_files(tmp_path / "in", {"a.jpg": JPG, "m.jsonl": json.dumps(row).encode()})
    _, rows = run(tmp_path, "m.jsonl")
    assert rows[row["id"]]["caption"] == "2024-01-01"
    assert data_rows(tmp_path / "out")[f"{row['id']}/0"]["at"] == ["2024-01-01"]


def test_values_of_later_files_are_not_cut_to_the_type_of_the_first(tmp_path):
    (tmp_path / "in").mkdir()
    for name, values in {"a": [1, 2], "b": [1.5, 3.0]}.items():
        table = pa.table({"__key__": [f"{name}{n}".encode() for n in range(2)], "image": [JPG, JPG], "n": values})
        pq.write_table(table, tmp_path / "in" / f"{name}.parquet")
    outcome, _ = run(tmp_path)
    values = {key: row["n"] for key, row in data_rows(tmp_path / "out").items()}
    assert values == {"a0/0": 1, "a1/0": 2, "b0/0": None, "b1/0": 3}
    assert findings(outcome) == {"n": ("b0",)}


def test_labels_find_names_whose_accents_are_written_otherwise(tmp_path):
    apart = unicodedata.normalize("NFD", "café")
    labels = {"images": [{"id": 1, "file_name": "café.jpg"}], "annotations": [BOX | {"image_id": 1}], "categories": []}
    write_files(tmp_path, {f"in/{apart}.jpg": JPG, "labels.json": json.dumps(labels).encode()})
    _, rows = run(tmp_path, source__labels={"uri": str(tmp_path / "labels.json")})
    assert len(rows[apart]["labels"]["annotations"]) == 1


@pytest.mark.parametrize(("column", "said"), [("image", {}), ("photo", {"source__image": "photo"})])
def test_the_column_of_pictures_may_have_any_name(tmp_path, column, said):
    write_files(tmp_path / "in", {"a.jpg": JPG, "m.csv": f"{column},caption\na.jpg,a dog\n".encode()})
    _, rows = run(tmp_path, "m.csv", **said)
    assert {key: row["caption"] for key, row in rows.items()} == {"a": "a dog"}


def test_a_column_called_like_the_picture_is_named_or_passes(tmp_path):
    write_files(tmp_path / "in", {"a.jpg": JPG, "m.csv": b"file_name,image\na.jpg,7\n"})
    outcome, _ = run(tmp_path, "m.csv")
    assert [each.name for each in outcome.findings] == ["image"]
    spec = job(tmp_path / "in" / "m.csv", tmp_path / "said", method__name="null", source__image="file_name")
    run_job(spec, local=True)
    assert data_rows(tmp_path / "said")["a/0"]["source_image"] == "7"


def test_files_that_differ_from_a_pattern_in_letter_case_are_named(tmp_path):
    write_files(tmp_path / "in", {"a.jpg": JPG, "b/C.JPG": JPG, "b/d.png": JPG})
    outcome, rows = run(tmp_path, "**/*.jpg")
    assert list(rows) == ["a"]
    assert findings(outcome) == {".JPG": ("b/C.JPG",)}
    with pytest.raises(InputError, match=r"matches no file; 2 differ in letter case alone \(a.jpg\)"):
        run(tmp_path, "**/*.Jpg")
