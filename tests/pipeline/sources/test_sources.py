"""Reading every source format: same samples, stable shards, and what is broken said so."""

from __future__ import annotations

import csv
import gzip
import io
import tarfile
from collections.abc import Collection
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.errors import InputError
from pipeline.records import SourceFile
from pipeline.sources import detect, open_source
from pipeline.sources.base import cut_shards, every_part, key_problem
from pipeline.sources.grouping import group_by_key
from pipeline.sources.peek import resolve_layout
from pipeline.sources.pending import Pending
from pipeline.spec import SourceSpec
from tests.support.datasets import street_samples, write_parquet, write_tar

NAMES = [f"n{n:02d}" for n in range(13)]


def everything(spec: SourceSpec, shard_size: int = 5, done: Collection[int] = ()):
    format = detect(spec)
    layout = resolve_layout(spec, format, shard_size)
    source = open_source(spec, format, shard_size)

    def wanted(part: int) -> bool:
        return part not in done

    return layout, [shard for file in source.plan() for shard in source.read(file, layout, shard_size, wanted)]


def make(kind: str, folder, names=NAMES):
    samples = street_samples(names)
    if kind == "webdataset":
        write_tar(folder / "a.tar", samples)
    elif kind == "parquet":
        write_parquet(folder / "a.parquet", samples)
    else:
        pictures = folder / "pictures" if kind == "manifest" else folder
        pictures.mkdir(parents=True, exist_ok=True)
        for name, members in samples.items():
            for suffix, data in members.items():
                (pictures / f"{name}.{suffix}").write_bytes(data)
        if kind == "manifest":
            with open(folder / "list.csv", "w", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(["uri", "caption", "city"])
                writer.writerows([f"pictures/{name}.jpg", f"a street called {name}", "here"] for name in names)
            return SourceSpec(uri=str(folder / "list.csv"))
    return SourceSpec(uri=str(folder))


@pytest.mark.parametrize("kind", ["webdataset", "parquet", "folder", "manifest"])
def test_every_format_gives_the_same_samples(tmp_path, kind):
    spec = make(kind, tmp_path)
    assert detect(spec) == kind
    layout, shards = everything(spec)
    samples = [sample for shard in shards for sample in shard.samples]
    expected = street_samples(NAMES)
    assert [sample.key.rsplit("/", 1)[-1] for sample in samples] == NAMES
    for name, sample in zip(NAMES, samples, strict=True):
        assert sample.image == expected[name]["jpg"]
        assert sample.caption == f"a street called {name}"
        if kind != "manifest":
            assert list(sample.masks.values()) == [expected[name]["seg.png"]]
    if kind == "parquet":
        assert samples[4].passthrough == {"city": "city 1", "frame": 4}
        assert layout.carry == {"city": "string", "frame": "int64"}
    if kind == "manifest":
        assert samples[0].passthrough == {"city": "here"}


@pytest.mark.parametrize("kind", ["webdataset", "parquet", "manifest"])
def test_shards_are_cut_by_count_and_the_last_says_so(tmp_path, kind):
    _, shards = everything(make(kind, tmp_path))
    assert [len(shard.samples) for shard in shards] == [5, 5, 3]
    assert [shard.last for shard in shards] == [False, False, True]
    assert [shard.part for shard in shards] == [0, 1, 2]
    assert len({shard.id.rsplit("-", 1)[0] for shard in shards}) == 1


@pytest.mark.parametrize("kind", ["webdataset", "parquet", "manifest"])
def test_finished_parts_are_left_out_and_the_others_do_not_change(tmp_path, kind):
    spec = make(kind, tmp_path)
    _, whole = everything(spec)
    for done in ({0}, {1}, {2}, {0, 2}):
        _, rest = everything(spec, done=done)
        assert rest == [shard for shard in whole if shard.part not in done]


def test_shard_ids_depend_on_their_file_alone(tmp_path):
    write_tar(tmp_path / "m.tar", street_samples(["x"]))
    _, before = everything(SourceSpec(uri=str(tmp_path / "*.tar")))
    write_tar(tmp_path / "a.tar", street_samples(["y"]))
    _, after = everything(SourceSpec(uri=str(tmp_path / "*.tar")))
    assert before[0].id in {shard.id for shard in after}
    assert len(after) == 2


def test_new_loose_images_form_new_groups(tmp_path):
    spec = make("folder", tmp_path, NAMES[3:])
    first = open_source(spec, "folder", 4).plan()
    make("folder", tmp_path, NAMES)
    again = open_source(spec, "folder", 4, tuple(first)).plan()
    assert set(first) < set(again)
    added = [member for file in again if file not in first for member in file.members]
    assert sorted(path for path in added if path.endswith(".jpg")) == ["n00.jpg", "n01.jpg", "n02.jpg"]


def test_files_that_differ_in_letter_case_alone_are_not_lost(tmp_path):
    samples = street_samples(["a", "b"])
    for name in ("a.jpg", "a.JPG", "b.jpg"):
        (tmp_path / name).write_bytes(samples[name[0]]["jpg"])
    for name in ("b.txt", "b.TXT"):
        (tmp_path / name).write_text(name)
    _, (shard,) = everything(SourceSpec(uri=str(tmp_path)))
    found = [(each.key, each.problem and each.problem.error, each.caption) for each in shard.samples]
    assert found == [("a", None, None), ("a.jpg", "duplicate_key", None), ("b", None, "b.TXT")]
    assert [(each.name, each.examples) for each in shard.findings] == [(".txt", ("b.txt",))]


def test_a_key_that_comes_twice_is_refused_the_second_time(tmp_path):
    samples = street_samples(["a", "b"])
    path = write_tar(tmp_path / "a.tar", samples)
    with tarfile.open(path, "a") as archive:
        info = tarfile.TarInfo("a.jpg")
        info.size = len(samples["a"]["jpg"])
        archive.addfile(info, io.BytesIO(samples["a"]["jpg"]))
    _, shards = everything(SourceSpec(uri=str(tmp_path)))
    problems = [(sample.key, sample.problem and sample.problem.error) for sample in shards[0].samples]
    assert problems == [("a", None), ("b", None), ("a", "duplicate_key")]


def test_duplicates_are_seen_across_finished_parts(tmp_path):
    rows = {"key": ["a", "b", "a", "c"], "image": [b"1", b"2", b"3", b"4"]}
    pq.write_table(pa.table(rows), tmp_path / "a.parquet", row_group_size=2)
    _, rest = everything(SourceSpec(uri=str(tmp_path)), shard_size=2, done={0})
    assert [(s.key, s.problem and s.problem.error) for s in rest[0].samples] == [("a", "duplicate_key"), ("c", None)]


@pytest.mark.parametrize("cut_at", [0.35, 0.55, 0.8, 0.97])
def test_a_tar_that_ends_early_keeps_what_is_whole(tmp_path, cut_at):
    path = write_tar(tmp_path / "a.tar", street_samples(NAMES))
    data = path.read_bytes()
    with tarfile.open(path) as archive:
        ends = {member.name: member.offset_data + member.size for member in archive}
    size = int(max(ends.values()) * cut_at)
    path.write_bytes(data[:size])
    _, shards = everything(SourceSpec(uri=str(tmp_path)))
    samples = [sample for shard in shards for sample in shard.samples]
    whole = [name for name in NAMES if ends[f"{name}.seg.png"] <= size]
    good = [sample.key for sample in samples if sample.problem is None]
    assert good[: len(whole) - 1] == whole[: len(whole) - 1]
    assert [s.problem.error for s in samples if s.problem] == ["truncated_archive"]
    assert shards[-1].last


def two_tars(folder: Path) -> tuple[bytes, bytes]:
    names = (["a0", "a1", "a2"], ["b0", "b1"])
    first, second = (write_tar(folder / f"{n}.tar", street_samples(each)).read_bytes() for n, each in enumerate(names))
    return first, second


def header_of(data: bytes, name: str) -> int:
    return next(at for at in range(0, len(data), 512) if data[at:].startswith(f"{name}.jpg\0".encode()))


@pytest.mark.parametrize(("at", "value"), [(0, b"X"), (100, b"\xff" * 60), (150, b"7"), (0, bytes(512))])
def test_a_header_that_is_none_in_the_middle_of_a_tar_is_not_its_end(tmp_path, at, value):
    first, _ = two_tars(tmp_path / "parts")
    data, start = bytearray(first), header_of(first, "a2") + at
    data[start : start + len(value)] = value
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "a.tar").write_bytes(data)
    _, shards = everything(SourceSpec(uri=str(tmp_path / "in")))
    found = [(s.key, s.problem and s.problem.error) for shard in shards for s in shard.samples]
    assert found[0] == ("a0", None)
    assert [error for _, error in found if error] == ["truncated_archive"]
    assert shards[-1].damaged


def test_what_follows_the_end_mark_of_a_tar_is_read_or_said(tmp_path):
    first, second = two_tars(tmp_path / "parts")
    lost = bytearray(first)
    lost[header_of(first, "a1") : header_of(first, "a2")] = bytes(header_of(first, "a2") - header_of(first, "a1"))
    cases = {
        "both": (first + second, "a0 a1 a2 b0 b1", None, "zeros"),
        "packed": (gzip.compress(first) + gzip.compress(second), "a0 a1 a2 b0 b1", None, "zeros"),
        "lost": (bytes(lost), "a0 a2", None, "zeros"),
        "waste": (first + b"waste" * 999, "a0 a1 a2", "truncated_archive", None),
        "crc": (gzip.compress(first)[:-8] + bytes(8), "a0 a1 a2", "truncated_archive", None),
        "tape": (first + bytes(99 << 10), "a0 a1 a2", None, "zeros"),
        "hole": (first + bytes(2 << 20), "a0 a1 a2", "truncated_archive", None),
        "zeros": (bytes(99 << 10), "", "truncated_archive", "zeros"),
    }
    (tmp_path / "in").mkdir()
    for name, (data, _, _, _) in cases.items():
        (tmp_path / "in" / f"{name}.tar").write_bytes(data)
    _, shards = everything(SourceSpec(uri=str(tmp_path / "in")))
    for name, (_, keys, error, finding) in cases.items():
        mine = [shard for shard in shards if shard.source == f"{name}.tar"]
        samples = [sample for shard in mine for sample in shard.samples]
        assert [s.key for s in samples if s.problem is None] == keys.split(), name
        assert [s.problem.error for s in samples if s.problem] == ([error] if error else []), name
        assert {each.name for shard in mine for each in shard.findings} == ({finding} if finding else set()), name


def test_a_tar_without_any_data_is_one_rejected_sample_that_says_why(tmp_path):
    write_tar(tmp_path / "b.tar", street_samples(["x"]))
    with tarfile.open(tmp_path / "a.tar", "w") as archive:
        link = tarfile.TarInfo("a.jpg")
        link.type, link.linkname = tarfile.LNKTYPE, "x.jpg"
        archive.addfile(link)
    _, shards = everything(SourceSpec(uri=str(tmp_path)))
    assert [s.problem.error for s in shards[0].samples if s.problem] == ["no_image"]
    assert [each.name for each in shards[0].findings] == ["link"]


def test_archives_of_other_kinds_beside_those_that_are_read_are_said(tmp_path):
    write_tar(tmp_path / "a.tar", street_samples(["x"]))
    for name in ("b.tar.bz2", "c.zip", "d.jsonl"):
        (tmp_path / name).write_bytes(b"")
    found = open_source(SourceSpec(uri=str(tmp_path)), "webdataset", 4).survey().findings
    assert sorted(each.name for each in found) == [".jsonl", ".tar.bz2", ".zip"]


@pytest.mark.parametrize("content", [b"", b"this is no tar at all" * 100])
def test_a_file_that_is_no_tar_is_one_rejected_sample(tmp_path, content):
    write_tar(tmp_path / "a.tar", street_samples(["x"]))
    (tmp_path / "b.tar").write_bytes(content)
    _, shards = everything(SourceSpec(uri=str(tmp_path)))
    assert [s.problem.error for shard in shards for s in shard.samples if s.problem] == ["not_an_archive"]


def test_a_page_that_its_checksum_does_not_fit_is_no_sample(tmp_path):
    write_parquet(tmp_path / "a.parquet", street_samples(["good"]))
    table = pa.table({"key": ["k"], "image": [b"no picture"], "caption": ["a red car"]})
    options = {"compression": "none", "use_dictionary": False, "write_statistics": False}
    pq.write_table(table, tmp_path / "b.parquet", write_page_checksum=True, **options)
    data = (tmp_path / "b.parquet").read_bytes()
    (tmp_path / "b.parquet").write_bytes(data.replace(b"a red car", b"a rad car"))
    _, shards = everything(SourceSpec(uri=str(tmp_path)))
    assert [(s.key, s.problem.error) for shard in shards for s in shard.samples if s.problem] == [
        ("b.parquet#end", "damaged_file")
    ]


def test_columns_in_the_names_of_folders_are_said(tmp_path):
    for split in ("day", "night"):
        write_parquet(tmp_path / f"split={split}" / "0.parquet", street_samples([split]))
    found = open_source(SourceSpec(uri=str(tmp_path)), "parquet", 4).survey().findings
    assert [(each.kind, each.name, each.count) for each in found] == [("column", "split", 2)]


def test_damaged_parquet_is_one_rejected_sample(tmp_path):
    write_parquet(tmp_path / "a.parquet", street_samples(NAMES))
    (tmp_path / "b.parquet").write_bytes(b"PAR1 but not really")
    _, shards = everything(SourceSpec(uri=str(tmp_path)))
    assert [s.problem.error for shard in shards for s in shard.samples if s.problem] == ["damaged_parquet"]


def test_an_empty_tar_has_one_empty_last_shard(tmp_path):
    write_tar(tmp_path / "a.tar", street_samples(["x"]))
    write_tar(tmp_path / "b.tar", {})
    _, shards = everything(SourceSpec(uri=str(tmp_path)))
    assert [(len(shard.samples), shard.last) for shard in shards] == [(1, True), (0, True)]


def test_links_and_climbing_names_in_a_tar_are_only_names(tmp_path):
    path = write_tar(tmp_path / "a.tar", street_samples(["ok"]))
    with tarfile.open(path, "a") as archive:
        link = tarfile.TarInfo("evil.jpg")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
        for name in ("../../climb.jpg", "/absolute.jpg"):
            info = tarfile.TarInfo(name)
            info.size = 3
            archive.addfile(info, io.BytesIO(b"abc"))
    _, shards = everything(SourceSpec(uri=str(tmp_path)))
    problems = {s.key: s.problem.error for s in shards[0].samples if s.problem}
    assert problems == {"../../climb": "bad_key", "/absolute": "bad_key"}


def test_a_sample_without_picture_says_what_it_has(tmp_path):
    samples = street_samples(["a", "b"])
    del samples["b"]["jpg"]
    write_tar(tmp_path / "a.tar", samples)
    _, shards = everything(SourceSpec(uri=str(tmp_path)))
    problem = shards[0].samples[1].problem
    assert problem is not None
    assert problem.error == "no_image"
    assert "seg.png" in problem.message


def test_members_of_later_files_that_have_no_column_are_named(tmp_path):
    write_tar(tmp_path / "a.tar", street_samples(["a"]))
    later = street_samples(["b"])
    later["b"]["lidar.npy"] = b"123"
    write_tar(tmp_path / "b.tar", later)
    _, shards = everything(SourceSpec(uri=str(tmp_path)))
    assert [[finding.name for finding in shard.findings] for shard in shards] == [[], ["lidar.npy"]]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"uri": "{}/absent"}, "does not exist"),
        ({"uri": "{}/*.nothing"}, "matches no file"),
        ({"uri": "{}/text"}, "none of them"),
        ({"uri": "{}/tars", "image": "webp"}, "webp"),
        ({"uri": "{}/tars", "caption": "words.txt"}, "words.txt"),
        ({"uri": "{}/tars", "format": "parquet"}, "no .parquet"),
    ],
)
def test_wrong_sources_are_one_line(tmp_path, spec, words):
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "notes.md").write_text("hello")
    write_tar(tmp_path / "tars" / "a.tar", street_samples(["a"]))
    with pytest.raises(InputError, match=words) as caught:
        everything(SourceSpec(**{**spec, "uri": spec["uri"].format(tmp_path)}))
    assert "\n" not in str(caught.value)


def test_two_folders_with_equal_names_are_refused(tmp_path):
    for folder in ("x", "y"):
        write_tar(tmp_path / folder / "a.tar", street_samples([folder]))
    with pytest.raises(InputError, match="share the name"):
        everything(SourceSpec(uri=[str(tmp_path / "x"), str(tmp_path / "y")]))


def test_two_endings_of_one_name_are_a_duplicate(tmp_path):
    samples = street_samples(["a"])
    (tmp_path / "a.jpg").write_bytes(samples["a"]["jpg"])
    (tmp_path / "a.png").write_bytes(samples["a"]["seg.png"])
    _, shards = everything(SourceSpec(uri=str(tmp_path)))
    assert [(s.key, s.problem and s.problem.error) for s in shards[0].samples] == [
        ("a", None),
        ("a.png", "duplicate_key"),
    ]


@pytest.mark.parametrize(
    ("key", "fine"),
    [
        ("a", True),
        ("a/b", True),
        ("a.b", True),
        ("..a", True),
        ("日本", True),
        ("", False),
        ("..", False),
        ("a/../b", False),
        ("/a", False),
        ("a\\b", False),
        ("a\0b", False),
        ("a\nb", False),
        ("x" * 513, False),
        ("\udc80", False),
    ],
)
def test_keys(key, fine):
    assert (key_problem(key) is None) is fine


_KEYS = st.lists(st.sampled_from("abcdefgh"), max_size=30)


@given(_KEYS, st.integers(1, 7), st.sets(st.integers(0, 6)), st.one_of(st.none(), st.integers(1, 20)))
@settings(max_examples=200)
def test_cutting_loses_and_doubles_nothing(keys, shard_size, done, limit):
    from pipeline.records import Sample

    file = SourceFile("/x/a.tar", "a.tar")

    def pending():
        samples = [Sample(key=key, source_uri="/x/a.tar", image=b"1") for key in keys]
        return iter([Pending(each.key, lambda each=each: (each, ()), each.problem) for each in samples])

    whole = list(cut_shards(file, pending(), shard_size, every_part, limit))
    wanted = keys if limit is None else keys[:limit]
    assert [sample.key for shard in whole for sample in shard.samples] == wanted
    assert [shard.last for shard in whole] == [False] * (len(whole) - 1) + [True]
    assert all(len(shard.samples) == shard_size for shard in whole[:-1])
    good = [sample.key for shard in whole for sample in shard.samples if sample.problem is None]
    assert sorted(good) == sorted(set(wanted))
    rest = list(cut_shards(file, pending(), shard_size, lambda part: part not in done, limit))
    assert rest == [s for s in whole if s.part not in done]


def test_cutting_fetches_only_what_is_wanted():
    fetched = []

    def fetch(key):
        from pipeline.records import Sample

        fetched.append(key)
        return Sample(key=key, source_uri="u", image=b"1"), ()

    stream = [Pending(str(n), lambda n=n: fetch(str(n))) for n in range(6)]
    list(cut_shards(SourceFile("u", "u"), iter(stream), 2, lambda part: part == 1, None))
    assert fetched == ["2", "3"]


_PATHS = st.lists(
    st.tuples(st.sampled_from(["", "d/"]), st.sampled_from("abc"), st.sampled_from([".jpg", ".json", ".seg.png"])),
    unique=True,
    max_size=12,
)


@given(_PATHS)
def test_grouping_keeps_every_picture(parts):
    paths = ["".join(part) for part in parts]
    groups = group_by_key(paths).samples
    owned = [path for group in groups.values() for path in group.values()]
    assert len(owned) == len(set(owned))
    assert {path for path in paths if path.endswith((".jpg", ".png"))} <= set(owned)
    for key, group in groups.items():
        assert all(path.startswith(key + ".") for path in group.values())
