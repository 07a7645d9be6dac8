"""What sources keep, refuse and say: names, members, columns, keys, links and depths."""

from __future__ import annotations

import bz2
import io
import lzma
import os
import tarfile
import zipfile

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from methods.errors import InputError
from pipeline import codec
from pipeline.sources import detect, open_source
from pipeline.sources.columns import kind_of, type_of
from pipeline.sources.delimited import read_delimited
from pipeline.sources.manifest import keys_of
from pipeline.sources.peek import resolve_layout
from pipeline.spec import SourceSpec
from tests.support.datasets import encoded, picture, write_tar

JPG, PNG = encoded(picture(1)), encoded(picture(1), "PNG")


def samples(spec: SourceSpec):
    format = detect(spec)
    layout = resolve_layout(spec, format, 8)
    source = open_source(spec, format, 8)
    return [sample for file in source.plan() for shard in source.read(file, layout, 8) for sample in shard.samples]


def test_members_of_a_tar_may_lie_apart_and_endings_may_differ(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        for name, data in (("0.png", PNG), ("1.jpeg", JPG), ("._0.png", b"x"), ("0.txt", b"a"), ("1.txt", b"b")):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    found = samples(SourceSpec(uri=str(tmp_path)))
    assert [(each.key, each.caption, each.problem) for each in found] == [("0", "a", None), ("1", "b", None)]


def test_dotted_names_in_a_tar_by_choice(tmp_path):
    write_tar(tmp_path / "a.tar", {f"22.0{n}": {"png": PNG, "txt": b"x"} for n in range(5, 9)})
    with pytest.raises(InputError, match="key_from: last_dot"):
        samples(SourceSpec(uri=str(tmp_path)))
    keys = [each.key for each in samples(SourceSpec(uri=str(tmp_path), key_from="last_dot"))]
    assert keys == ["22.05", "22.06", "22.07", "22.08"]


def test_dotted_loose_names_and_links(tmp_path):
    (tmp_path / "pool").mkdir()
    (tmp_path / "in").mkdir()
    (tmp_path / "pool" / "x.jpg").write_bytes(JPG)
    for name in ("a.jpg", "a.v2.jpg", "b.jfif"):
        os.symlink("../pool/x.jpg", tmp_path / "in" / name)
    os.symlink("../nowhere.jpg", tmp_path / "in" / "broken.jpg")
    (tmp_path / "in" / "c.jp2").write_bytes(b"x")
    os.mkfifo(tmp_path / "in" / "d.jpg")
    spec = SourceSpec(uri=str(tmp_path / "in"))
    assert [each.key for each in samples(spec)] == ["a", "a.v2", "b"]
    said = {each.name: each.examples for each in open_source(spec, "folder", 8).survey().findings}
    assert said == {".jp2": ("c.jp2",), "link": ("broken.jpg",), "special": ("d.jpg",)}
    pattern = open_source(SourceSpec(uri=str(tmp_path / "in" / "*.jpg")), "folder", 8).survey().findings
    assert {each.name for each in pattern} == {"link", "special"}


def test_objects_are_labels_and_keys_are_unique_or_not_taken(tmp_path):
    objects = [{"bbox": [[1.0, 2.0, 3.0, 4.0]], "category": [0]}] * 2
    pq.write_table(pa.table({"image": [PNG, PNG], "name": ["car", "car"], "objects": objects}), tmp_path / "a.parquet")
    found = samples(SourceSpec(uri=str(tmp_path)))
    assert len({each.key for each in found}) == 2
    assert all(each.problem is None and '"bbox":[1.0,2.0,3.0,4.0]' in (each.labels_raw or "") for each in found)
    with pytest.raises(InputError, match=r"source\.key names 'uidd'"):
        samples(SourceSpec(uri=str(tmp_path), key="uidd"))


def test_csv_is_text():
    read = read_delimited("\ufeffpath;code;n\na b.jpg;007;1\nc.jpg;NA;2\n".encode(), {"n": "int64"}, "x.csv")
    assert (read.delimiter, read.table["code"].to_pylist()) == ("semicolon", ["007", "NA"])
    assert read.table["n"].to_pylist() == [1, 2]


def test_manifest_keys_are_below_the_common_root():
    assert keys_of("/d/lists", ["/d/pics/a.jpg", "/d/lists/b.jpg"]) == ["pics/a", "lists/b"]
    assert keys_of("/d", ["s3://b/x/y/a.jpg", "s3://b/x/z/b.jpg"]) == ["y/a", "z/b"]


@pytest.mark.parametrize("type", [pa.uint64(), pa.decimal128(3, -1), pa.list_(pa.struct([("a b", pa.date32())]))])
def test_types_as_text(type):
    kind = kind_of(type)
    assert kind is not None
    assert type_of(kind) == type


def test_ten_bits_in_sixteen_are_in_doubt():
    out = io.BytesIO()
    Image.fromarray(np.tile(np.linspace(0, 1023, 96).astype(np.uint16), (8, 1))).save(out, "PNG")
    assert "1/16" in (codec.decode(out.getvalue()).doubt or "")
    assert codec.decode(PNG).doubt is None


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.jpg", JPG)
    return file.getvalue()


@pytest.mark.parametrize(
    ("data", "kind"),
    [(zipped(), "zip"), (bz2.compress(JPG), "bz2"), (lzma.compress(JPG), "xz")],
    ids=["zip", "bz2", "xz"],
)
def test_an_archive_that_is_called_a_tar_is_named(tmp_path, data, kind):
    (tmp_path / "a.tar").write_bytes(data)
    with pytest.raises(InputError, match=f"it holds {kind} data, which is not read; unpack it"):
        samples(SourceSpec(uri=str(tmp_path)))


def test_a_tar_of_archives_is_named(tmp_path):
    write_tar(tmp_path / "a.tar", {"inner": {"tar": b"x"}, "other": {"zip": b"x"}})
    with pytest.raises(InputError, match="archives inside it are not looked into"):
        samples(SourceSpec(uri=str(tmp_path)))


def test_rows_that_name_one_picture_say_why_it_is_taken_once(tmp_path):
    """As in a table of boxes, one per row."""
    (tmp_path / "a.jpg").write_bytes(JPG)
    (tmp_path / "boxes.csv").write_text("filename,class,xmin\na.jpg,car,1\na.jpg,bus,2\n")
    first, second = (sample.problem for sample in samples(SourceSpec(uri=str(tmp_path / "boxes.csv"))))
    assert first is None
    assert second is not None
    assert second.error == "duplicate_key"
    assert "a row for each object" in second.message
