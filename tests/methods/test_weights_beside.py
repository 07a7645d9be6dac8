"""Weights whose file names others beside it are all of them: fetched together, and one identity."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import numpy as np
import pytest

from methods.errors import InputError
from methods.weights import fetch, identity
from methods.weights.beside import beside, graph_file
from methods.weights.cache import find
from methods.weights.mirror import Mirror
from tests.support.graph_models import FLOAT, node, placeholder, write_graph


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Tests print enough."""


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    folder = tmp_path / "here"
    folder.mkdir()
    nodes = [placeholder("x", (1, 2)), node("out", "Add", ["x", "y"], T=FLOAT)]
    return write_graph(folder / "model.json", nodes, {"y": np.array([1, 2], np.float32)}, parts=2)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    handler = partial(_Quiet, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}"
        httpd.shutdown()


def changed(path: Path) -> None:
    path.write_bytes(bytes([path.read_bytes()[0] ^ 1]) + path.read_bytes()[1:])
    os.utime(path, (1, 1))


def test_identity_is_that_of_all_files(graph: Path) -> None:
    first = identity(str(graph))
    assert first == identity(f"file://{graph}") == identity(str(graph.parent))
    (graph.parent / "notes.bin").write_bytes(b"not named")
    assert identity(str(graph.parent)) == first
    names = {first}
    for each in (graph.parent / "model-0.bin", graph.parent / "model-1.bin"):
        changed(each)
        names.add(identity(str(graph)))
    assert len(names) == 3
    (graph.parent / "model-1.bin").unlink()
    with pytest.raises(InputError, match=r"model-1\.bin, which a file there names beside it, is missing"):
        identity(str(graph))


def test_fetched_together_over_http(graph: Path, server: str) -> None:
    uri = f"{server}/here/model.json"
    folder = fetch(uri)
    assert sorted(each.name for each in folder.iterdir()) == ["model-0.bin", "model-1.bin", "model.json"]
    assert graph_file(folder) == folder / "model.json"
    assert identity(uri) == identity(str(graph))
    changed(graph.parent / "model-0.bin")
    assert fetch(uri) == folder  # fetched once
    (folder / "model-0.bin").unlink()
    assert fetch(uri) == folder  # and again what is not whole
    assert identity(uri) == identity(str(graph))
    (graph.parent / "model-1.bin").unlink()
    (folder / "model-1.bin").unlink()
    with pytest.raises(InputError, match=r"here/model-1\.bin': nothing there"):
        fetch(uri)


def test_a_pin_of_one_file_is_none_of_several(graph: Path, server: str) -> None:
    with pytest.raises(InputError, match="expected 0000"):
        fetch(f"{server}/here/model.json#sha256={'0' * 64}")
    pin = hashlib.sha256(graph.read_bytes()).hexdigest()
    with pytest.raises(InputError, match=r"#sha256= pins a single file, and this is a folder of 3 files"):
        fetch(f"{server}/here/model.json#sha256={pin}")


def test_folders_of_stores_and_mirrors(
    graph: Path, server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = fsspec.filesystem("memory")
    for each in graph.parent.iterdir():
        store.pipe(f"/graphs/net/{each.name}", each.read_bytes())
    assert identity("memory://graphs/net") == identity("memory://graphs/net/model.json") == identity(str(graph))
    uri = f"{server}/here/model.json"
    place, known = fetch(uri), identity(uri)
    held = find(uri)
    assert held is not None
    Mirror.at(str(tmp_path / "mirror")).put(uri, held.entry, place)
    shutil.rmtree(graph.parent)
    monkeypatch.setenv("SCENESHIFT_CACHE", str(tmp_path / "other"))
    monkeypatch.setenv("SCENESHIFT_MIRROR", str(tmp_path / "mirror"))
    assert identity(uri) == known


def test_what_is_no_graph_model(graph: Path) -> None:
    other = graph.parent / "config.txt"
    other.write_text(graph.read_text())
    assert beside(other) == ()
    assert beside(graph) == ("model-0.bin", "model-1.bin")
    shutil.copy(graph, graph.parent / "second.json")
    with pytest.raises(InputError, match=r"several graph models of TensorFlow\.js \(model\.json, second\.json\)"):
        graph_file(graph.parent)
    assert graph_file(graph) == graph
    # beside the files of a transformers model it is none of its files
    (graph.parent / "config.json").write_text("{}")
    assert graph_file(graph.parent) is None
    graph.write_text(graph.read_text().replace("model-1.bin", "../model-1.bin"))
    with pytest.raises(InputError, match="which is no file beside it"):
        beside(graph)
