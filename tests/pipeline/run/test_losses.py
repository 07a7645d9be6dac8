"""Who died over what: crashes count against a shard, machines that go away do not."""

from __future__ import annotations

from pipeline.run.activity import ENDS, Activity, ActivityReporter
from pipeline.run.losses import WorkerLosses


def test_what_was_begun_and_not_ended_is_what_workers_died_over():
    activity = Activity()
    for worker, shard in (("a", "x-0001"), ("a", "x-0002"), ("b", "x-0003")):
        activity.begin(worker, f"node-{worker}", shard)
    activity.write("a", "x-0002", ENDS)
    activity.write("b", "x-0003", "translating")
    assert activity.take_unended() == [("x-0001", "a", "node-a"), ("x-0003", "b", "node-b")]
    assert activity.take_unended() == []


def test_a_shard_is_suspect_after_two_processes_died_over_it():
    losses = WorkerLosses()
    nodes = {"here": True, "gone": False}
    losses.add([("x-0001", "a", "here"), ("x-0002", "a", "here")], nodes, [])
    assert losses.suspects("x") == []
    losses.add([("x-0001", "b", "here"), ("x-0002", "a", "here")], nodes, [])
    assert losses.suspects("x") == [1]
    assert losses.suspects("y") == []
    losses.forget(["x-0001"])
    assert losses.suspects("x") == []
    assert (losses.crashes, losses.preemptions) == (3, 0)


def test_nodes_that_go_away_make_no_shard_suspect():
    losses = WorkerLosses()
    for worker in "abcd":
        losses.add([("x-0001", worker, "gone")], {"here": True, "gone": False}, [])
    losses.add([("x-0001", "e", "never heard of")], {"here": True}, [])
    assert losses.suspects("x") == []
    assert (losses.crashes, losses.preemptions) == (0, 5)
    assert len(losses.notes()) == 1


def test_a_worker_that_was_ended_after_its_last_commit_did_not_die():
    losses = WorkerLosses()
    losses.add([("x-0001", "a", "here")], {"here": True}, [("x-0001", "a")])
    assert (losses.crashes, losses.suspects("x"), losses.notes()) == (0, [], [])


def test_a_reporter_passes_on_at_once_what_is_begun_and_later_what_is_new():
    said: list[tuple[str, str]] = []
    reporter = ActivityReporter(lambda shard: said.append((shard, "begun")), lambda *note: said.append(note), 3600)
    reporter.begin("x-0001")
    assert said == [("x-0001", "begun")]
    reporter.note("x-0001", "translating")
    reporter.note("x-0001", ENDS)
    assert said == [("x-0001", "begun"), ("x-0001", ENDS)]
