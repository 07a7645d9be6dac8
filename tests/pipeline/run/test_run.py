"""A whole job in one process: what comes out, what is refused, what a rerun does."""

from __future__ import annotations

import io
import json
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

from methods import registry
from methods.errors import InputError
from methods.plugins import implementation
from pipeline.errors import JobFailed
from pipeline.run.driver import run_job
from pipeline.translate.operations import ENOUGH
from tests.support.datasets import encoded, picture, read_tree, street_samples, write_parquet, write_tar, write_tars
from tests.support.jobs import data_rows, index_rows, job


def pixels(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def near(a: np.ndarray, b: np.ndarray) -> bool:
    """Equal to within the one grey level that cutting off to 8 bits may cost."""
    return a.shape == b.shape and int(np.abs(a.astype(int) - b.astype(int)).max()) <= 1


def test_every_sample_comes_out_translated_with_what_it_carried(tmp_path):
    keys = write_tars(tmp_path / "in", 2, 11)
    outcome = run_job(job(tmp_path / "in", tmp_path / "out"), local=True)
    assert outcome.state == "done"
    rows = index_rows(tmp_path / "out")
    assert [row["key"] for row in rows] == sorted(keys)
    assert {row["status"] for row in rows} == {"ok"}
    data = data_rows(tmp_path / "out")
    expected = street_samples(keys)
    for key in keys:
        row = data[f"{key}/0"]
        assert near(pixels(row["image"]), 255 - pixels(expected[key]["jpg"]))
        assert row["caption"] == f"a street called {key}"
        assert row["seg.png"] == expected[key]["seg.png"]


def test_the_index_leads_to_the_picture(tmp_path):
    keys = write_tars(tmp_path / "in", 1, 5)
    run_job(job(tmp_path / "in", tmp_path / "out", output__format="webdataset"), local=True)
    for row in index_rows(tmp_path / "out"):
        with open(tmp_path / "out" / "data" / f"{row['shard']}.tar", "rb") as file:
            file.seek(row["offset"])
            assert Image.open(io.BytesIO(file.read(row["size"]))).size == (48, 32)
    with tarfile.open(next((tmp_path / "out" / "data").glob("*.tar"))) as archive:
        assert {member.name for member in archive if member.name.startswith(keys[0])} == {
            f"{keys[0]}.png",
            f"{keys[0]}.txt",
            f"{keys[0]}.seg.png",
            f"{keys[0]}.json",
        }
        assert {member.mtime for member in archive} == {0}


def test_a_finished_job_has_nothing_to_do(tmp_path):
    write_tars(tmp_path / "in", 1, 5)
    spec = job(tmp_path / "in", tmp_path / "out")
    run_job(spec, local=True)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert run_job(spec, local=True).state == "nothing_to_do"
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*") if path.is_file()} == before


def test_a_rerun_after_a_crash_at_any_shard_gives_the_same_bytes(tmp_path, monkeypatch):
    write_tars(tmp_path / "in", 2, 20)
    run_job(job(tmp_path / "in", tmp_path / "whole", method__name="noisy"), local=True)
    whole = read_tree(tmp_path / "whole", "data", "index")
    import pipeline.sink.commit as sink

    real = sink.commit
    for survivors in (0, 1, 4):
        out = tmp_path / f"out{survivors}"
        left = [survivors]

        def crashing(job, shard, left=left):
            if left[0] == 0:
                raise RuntimeError("power cut")
            left[0] -= 1
            return real(job, shard)

        monkeypatch.setattr(sink, "commit", crashing)
        with pytest.raises(JobFailed):
            run_job(job(tmp_path / "in", out, method__name="noisy"), local=True)
        assert len(read_tree(out, "index")) == survivors
        monkeypatch.setattr(sink, "commit", real)
        assert run_job(job(tmp_path / "in", out, method__name="noisy"), local=True).state == "done"
        assert read_tree(out, "data", "index") == whole


def test_a_data_file_without_index_part_is_not_there(tmp_path, monkeypatch):
    write_tars(tmp_path / "in", 1, 4)
    import pipeline.sink.commit as sink

    real = sink.part_path
    monkeypatch.setattr(sink, "part_path", lambda *a: (_ for _ in ()).throw(RuntimeError("cut between the puts")))
    with pytest.raises(JobFailed):
        run_job(job(tmp_path / "in", tmp_path / "out"), local=True)
    assert len(read_tree(tmp_path / "out", "data")) == 1
    assert read_tree(tmp_path / "out", "index") == {}
    monkeypatch.setattr(sink, "part_path", real)
    assert run_job(job(tmp_path / "in", tmp_path / "out"), local=True).progress.ok == 4


@pytest.mark.parametrize("kind", ["tar", "folder"])
def test_sources_that_grow_only_add_shards(tmp_path, kind):
    source = tmp_path / "in"
    spec = job(source, tmp_path / "out")

    def add(names):
        if kind == "tar":
            write_tar(source / f"{names[0]}.tar", street_samples(names))
        else:
            source.mkdir(exist_ok=True)
            for name, members in street_samples(names).items():
                (source / f"{name}.jpg").write_bytes(members["jpg"])

    add([f"m{n:02d}" for n in range(10)])
    run_job(spec, local=True)
    before = read_tree(tmp_path / "out", "data", "index")
    add(["a00", "a01"])
    outcome = run_job(spec, local=True)
    assert outcome.progress.ok == 2
    after = read_tree(tmp_path / "out", "data", "index")
    assert {name: after[name] for name in before} == before
    rows = index_rows(tmp_path / "out")
    assert len(rows) == len({row["key"] for row in rows}) == 12
    assert run_job(spec, local=True).state == "nothing_to_do"


def test_a_batch_that_does_not_fit_is_halved_once(tmp_path, monkeypatch):
    """Not again with every batch: the first that fails says how large the next may be."""
    write_tars(tmp_path / "in", 1, 24)
    run_job(job(tmp_path / "in", tmp_path / "out", compute__batch_size=8), local=True)
    invert = implementation(registry.info("invert").implementation)
    translate = invert.translate
    tried: list[int] = []

    def limited(self, batch):
        tried.append(len(batch.inputs))
        if len(batch.inputs) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return translate(self, batch)

    monkeypatch.setattr(invert, "translate", limited)
    outcome = run_job(job(tmp_path / "in", tmp_path / "small", compute__batch_size=8), local=True)
    assert outcome.summary.rows.ok == 24
    # one picture alone: its operations are counted
    assert tried == [8, 4, *[2] * (ENOUGH // 2), 1, *[2] * (12 - ENOUGH // 2)]
    assert read_tree(tmp_path / "small", "data") == read_tree(tmp_path / "out", "data")
    [log] = (tmp_path / "small" / "_sceneshift" / "logs").glob("*/driver.log")
    assert "going on with batches of 2" in log.read_text()


def test_batch_size_changes_no_byte_of_a_method_without_rounding(tmp_path):
    write_tars(tmp_path / "in", 1, 9)
    for size in (1, 8):
        run_job(job(tmp_path / "in", tmp_path / f"out{size}", compute__batch_size=size), local=True)
    assert read_tree(tmp_path / "out1", "data") == read_tree(tmp_path / "out8", "data")


def test_noise_belongs_to_the_sample(tmp_path):
    write_tar(tmp_path / "one" / "x.tar", street_samples(["a", "b", "c"]))
    write_tar(tmp_path / "two" / "y.tar", street_samples(["c"]))
    for name in ("one", "two"):
        run_job(job(tmp_path / name, tmp_path / f"out-{name}", method__name="noisy"), local=True)
    same = [data_rows(tmp_path / f"out-{name}")["c/0"]["image"] for name in ("one", "two")]
    assert same[0] == same[1]
    run_job(job(tmp_path / "two", tmp_path / "out-seed", method__name="noisy", seed=1), local=True)
    assert data_rows(tmp_path / "out-seed")["c/0"]["image"] != same[0]


def test_variants_differ_and_are_all_indexed(tmp_path):
    write_tars(tmp_path / "in", 1, 3)
    run_job(job(tmp_path / "in", tmp_path / "out", method__name="noisy", variants=3), local=True)
    rows = index_rows(tmp_path / "out")
    assert [(row["key"], row["variant"]) for row in rows] == [(f"s0{n:03d}", v) for n in range(3) for v in range(3)]
    assert len({row["sha256"] for row in rows}) == 9


def test_pairs_store_the_source_bytes_beside_the_translation(tmp_path):
    keys = write_tars(tmp_path / "in", 1, 3)
    run_job(job(tmp_path / "in", tmp_path / "out", output__pairs=True), local=True)
    data, expected = data_rows(tmp_path / "out"), street_samples(keys)
    assert all(data[f"{key}/0"]["source_image"] == expected[key]["jpg"] for key in keys)


def test_an_output_with_pairs_is_a_source_again(tmp_path):
    write_tars(tmp_path / "in", 1, 3)
    run_job(job(tmp_path / "in", tmp_path / "out", output__pairs=True), local=True)
    again = job(tmp_path / "out" / "data", tmp_path / "again", output__pairs=True)
    run_job(again, local=True)
    first, second = data_rows(tmp_path / "out")["s0000/0"], data_rows(tmp_path / "again")["s0000/0"]
    assert second["source_image"] == first["image"]
    assert second["source_source_image"] == first["source_image"]


def odd_pictures() -> dict[str, bytes]:
    """Pictures that a careless pipeline trips over, by what they are."""
    rng = np.random.default_rng(0)
    rgb = picture(1)
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "GIF", save_all=True, append_images=[Image.fromarray(255 - rgb)])
    bomb = io.BytesIO()
    Image.new("1", (30_000, 30_000)).save(bomb, "PNG")
    exif = Image.Exif()
    exif[274] = 6
    rotated = io.BytesIO()
    Image.fromarray(rgb).save(rotated, "JPEG", exif=exif)
    cmyk = io.BytesIO()
    Image.fromarray(rgb).convert("CMYK").save(cmyk, "JPEG")
    palette = io.BytesIO()
    Image.fromarray(rgb).convert("P").save(palette, "PNG")
    deep = io.BytesIO()
    Image.fromarray(rng.integers(0, 65535, (20, 30)).astype(np.uint16)).save(deep, "PNG")
    return {
        "good": encoded(rgb),
        "truncated": encoded(rgb)[:-200],
        "empty": b"",
        "animated": out.getvalue(),
        "sixteen-bit": deep.getvalue(),
        "cmyk": cmyk.getvalue(),
        "palette": palette.getvalue(),
        "rotated": rotated.getvalue(),
        "one-pixel": encoded(rgb[:1, :1], "PNG"),
        "bomb": bomb.getvalue(),
        "text": b"<html>404 not found</html>",
    }


def test_odd_pictures_are_translated_right_or_rejected_with_a_reason(tmp_path):
    odd = odd_pictures()
    samples = {key: {"jpg": data, "txt": b"x"} for key, data in odd.items()}
    samples["../climb"] = {"jpg": odd["good"], "txt": b"x"}
    samples["a/slash"] = {"jpg": odd["good"], "txt": b"x"}
    write_tar(tmp_path / "in" / "a.tar", samples)
    outcome = run_job(job(tmp_path / "in", tmp_path / "out", max_rejects=100), local=True)
    rows = {row["key"]: row for row in index_rows(tmp_path / "out")}
    assert set(rows) == set(samples)
    reasons = {key: row["error"] for key, row in rows.items() if row["status"] == "rejected"}
    assert reasons == {
        "truncated": "truncated",
        "empty": "empty",
        "animated": "animated",
        "bomb": "too_large",
        "text": "not_an_image",
        "../climb": "bad_key",
    }
    assert all(row["message"] and row["stage"] for row in rows.values() if row["status"] == "rejected")
    assert outcome.summary.reasons == dict.fromkeys(reasons.values(), 1)
    assert (rows["rotated"]["width"], rows["rotated"]["height"]) == (32, 48)
    assert (rows["one-pixel"]["width"], rows["one-pixel"]["height"]) == (1, 1)
    data = data_rows(tmp_path / "out")
    difference = np.abs(pixels(data["cmyk/0"]["image"]).astype(int) - (255 - picture(1).astype(int)))
    assert difference.mean() < 12


def test_trouble_in_the_method_stays_with_its_sample(tmp_path):
    names = ["a", "raise-1", "b", "nan-1", "c", "refuse-1", "d", "e", "f"]
    write_tar(tmp_path / "in" / "a.tar", street_samples(names))
    run_job(job(tmp_path / "in", tmp_path / "out", method__name="trouble"), local=True)
    rows = {row["key"]: (row["status"], row["stage"], row["error"]) for row in index_rows(tmp_path / "out")}
    assert {key: row for key, row in rows.items() if row[0] != "ok"} == {
        "raise-1": ("rejected", "translate", "ValueError"),
        "nan-1": ("rejected", "translate", "not_finite"),
        "refuse-1": ("rejected", "prepare", "not_wanted"),
    }
    assert len(data_rows(tmp_path / "out")) == 6


def test_too_many_rejects_stop_the_job(tmp_path):
    for number in range(6):
        write_tar(tmp_path / "in" / f"{number}.tar", street_samples([f"raise-{number}{n:02d}" for n in range(40)]))
    spec = job(tmp_path / "in", tmp_path / "out", method__name="trouble", max_rejects=0.2, output__shard_size=40)
    outcome = run_job(spec, local=True)
    assert outcome.state == "too_many_rejects"
    assert 100 <= outcome.progress.rejected < 240
    assert not (tmp_path / "out" / "_sceneshift" / "success.json").exists()


def test_what_keep_drops_stays_in_the_index(tmp_path):
    samples = street_samples(["dark", "bright"])
    samples["dark"]["jpg"] = encoded(np.full((32, 48, 3), 10, np.uint8))
    samples["bright"]["jpg"] = encoded(np.full((32, 48, 3), 128, np.uint8))
    write_tar(tmp_path / "in" / "a.tar", samples)
    run_job(job(tmp_path / "in", tmp_path / "out", metrics=["psnr"], keep="psnr > 20"), local=True)
    rows = {row["key"]: row for row in index_rows(tmp_path / "out")}
    assert {key: row["status"] for key, row in rows.items()} == {"dark": "filtered", "bright": "ok"}
    assert rows["dark"]["metric.psnr"] < 20 < rows["bright"]["metric.psnr"]
    assert list(data_rows(tmp_path / "out")) == ["bright/0"]


def test_labels_follow_the_picture_when_its_size_changes(tmp_path):
    frame = {"name": "a.jpg", "labels": [{"category": "car", "box2d": {"x1": 4, "y1": 8, "x2": 24, "y2": 16}}]}
    samples = street_samples(["a"])
    samples["a"]["json"] = json.dumps(frame).encode()
    write_tar(tmp_path / "in" / "a.tar", samples)
    run_job(job(tmp_path / "in", tmp_path / "out"), local=True)
    row = data_rows(tmp_path / "out")["a/0"]
    assert row["labels"]["annotations"][0]["bbox"] == [4, 8, 20, 8]
    assert json.loads(index_rows(tmp_path / "out")[0]["labels_raw"]) == frame


def test_every_source_format_runs(tmp_path):
    names = [f"n{n}" for n in range(7)]
    write_parquet(tmp_path / "parquet" / "a.parquet", street_samples(names))
    run_job(job(tmp_path / "parquet", tmp_path / "out"), local=True)
    row = data_rows(tmp_path / "out")["n4/0"]
    assert (row["city"], row["frame"]) == ("city 1", 4)
    # What comes out is a source again.
    run_job(job(tmp_path / "out" / "data", tmp_path / "again"), local=True)
    data = data_rows(tmp_path / "again")
    assert (data["n4/0"]["city"], data["n4/0"]["caption"]) == ("city 1", "a street called n4")
    twice = np.abs(pixels(data["n4/0"]["image"]).astype(int) - pixels(street_samples(names)["n4"]["jpg"]))
    assert twice.max() <= 2


def test_a_stalled_local_job_names_what_hangs(tmp_path):
    write_tar(tmp_path / "in" / "a.tar", street_samples(["a", "hang-1"]))
    method = {"name": "trouble", "params": {"hang": 8}}
    spec = job(tmp_path / "in", tmp_path / "out", method=method, compute__stall_timeout=3)
    with pytest.raises(JobFailed, match=r"translating a and 1 more"):
        run_job(spec, local=True)


def test_two_outcomes_of_finalise_are_equal(tmp_path):
    write_tars(tmp_path / "in", 1, 5)
    outcome = run_job(job(tmp_path / "in", tmp_path / "out", metrics=["psnr", "ssim"]), local=True)
    names = ("index.parquet", "metrics.json", "README.md")
    before = {name: (tmp_path / "out" / name).read_bytes() for name in names}
    from pipeline.output.finalise import finalise

    finalise(outcome.job, complete=True)
    assert {name: (tmp_path / "out" / name).read_bytes() for name in names} == before


def test_weights_that_do_not_fit_leave_nothing_behind(tmp_path):
    write_tars(tmp_path / "in", 1, 3)
    (tmp_path / "weights.safetensors").write_bytes(b"not a safetensors file")
    spec = job(
        tmp_path / "in",
        tmp_path / "out",
        method={"name": "cyclegan_turbo", "weights": f"{tmp_path}/weights.safetensors"},
    )
    with pytest.raises(InputError, match=r"weights\.safetensors"):
        run_job(spec, local=True)
    assert not (tmp_path / "out").exists()


def test_names_that_are_no_utf8_cost_no_picture(tmp_path):
    odd = b"t\xe4st".decode("utf-8", "surrogateescape")
    (tmp_path / "in").mkdir()
    write_tar(
        tmp_path / "in" / b"stra\xdfe.tar".decode("utf-8", "surrogateescape"),
        {"a": {"jpg": encoded(picture(1)), odd: b"x"}},
    )
    assert run_job(job(tmp_path / "in", tmp_path / "out"), local=True).state == "done"
    assert [row["status"] for row in index_rows(tmp_path / "out")] == ["ok"]
    assert data_rows(tmp_path / "out")["a/0"]["t\\xe4st"] == b"x"


def test_refused_second_pictures_cost_no_other_picture_of_their_group(tmp_path, monkeypatch):
    """A group of loose images is one shard, however many rows it has: cut off between two shards it would lose one."""
    import pipeline.sink.commit as sink

    source = tmp_path / "in"
    source.mkdir()
    for number in range(4):
        (source / f"a{number}.jpg").write_bytes(encoded(picture(number)))
    (source / "a0.png").write_bytes(encoded(picture(9), "PNG"))
    real, left = sink.commit, [1]

    def once(job, shard):
        left[0] -= 1
        if left[0] < 0:
            raise RuntimeError("power cut")
        return real(job, shard)

    monkeypatch.setattr(sink, "commit", once)
    run_job(job(source, tmp_path / "out", output__shard_size=4), local=True)
    rows = {row["key"]: row["status"] for row in index_rows(tmp_path / "out")}
    assert rows == {"a0": "ok", "a0.png": "rejected", "a1": "ok", "a2": "ok", "a3": "ok"}


def test_files_that_come_to_a_translated_picture_are_named(tmp_path):
    source = tmp_path / "in"
    source.mkdir()
    (source / "a.jpg").write_bytes(encoded(picture(1)))
    spec = job(source, tmp_path / "out")
    assert run_job(spec, local=True).findings == ()
    (source / "a.json").write_text('{"annotations": []}')
    (source / "a.png").write_bytes(encoded(picture(2), "PNG"))
    outcome = run_job(spec, local=True)
    assert outcome.state == "nothing_to_do"
    found = {(each.name, each.examples) for each in outcome.findings if "came after" in each.reason}
    assert found == {(".json", ("a.json",)), (".png", ("a.png",))}
