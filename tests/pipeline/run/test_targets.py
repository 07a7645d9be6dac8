"""Several targets of one read: each output is what its own job writes, whatever is interrupted."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from methods.errors import InputError
from pipeline import codec
from pipeline.fence import LockLost
from pipeline.job import check, prepare, weight_uris
from pipeline.output.rejections import rejection_reasons
from pipeline.paths import INDEX, JOB_FILE, LOCK_FILE, SUCCESS_FILE
from pipeline.run import targets
from pipeline.run.driver import Order, Outcome, run_job
from pipeline.run.lock import Busy, locked
from pipeline.run.parts import Part
from pipeline.run.resolving import resolve
from pipeline.spec import JobSpec
from pipeline.storage import Store
from pipeline.targets import target_jobs
from tests.support.datasets import encoded, picture, read_tree, write_tar, write_tars
from tests.support.jobs import index_rows, job

TARGETS: dict[str, Any] = {
    "plain": {},
    "night": {"method": {"preset": "night"}, "labels": {"set": {"weather": "clear"}, "caption": "{caption}, at night"}},
    "noise": {"method": {"name": "noisy"}, "keep": "psnr < 100"},
}


def spec_of(tmp_path: Path, **changes: Any) -> JobSpec:
    values = {"metrics": ["psnr"], "targets": TARGETS, **changes}
    return job(tmp_path / "in", tmp_path / "out", **values)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    write_tars(tmp_path / "in", 2, 10)
    return tmp_path / "in"


def run_targets(spec: JobSpec, *, fresh: bool = False, **options: Any) -> dict[str, Outcome]:
    return targets.run_targets(spec, Order(**{"local": True, **options}), fresh=fresh)


def made(out: Path) -> dict[str, bytes]:
    return read_tree(out, "data", "index")


def separate(spec: JobSpec, tmp_path: Path) -> dict[str, dict[str, bytes]]:
    """What the job of each target writes by itself."""
    found = {}
    for name, each in target_jobs(spec).items():
        alone = each.model_copy(
            update={"output": each.output.model_copy(update={"uri": str(tmp_path / "alone" / name)})}
        )
        run_job(alone, local=True)
        found[name] = made(tmp_path / "alone" / name)
    return found


def test_each_target_has_the_bytes_of_its_own_job(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = spec_of(tmp_path)
    wanted = separate(spec, tmp_path)
    decoded: list[bytes] = []
    counting = SimpleNamespace(decode=lambda data: decoded.append(data) or codec.decode(data))
    monkeypatch.setattr("pipeline.translate.translator.codec", counting)
    outcomes = run_targets(spec)
    assert {name: made(tmp_path / "out" / name) for name in TARGETS} == wanted
    # 20 pictures, for three targets, each decoded once
    assert len(decoded) == 20
    assert [each.state for each in outcomes.values()] == ["done"] * 3
    assert [each.progress.ok for each in outcomes.values()] == [20] * 3
    for name in TARGETS:
        assert (tmp_path / "out" / name / SUCCESS_FILE).exists()
        assert len(index_rows(tmp_path / "out" / name)) == 20
        tree = json.loads((tmp_path / "out" / name / JOB_FILE).read_text())
        assert tree["spec"]["name"] == f"job-{name}"
        assert "targets" not in tree["spec"]
    again = run_targets(spec)
    assert [each.state for each in again.values()] == ["nothing_to_do"] * 3


def test_metrics_look_at_the_source_once_for_all_targets(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where it is resized, and where targets have other metrics beside; values are those of separate jobs."""
    from pipeline.metrics import structure

    targets = {"plain": {}, "night": {"method": {"preset": "night"}}, "more": {"metrics": ["psnr", "structure"]}}
    spec = spec_of(tmp_path, targets=targets, metrics=["structure"])
    wanted = separate(spec, tmp_path)
    seen: list[int] = []
    measured = structure.self_similarity
    monkeypatch.setattr(structure, "self_similarity", lambda pixels: seen.append(1) or measured(pixels))
    run_targets(spec)
    assert {name: made(tmp_path / "out" / name) for name in targets} == wanted
    # 20 sources, and 20 outputs of each target
    assert len(seen) == 20 + 3 * 20


def test_what_was_interrupted_goes_on(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = spec_of(tmp_path)
    wanted = separate(spec, tmp_path)

    class Killed(BaseException):
        pass

    def stop(progress: Any) -> None:
        if progress.shards == 2:
            raise Killed

    with pytest.raises(Killed):
        run_targets(spec, watch=stop)
    committed = {name: len(list((tmp_path / "out" / name / INDEX).glob("*"))) for name in TARGETS}
    assert all(0 < count < 4 for count in committed.values())
    # one target loses a shard, another gets one by its own run first
    next(iter((tmp_path / "out" / "night" / INDEX).glob("*"))).unlink()
    run_targets(spec)
    assert {name: made(tmp_path / "out" / name) for name in TARGETS} == wanted


def test_a_target_that_was_made_alone_is_left_as_it_is(source: Path, tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    run_job(target_jobs(spec)["night"], local=True)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out" / "night" / INDEX).glob("*")}
    outcomes = run_targets(spec)
    assert outcomes["night"].state == "nothing_to_do"
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_fresh_begins_every_target_anew_once(source: Path, tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    run_targets(spec)
    wanted = {name: made(tmp_path / "out" / name) for name in TARGETS}
    (tmp_path / "out" / "noise" / "stray").write_text("of another job")
    outcomes = run_targets(spec, fresh=True)
    assert [each.progress.shards for each in outcomes.values()] == [4, 4, 4]
    assert {name: made(tmp_path / "out" / name) for name in TARGETS} == wanted


def test_targets_with_shards_of_other_sizes_need_one_of_their_own(source: Path, tmp_path: Path) -> None:
    # the method `sleeper` has shards of 64, `invert` of 8
    targets = {"plain": {}, "slow": {"method": {"name": "sleeper", "params": {"seconds": 0.0}}}}
    with pytest.raises(InputError, match=r"different sizes \(plain 8, slow 64\).*set output\.shard_size"):
        run_targets(spec_of(tmp_path, targets=targets))
    assert not (tmp_path / "out").exists()
    outcomes = run_targets(spec_of(tmp_path, targets=targets, output__shard_size=5))
    assert {name: each.progress.shards for name, each in outcomes.items()} == {"plain": 4, "slow": 4}


def test_what_goes_wrong_with_a_target_is_its_own(source: Path, tmp_path: Path) -> None:
    rejected = {"plain": {}, "trouble": {"method": {"name": "trouble"}}}
    write_tars(tmp_path / "in", 1, 3)
    with_refusals = spec_of(tmp_path, targets=rejected, max_rejects=1)
    data = encoded(picture(1))
    (tmp_path / "in2").mkdir()
    for name in ("refuse1", "refuse2", "good"):
        (tmp_path / "in2" / f"{name}.jpg").write_bytes(data)
    spec = with_refusals.model_copy(
        update={"source": with_refusals.source.model_copy(update={"uri": str(tmp_path / "in2")})}
    )
    outcomes = run_targets(spec)
    assert {name: each.state for name, each in outcomes.items()} == {"plain": "done", "trouble": "too_many_rejects"}
    assert outcomes["trouble"].progress.rejected == 2


def test_too_many_rejects_of_one_target_stop_the_run(tmp_path: Path) -> None:
    data = encoded(picture(1))
    for part in range(3):
        write_tar(tmp_path / "in" / f"{part}.tar", {f"refuse{part}{n}": {"jpg": data} for n in range(4)})
    spec = spec_of(
        tmp_path, targets={"plain": {}, "trouble": {"method": {"name": "trouble"}}, "last": {}}, max_rejects=3
    )
    outcomes = run_targets(spec)
    assert {name: each.state for name, each in outcomes.items()} == {
        "plain": "stopped",
        "trouble": "too_many_rejects",
        "last": "stopped",
    }
    # what is committed is summarised, and a limit that allows it goes on from there
    assert 0 < outcomes["plain"].summary.rows.ok == len(index_rows(tmp_path / "out" / "plain")) < 12
    allowed = spec.model_copy(update={"max_rejects": 20})
    assert [each.state for each in run_targets(allowed).values()] == ["done"] * 3
    assert len(index_rows(tmp_path / "out" / "plain")) == len(index_rows(tmp_path / "out" / "trouble")) == 12


def test_each_target_has_the_log_of_its_own_rejections(tmp_path: Path) -> None:
    data = encoded(picture(1))
    write_tar(tmp_path / "in" / "a.tar", {name: {"jpg": data} for name in ("good", "raise", "refuse")})
    spec = spec_of(tmp_path, targets={"plain": {}, "trouble": {"method": {"name": "trouble"}}}, max_rejects=5)
    run_targets(spec)
    found = rejection_reasons(Store(str(tmp_path / "out" / "trouble")))
    assert {each.reason: [trace.key for trace in each.traces] for each in found} == {
        "ValueError": ["raise"],
        "not_wanted": ["refuse"],
    }
    assert rejection_reasons(Store(str(tmp_path / "out" / "plain"))) == []
    logs = {
        name: b"".join(read_tree(tmp_path / "out" / name, "_sceneshift/logs").values()).decode()
        for name in spec.targets
    }
    assert "not_wanted" in logs["trouble"]
    assert "not_wanted" not in logs["plain"]


def test_parts_of_a_job_with_targets(source: Path, tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    wanted = separate(spec, tmp_path)
    states = [[each.state for each in run_targets(spec, part=Part(number, 2)).values()] for number in (1, 2)]
    assert states == [["part_done"] * 3, ["done"] * 3]
    assert {name: made(tmp_path / "out" / name) for name in TARGETS} == wanted
    with pytest.raises(InputError, match="without --fresh"):
        run_targets(spec, part=Part(1, 2), fresh=True)


def test_generations_of_targets_may_differ(source: Path, tmp_path: Path) -> None:
    """One target was begun anew for another job: its shards have other names, and are made from the same read."""
    spec = spec_of(tmp_path, targets={"plain": {}, "night": {}})
    other = target_jobs(spec_of(tmp_path, targets={"night": {"method": {"name": "noisy"}}}))["night"]
    run_job(other, local=True)
    run_job(target_jobs(spec)["night"], local=True, fresh=True)
    for part in (tmp_path / "out" / "night" / INDEX).glob("*-0001.parquet"):
        part.unlink()
    outcomes = run_targets(spec)
    assert [each.progress.shards for each in outcomes.values()] == [4, 2]
    plain, night = (index_rows(tmp_path / "out" / name) for name in ("plain", "night"))
    assert [row["sha256"] for row in plain] == [row["sha256"] for row in night]
    assert all("-g2-" in row["shard"] for row in night)


def test_a_busy_target_leaves_all_untouched(source: Path, tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    with locked(Store(str(tmp_path / "out" / "noise")), "another run"), pytest.raises(Busy, match="another run"):
        run_targets(spec)
    assert not (tmp_path / "out" / "plain" / JOB_FILE).exists()
    assert not (tmp_path / "out" / "plain" / LOCK_FILE).exists()


def test_a_changed_file_is_made_anew_for_every_target(source: Path, tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    run_targets(spec)
    write_tars(tmp_path / "in", 1, 12)
    wanted = separate(spec, tmp_path)
    outcomes = run_targets(spec)
    assert [each.progress.shards for each in outcomes.values()] == [2] * 3
    assert {name: made(tmp_path / "out" / name) for name in TARGETS} == wanted


def test_the_folder_of_a_single_job_is_not_taken_for_targets(source: Path, tmp_path: Path) -> None:
    run_job(spec_of(tmp_path, targets={}), local=True)
    with pytest.raises(InputError, match="holds the output of a job without targets"):
        run_targets(spec_of(tmp_path))
    run_targets(spec_of(tmp_path, output__uri=str(tmp_path / "several")))
    with pytest.raises(InputError, match="holds something else already"):
        run_job(spec_of(tmp_path, targets={}, output__uri=str(tmp_path / "several")), local=True)
    with pytest.raises(InputError, match="target in: source and output are the same place"):
        run_targets(spec_of(tmp_path, output__uri=str(tmp_path), targets={"in": {}}))


def test_wrong_input_of_any_target_is_found_before_the_first_is_made(source: Path, tmp_path: Path) -> None:
    for target, said in (
        ({"method": {"name": "invrt"}}, "did you mean 'invert'"),
        ({"method": {"preset": "nigth"}}, "no preset 'nigth'"),
        ({"method": {"params": {"x": 1}}}, "has no parameter 'x'"),
        ({"keep": "ssim > 1"}, "ssim"),
    ):
        spec = spec_of(tmp_path, targets={"good": {}, "bad": target})
        with pytest.raises(InputError, match=said):
            run_targets(spec)
        with pytest.raises(InputError, match=said):
            check(spec)
        assert not (tmp_path / "out" / "good" / INDEX).exists()
    with pytest.raises(InputError, match="targets"):
        spec_of(tmp_path, targets={"Bad Name": {}})
    with pytest.raises(InputError, match=r"unknown key 'targets.night.metod'"):
        spec_of(tmp_path, targets={"night": {"metod": {}}})
    with pytest.raises(InputError, match=r"\{captoin\} is not known here"):
        spec_of(tmp_path, targets={"night": {"labels": {"caption": "{captoin}, at night"}}})
    with pytest.raises(InputError, match=r"has targets \(plain, night, noise\)"):
        prepare(spec_of(tmp_path))


def test_what_a_target_takes_over() -> None:
    base = {"name": "invert", "preset": "night", "weights": "w", "params": {"a": 1, "b": 2}}
    tree = {
        "source": {"uri": "in", "labels": {"set": {"weather": "fog", "x": 1}, "caption": "{caption}"}},
        "method": base,
        "output": {"uri": "s3://out/set/"},
        "keep": "psnr > 1",
        "targets": {
            "same": {},
            "params": {"method": {"params": {"b": 3}}},
            "preset": {"method": {"preset": "plain"}},
            "weights": {"method": {"weights": "v"}},
            "other": {"method": {"name": "noisy"}},
            "labels": {"labels": {"set": {"weather": "rain"}}, "keep": "psnr > 2"},
        },
    }
    each = target_jobs(JobSpec.parse(tree))
    assert each["same"].method.model_dump() == base
    assert each["params"].method.params == {"a": 1, "b": 3}
    assert each["preset"].method.model_dump() == base | {"preset": "plain", "weights": None}
    assert each["weights"].method.model_dump() == base | {"weights": "v"}
    assert each["other"].method.model_dump() == {"name": "noisy", "preset": None, "weights": None, "params": {}}
    assert each["labels"].source.labels.set == {"weather": "rain", "x": 1}
    assert (each["labels"].keep, each["same"].keep) == ("psnr > 2", "psnr > 1")
    assert each["same"].output.uri == "s3://out/set/same"
    assert weight_uris(JobSpec.parse(tree | {"targets": {}, "method": {"name": "invert"}})) == ()


def test_a_companion_that_lost_its_lock_is_left_alone(source: Path, tmp_path: Path) -> None:
    spec = spec_of(tmp_path)
    seen: list[Any] = []

    def steal(progress: Any) -> None:
        lock = tmp_path / "out" / "night" / "_sceneshift" / "lock.json"
        if not seen and lock.exists():
            seen.append(lock.read_text())
            lock.unlink()

    try:
        run_targets(spec, watch=steal)
    except LockLost:
        pytest.fail("another target's lock is no concern of the first")
    assert seen
    job_plan = resolve(target_jobs(spec)["plain"])[1]
    assert not job_plan.pending
