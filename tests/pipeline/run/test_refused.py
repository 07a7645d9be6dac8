"""What a run refuses: wrong input, an output that is another's, a second driver. Nothing is written, or lost."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from methods.errors import InputError
from pipeline.run.driver import run_job
from tests.support.datasets import read_tree, write_tars
from tests.support.jobs import job


@pytest.mark.parametrize("change", [{"seed": 7}, {"output__image": {"format": "jpeg"}}, {"method__name": "noisy"}])
def test_an_output_of_another_job_is_refused_and_left_alone(tmp_path, change):
    write_tars(tmp_path / "in", 1, 3)
    run_job(job(tmp_path / "in", tmp_path / "out"), local=True)
    before = read_tree(tmp_path, "out")
    with pytest.raises(InputError, match="another job"):
        run_job(job(tmp_path / "in", tmp_path / "out", **change), local=True)
    assert read_tree(tmp_path, "out") == before
    assert run_job(job(tmp_path / "in", tmp_path / "out", **change), local=True, fresh=True).progress.ok == 3


def test_a_folder_with_something_else_in_it_is_refused(tmp_path):
    write_tars(tmp_path / "in", 1, 3)
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.docx").write_text("do not touch")
    for fresh in (False, True):
        with pytest.raises(InputError, match=r"thesis\.docx"):
            run_job(job(tmp_path / "in", tmp_path / "out"), local=True, fresh=fresh)
    assert os.listdir(tmp_path / "out") == ["thesis.docx"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"method__name": "invrt"}, "did you mean 'invert'"),
        ({"method__preset": "plian"}, "did you mean 'plain'"),
        ({"method__params": {"strength": 2}}, "no parameter 'strength'"),
        ({"metrics": ["pnsr"]}, "psnr"),
        ({"metrics": ["psnr"], "keep": "ssim > 3"}, "ssim"),
        ({"keep": "__import__('os').system('true')"}, "keep"),
        ({"source__labels": {"uri": "/no/such/labels.json"}}, "does not exist"),
        ({"source__uri": "/no/such/folder"}, "does not exist"),
        ({"source__image": "webp"}, "webp"),
    ],
)
def test_wrong_input_writes_nothing(tmp_path, change, words):
    write_tars(tmp_path / "in", 1, 3)
    with pytest.raises(InputError, match=words) as caught:
        run_job(job(tmp_path / "in", tmp_path / "out", **change), local=True)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


def test_an_unreadable_label_file_writes_nothing(tmp_path):
    write_tars(tmp_path / "in", 1, 3)
    (tmp_path / "labels.json").write_text('{"images": [}')
    spec = job(tmp_path / "in", tmp_path / "out", source__labels={"uri": str(tmp_path / "labels.json")})
    with pytest.raises(InputError, match=r"labels\.json"):
        run_job(spec, local=True)
    assert not (tmp_path / "out").exists()


def test_a_second_driver_is_refused_and_a_dead_one_is_not_waited_for(tmp_path):
    from pipeline.run.lock import LOCK_FILE, locked
    from pipeline.storage import Store

    write_tars(tmp_path / "in", 1, 3)
    spec = job(tmp_path / "in", tmp_path / "out")
    store = Store(str(tmp_path / "out"))
    with locked(store, "other"):
        with pytest.raises(InputError, match="steal-lock"):
            run_job(spec, local=True)
        assert run_job(spec, local=True, steal_lock=True).state == "done"
    left = Path(tmp_path / "out" / LOCK_FILE)
    assert not left.exists()
    dead = {"host": "elsewhere", "pid": 1, "run": "r", "token": "t", "beat": 0}
    (tmp_path / "out" / "_sceneshift" / "success.json").unlink()
    left.write_text(json.dumps(dead))
    assert run_job(spec, local=True).state == "done"


def test_a_spec_is_resolved_once_and_its_label_file_read_once(tmp_path, monkeypatch):
    from pipeline.labels import formats
    from pipeline.run import resolving

    write_tars(tmp_path / "in", 1, 3)
    box = {"image_id": 1, "id": 1, "category_id": 1, "bbox": [1, 1, 4, 4]}
    images = [{"id": 1, "file_name": "s0000.jpg", "width": 48, "height": 32}]
    tree = {"images": images, "annotations": [box], "categories": [{"id": 1, "name": "car"}]}
    (tmp_path / "labels.json").write_text(json.dumps(tree))
    counts = {"resolve": 0, "read": 0}

    def counted(name, real):
        def call(*arguments, **named):
            counts[name] += 1
            return real(*arguments, **named)

        return call

    coco = formats.FORMATS["coco"]
    monkeypatch.setattr(resolving, "resolve", counted("resolve", resolving.resolve))
    monkeypatch.setitem(formats.FORMATS, "coco", replace(coco, read=counted("read", coco.read)))
    source = {"labels": {"uri": str(tmp_path / "labels.json"), "format": "coco"}}
    assert run_job(job(tmp_path / "in", tmp_path / "out", source__labels=source["labels"]), local=True).state == "done"
    assert counts == {"resolve": 1, "read": 1}


def test_what_another_driver_did_in_between_is_seen_under_the_lock(tmp_path, monkeypatch):
    from pipeline.run import driver

    write_tars(tmp_path / "in", 1, 3)
    spec = job(tmp_path / "in", tmp_path / "out")
    real = driver.check_labels

    def while_the_other_works(*given):
        monkeypatch.setattr(driver, "check_labels", real)
        assert run_job(spec, local=True).state == "done"
        return real(*given)

    monkeypatch.setattr(driver, "check_labels", while_the_other_works)
    outcome = run_job(spec, local=True)
    assert (outcome.state, outcome.progress.shards) == ("done", 0)
