"""`verify` finds every kind of damage, and none where there is none."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from methods.errors import InputError
from pipeline.output.duplicates import DuplicateFinder, digest
from pipeline.output.verify import verify
from pipeline.run.driver import run_job
from pipeline.sink.note import read_note
from pipeline.sink.parquet import parquet_bytes
from pipeline.storage import StorageOptions, Store
from tests.support.datasets import encoded, picture, street_samples, write_tar
from tests.support.jobs import job


def labels(number: int) -> bytes:
    box = [2.0 + number, 3.0, 10.5, 12.0]
    return json.dumps({"annotations": [{"bbox": box, "category_id": 1, "area": 126.0, "iscrowd": 0}]}).encode()


def make(root: Path, format: str) -> Path:
    """Two source files, four shards, of which one has no ok sample; with labels, a bad picture and filtered ones."""
    for number in range(2):
        samples = street_samples([f"f{number}n{n:02d}" for n in range(7)])
        for n, members in enumerate(samples.values()):
            members["json"] = labels(n)
        if number == 0:
            samples["f0bad"] = {"jpg": b"no picture"}
        else:
            samples["f1bad"] = {"jpg": b""}
            samples["f1worse"] = {"jpg": b"\xff\xd8\xff"}
            del samples["f1n06"]
        write_tar(root / "in" / f"part-0{number}.tar", samples)
    spec = job(
        root / "in",
        root / "out",
        output__format=format,
        output__shard_size=6,
        metrics=["psnr"],
        keep="psnr > 5.5",
    )
    run_job(spec, local=True)
    return root / "out"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, Path]:
    return {name: make(tmp_path_factory.mktemp(name), name) for name in ("parquet", "webdataset")}


@pytest.fixture
def out(made, tmp_path) -> Path:
    """A copy of the Parquet output that a test may damage."""
    return Path(shutil.copytree(made["parquet"], tmp_path / "out"))


@pytest.mark.parametrize("format", ["parquet", "webdataset"])
def test_a_sound_output_is_sound(made, format):
    seen = []
    verdict = verify(Store(str(made[format])), watch=lambda done, total: seen.append((done, total)))
    assert verdict.problems == []
    assert verdict.sound
    assert verdict.merged is True
    assert verdict.orphans == []
    assert (verdict.parts, verdict.rows, verdict.rejected) == (4, 16, 3)
    assert verdict.ok > 0
    assert verdict.filtered > 0
    assert verdict.ok + verdict.filtered + verdict.rejected == verdict.rows
    assert seen == [(n, 4) for n in range(1, 5)]


def test_variants_and_dotted_keys_are_sound_too(tmp_path):
    write_tar(tmp_path / "in" / "a.tar", {"a/b": street_samples(["x"])["x"], "c": street_samples(["y"])["y"]})
    for format in ("parquet", "webdataset"):
        out = tmp_path / format
        run_job(job(tmp_path / "in", out, method__name="noisy", variants=3, output__format=format), local=True)
        verdict = verify(Store(str(out)))
        assert verdict.problems == []
        assert verdict.ok == 6


def rewrite(path: Path, change: Callable[[list[dict]], object], note: Callable | None = None) -> None:
    """Change the rows of an index part or a data file."""
    table = pq.read_table(path)
    metadata = table.schema.metadata
    rows = table.to_pylist()
    change(rows)
    table = pa.Table.from_pylist(rows, schema=table.schema)
    if note is not None:
        metadata = {b"sceneshift": json.dumps(note(json.loads(metadata[b"sceneshift"]))).encode()}
    path.write_bytes(parquet_bytes(table.replace_schema_metadata(metadata)))


def part(out: Path, number: int = 0) -> Path:
    return sorted((out / "index").glob("*.parquet"))[number]


def data(out: Path, number: int = 0) -> Path:
    return sorted((out / "data").glob("*.parquet"))[number]


def first_ok(rows: list[dict]) -> dict:
    return next(row for row in rows if row["status"] == "ok")


def other_picture(out: Path) -> None:
    rewrite(data(out), lambda rows: rows[0].update(image=encoded(picture(99), "PNG")))


def other_label(out: Path) -> None:
    rewrite(data(out), lambda rows: rows[0]["labels"]["annotations"][0].update(bbox=[0.0, 0.0, 1.0, 1.0]))


def cut_data(out: Path) -> None:
    data(out).write_bytes(data(out).read_bytes()[:-20])


def swapped(out: Path) -> None:
    rewrite(data(out), lambda rows: rows.reverse())


def undecodable(out: Path) -> None:
    """A picture whose checksum is right and which is none."""
    import hashlib

    junk = b"\x89PNG\r\n\x1a\n junk"
    rewrite(data(out), lambda rows: rows[0].update(image=junk))
    rewrite(part(out), lambda rows: first_ok(rows).update(sha256=hashlib.sha256(junk).hexdigest()))


def keys(path: Path) -> list[str]:
    return pq.read_table(path, columns=["key"])["key"].to_pylist()


def two_keys(out: Path) -> None:
    """An ok sample of the second file under the key of one of the first file's."""
    old, new = keys(data(out, 2))[0], keys(data(out))[0]

    def rename(rows: list[dict]) -> None:
        next(row for row in rows if row["key"] == old).update(key=new)

    for path in (part(out, 2), data(out, 2)):
        rewrite(path, rename)


def no_ok_with_data(out: Path) -> None:
    shard = part(out, 3).stem
    shutil.copy(data(out), out / "data" / f"{shard}.parquet")


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "another picture": (other_picture, "does not have the checksum"),
    "another label": (other_label, "column 'labels' is not what the index says"),
    "rows in another order": (swapped, "column 'key' is not what the index says"),
    "data cut off": (cut_data, "cannot be read"),
    "data gone": (lambda out: data(out).unlink(), "is missing"),
    "data of a shard without ok samples": (no_ok_with_data, "though no sample of the shard is ok"),
    "a row of data gone": (lambda out: rewrite(data(out), lambda rows: rows.pop()), "rows, the index has"),
    "not a picture": (undecodable, "cannot be decoded"),
    "another size": (lambda out: rewrite(part(out), lambda rows: first_ok(rows).update(width=47)), "'width'"),
    "index part gone": (lambda out: part(out).unlink(), "is missing, though the job is finished"),
    "index part cut off": (lambda out: part(out).write_bytes(b"PAR1"), "not a readable index part"),
    "index part without note": (
        lambda out: part(out).write_bytes(parquet_bytes(pa.table({"key": ["a"]}))),
        "not a readable index part",
    ),
    "note of another shard": (lambda out: shutil.copy(part(out, 1), part(out, 0)), "its note is of another shard"),
    "a rejected row gone": (lambda out: rewrite(part(out, 1), lambda rows: rows.pop()), "its note counts"),
    "a wrong note": (
        lambda out: rewrite(part(out), lambda rows: None, lambda note: {**note, "rejected": 7}),
        "its note counts",
    ),
    "an unknown status": (
        lambda out: rewrite(part(out), lambda rows: rows[0].update(status="fine")),
        "a status that is none of",
    ),
    "rows of another job": (
        lambda out: rewrite(part(out), lambda rows: rows[0].update(fingerprint="f" * 16)),
        "fingerprint of another job",
    ),
    "an ok sample twice": (two_keys, "is ok more than once: in part-00"),
    "an orphan": (lambda out: shutil.copy(data(out), out / "data" / "x-0.parquet"), "no index part commits this"),
    "another merged index": (
        lambda out: rewrite(out / "index.parquet", lambda rows: rows[3].update(caption="x")),
        "index.parquet: does not say the same",
    ),
    "an unsorted merged index": (lambda out: rewrite(out / "index.parquet", lambda rows: rows.reverse()), "the same"),
    "merged index cut off": (lambda out: (out / "index.parquet").write_bytes(b"PAR1"), "does not say the same"),
    "no merged index": (lambda out: (out / "index.parquet").unlink(), "index.parquet: is missing"),
    "other counts": (lambda out: (out / "metrics.json").write_text('{"rows": {"ok": 1}}'), "counts are not those"),
    "no metrics": (lambda out: (out / "metrics.json").unlink(), "metrics.json: is missing"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damage_is_found(out, name):
    damage, expected = DAMAGE[name]
    damage(out)
    verdict = verify(Store(str(out)))
    assert not verdict.sound
    assert any(expected in problem for problem in verdict.problems), verdict.problems
    assert len(verdict.problems) == verdict.problem_count


def test_without_decoding_the_checksum_still_counts(out):
    undecodable(out)
    assert not any("decode" in problem for problem in verify(Store(str(out)), decode=False).problems)
    other_picture(out)
    assert any("checksum" in problem for problem in verify(Store(str(out)), decode=False).problems)


def tar_of(out: Path) -> Path:
    return sorted((out / "data").glob("*.tar"))[0]


def flipped(out: Path) -> None:
    path = tar_of(out)
    raw = bytearray(path.read_bytes())
    with tarfile.open(path) as archive:
        raw[next(member for member in archive if member.name.endswith(".png")).offset_data + 40] ^= 1
    path.write_bytes(raw)


def repacked(out: Path, change: Callable[[str, bytes], tuple[str, bytes]]) -> None:
    path, packed = tar_of(out), io.BytesIO()
    with tarfile.open(path) as old, tarfile.open(fileobj=packed, mode="w", pax_headers=old.pax_headers) as new:
        for member in old:
            file = old.extractfile(member)
            assert file is not None
            name, content = change(member.name, file.read())
            info = tarfile.TarInfo(name)
            info.size = len(content)
            new.addfile(info, io.BytesIO(content))
    path.write_bytes(packed.getvalue())


@pytest.mark.parametrize(
    ("damage", "expected"),
    [
        (flipped, "does not have the checksum"),
        (lambda out: repacked(out, lambda name, data: (name.replace("f0n0", "f0z0"), data)), "is missing"),
        (
            lambda out: repacked(out, lambda name, data: (name.replace("f0n01.txt", "x.txt"), data)),
            "a sample 'x' that",
        ),
        (lambda out: repacked(out, lambda name, data: (name, data + b" " * 600)), "not at the offset"),
        (lambda out: repacked(out, lambda name, data: (name, data.replace(b"126.0", b"125.0"))), "labels of"),
        (lambda out: repacked(out, lambda name, data: (name, data.replace(b"f0n0", b"f0n9"))), "of another sample"),
        (lambda out: tar_of(out).write_bytes(tar_of(out).read_bytes()[:3000]), "cannot be read"),
        (lambda out: tar_of(out).write_bytes(b""), "cannot be read"),
    ],
)
def test_damage_to_tars_is_found(made, tmp_path, damage, expected):
    out = Path(shutil.copytree(made["webdataset"], tmp_path / "out"))
    damage(out)
    problems = verify(Store(str(out))).problems
    assert any(expected in problem for problem in problems), problems


def test_an_unfinished_job_may_have_orphans_and_no_summaries(out):
    (out / "_sceneshift" / "success.json").unlink()
    (out / "index.parquet").unlink()
    orphan = data(out)
    (out / "index" / orphan.name).unlink()
    verdict = verify(Store(str(out)))
    assert verdict.problems == []
    assert verdict.orphans == [f"data/{orphan.name}"]
    assert verdict.merged is None
    assert verdict.parts == 3


def test_a_rerun_mends_what_verify_blames_on_the_summaries(out):
    (out / "index.parquet").unlink()
    assert not verify(Store(str(out))).sound
    (out / "_sceneshift" / "success.json").unlink()
    spec = json.loads((out / "_sceneshift" / "job.json").read_text())["spec"]
    spec["output"]["uri"] = str(out)
    run_job(job(spec["source"]["uri"], out, **{k: v for k, v in spec.items() if k != "source"}), local=True)
    assert verify(Store(str(out))).sound


def test_problems_are_bounded(out):
    note = read_note(part(out).read_bytes())
    for n in range(300):
        (out / "data" / f"{note.shard}-{n}.parquet").write_bytes(b"")
    verdict = verify(Store(str(out)))
    assert verdict.problem_count == 300
    assert len(verdict.problems) == 200


def test_what_is_no_output_is_refused(tmp_path):
    with pytest.raises(InputError, match="no sceneshift output here"):
        verify(Store(str(tmp_path)))


def test_on_s3(bucket, tmp_path):
    path = write_tar(tmp_path / "a.tar", street_samples(["one", "two"]))
    bucket.store().put("in/a.tar", path.read_bytes())
    spec = job(f"{bucket.uri}/in", f"{bucket.uri}/out", source__storage=bucket.storage, output__storage=bucket.storage)
    run_job(spec, local=True)
    store = Store(f"{bucket.uri}/out", StorageOptions.model_validate(bucket.storage))
    assert verify(store).problems == []
    report = store.read("report/index.html").decode()
    assert report.count('<img src="data:image/jpeg;base64,') == 4
    assert "not shown" not in report
    store.delete(store.list("data")[0].path)
    assert any("is missing" in problem for problem in verify(store).problems)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.text(max_size=3), max_size=60))
def test_the_duplicate_finder_knows_what_came_twice(texts):
    with DuplicateFinder() as seen:
        seen.add(texts[:30])
        seen.add(texts[30:])
        assert seen.duplicates() == {digest(text) for text, count in Counter(texts).items() if count > 1}


def test_seen_keeps_digests_that_end_in_zero():
    text = next(str(n) for n in range(10_000) if digest(str(n)).endswith(b"\0"))
    with DuplicateFinder() as seen:
        seen.add([text, text])
        assert seen.duplicates() == {digest(text)}


def test_a_part_with_many_problems_is_cut_short(out):
    rewrite(part(out), lambda rows: [row.update(sha256="0" * 64) for row in rows])
    problems = verify(Store(str(out))).problems
    assert sum("checksum" in problem for problem in problems) <= 5
    assert any("more problems of this shard" in problem or "checksum" in problem for problem in problems)
