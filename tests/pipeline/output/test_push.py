"""Uploading to the hub, against a stub of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from huggingface_hub import HfApi

import pipeline.output.push as pushing
from methods.errors import InputError
from pipeline.output.push import push, repository_of
from pipeline.run.driver import run_job
from pipeline.storage import Store
from tests.support.datasets import read_tree, write_tars
from tests.support.hub import TOKEN, Hub, stub_hub
from tests.support.jobs import job


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("made")
    write_tars(root / "in", 1, 6)
    run_job(job(root / "in", root / "out", output__format="files", output__shard_size=2), local=True)
    return root / "out"


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with stub_hub() as running:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", running.url)
        yield running


def client(hub: Hub, token: str = TOKEN) -> HfApi:
    return HfApi(endpoint=hub.url, token=token)


def test_what_is_committed_arrives_and_what_is_there_stays(output: Path, hub: Hub) -> None:
    summary = push(Store(str(output)), "hf://me/set", client=client(hub))
    expected = read_tree(output, "data", "index", "images", "report")
    expected |= {name: (output / name).read_bytes() for name in ("README.md", "index.parquet", "metrics.json")}
    assert expected.items() <= hub.files.items()
    assert "_sceneshift/plan.parquet" not in hub.files
    assert hub.commits[-1][-1] in ("metrics.json", "labels.json", "index.parquet", "_sceneshift/success.json")
    assert (summary.files, summary.already) == (len(hub.files), 0)
    again = push(Store(str(output)), "hf://datasets/me/set", client=client(hub))
    assert (again.files, again.already, again.commits) == (0, summary.files, 0)


def test_a_push_that_broke_off_goes_on(output: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pushing, "_MOST_FILES", 4)
    hub.fail_after = 2
    with pytest.raises(InputError, match="may not write"):
        push(Store(str(output)), "hf://me/set", client=client(hub))
    assert "README.md" not in hub.files
    assert len(hub.files) == 8
    summary = push(Store(str(output)), "hf://me/set", client=client(hub))
    assert summary.already == 8
    assert len(hub.files) == summary.files + summary.already
    assert hub.files["README.md"] == (output / "README.md").read_bytes()


def test_uncommitted_shards_stay_here(output: Path, tmp_path: Path, hub: Hub) -> None:
    for name, data in read_tree(output, ".").items():
        (tmp_path / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "copy" / name).write_bytes(data)
    part = min((tmp_path / "copy/index").iterdir())
    part.unlink()
    push(Store(str(tmp_path / "copy")), "hf://me/set", client=client(hub))
    assert not any(part.stem in path for path in hub.files)
    assert len([path for path in hub.files if path.startswith("images/")]) == 4


def test_wrong_input_is_one_line(output: Path, tmp_path: Path, hub: Hub) -> None:
    store = Store(str(output))
    cases = [
        (lambda: push(store, "hf://me/set", client=client(hub, "hf_wrong")), "HF_TOKEN"),
        (lambda: push(store, "s3://me/set"), "hf://owner/name"),
        (lambda: push(store, "hf://me"), "hf://owner/name"),
        (lambda: push(Store(str(tmp_path)), "hf://me/set", client=client(hub)), "neither an output"),
        (lambda: push(store, "hf://me/set", client=HfApi(endpoint="http://127.0.0.1:9", token=TOKEN)), "not answer"),
    ]
    hub.forbidden = True
    cases.append((lambda: push(store, "hf://me/set", client=client(hub)), "write access"))
    for act, words in cases:
        with pytest.raises(InputError, match=words) as caught:
            act()
        assert "\n" not in str(caught.value)
        assert "hf_wrong" not in str(caught.value)
    assert hub.files == {}
    assert repository_of("hf://a.b/c-d") == "a.b/c-d"
