"""Weights by URI: fetched once, checked, named by content, and refused in one line."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import shutil
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest

import methods
from methods import InputError
from methods.weights import BUNDLED, cache_folder, fetch, hub, identity, redacted

CONTENT = os.urandom(300_000)


class Handler(BaseHTTPRequestHandler):
    gets: list[str]

    def _answer(self, body: bool) -> None:
        found = self.path.partition("?")[0] == "/model.pkl"
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(CONTENT)) if found else "0")
        self.end_headers()
        if found and body:
            self.gets.append(self.path)
            self.wfile.write(CONTENT)

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_message(self, format: str, *args: object) -> None:
        """Tests print enough."""


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    handler = type("H", (Handler,), {"gets": []})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{httpd.server_address[1]}", handler.gets
        httpd.shutdown()


def test_a_path_is_used_where_it_is(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(CONTENT)
    assert fetch(str(path)) == path
    assert fetch(f"file://{path}") == path
    assert identity(str(path)) == f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
    assert not (cache_folder() / "weights").exists()


def test_a_changed_file_has_another_identity(tmp_path: Path) -> None:
    path = tmp_path / "model.pkl"
    path.write_bytes(b"one")
    first = identity(str(path))
    assert identity(str(path)) == first
    path.write_bytes(b"two")
    os.utime(path, (1, 1))
    assert identity(str(path)) != first


def test_a_folder_is_its_model_files(tmp_path: Path) -> None:
    for name in ("unet/config.json", "unet/diffusion_pytorch_model.safetensors", "notes.txt"):
        (tmp_path / "base" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "base" / name).write_text(name)
    base = tmp_path / "base"
    first = identity(str(base))
    (base / "notes.txt").write_text("not a weight")
    assert identity(str(base)) == first
    (base / "unet" / "config.json").write_text("{}")
    assert identity(str(base)) != first


def test_bundled() -> None:
    assert fetch("bundled://street-day2night") == BUNDLED / "street-day2night" / "model.safetensors"
    assert identity("bundled://street-day2night").startswith("tensors:")
    with pytest.raises(InputError, match=r"there is: .*street-day2night"):
        fetch("bundled://../secrets")


def test_http_once(server: tuple[str, list[str]]) -> None:
    base, gets = server
    path = fetch(f"{base}/model.pkl")
    assert path.name == "model.pkl"
    assert path.read_bytes() == CONTENT
    assert fetch(f"{base}/model.pkl") == path
    assert len(gets) == 1
    assert identity(f"{base}/model.pkl") == f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
    assert not list(path.parent.glob(".part*"))


def test_a_torn_cache_entry_is_fetched_again(server: tuple[str, list[str]]) -> None:
    base, gets = server
    fetch(f"{base}/model.pkl").write_bytes(CONTENT[:1000])
    assert fetch(f"{base}/model.pkl").read_bytes() == CONTENT
    assert len(gets) == 2


def test_checksum(server: tuple[str, list[str]]) -> None:
    base, _ = server
    assert fetch(f"{base}/model.pkl#sha256={hashlib.sha256(CONTENT).hexdigest()}").exists()
    with pytest.raises(InputError, match=f"expected {'0' * 64}"):
        fetch(f"{base}/model.pkl#sha256={'0' * 64}")
    with pytest.raises(InputError, match="64 hex digits"):
        fetch(f"{base}/model.pkl#sha256=short")


def _fetch_to(uri: str, queue: multiprocessing.Queue) -> None:
    queue.put(fetch(uri).read_bytes() == CONTENT)


def test_many_processes_fetch_once(server: tuple[str, list[str]]) -> None:
    base, gets = server
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    workers = [context.Process(target=_fetch_to, args=(f"{base}/model.pkl", queue)) for _ in range(4)]
    for worker in workers:
        worker.start()
    assert all(queue.get(timeout=60) for _ in workers)
    for worker in workers:
        worker.join()
    assert len(gets) == 1


def test_any_fsspec_store_files_and_folders() -> None:
    store = fsspec.filesystem("memory")
    store.pipe("/bucket/model.pkl", CONTENT)
    store.pipe("/bucket/base/unet/config.json", b"{}")
    store.pipe("/bucket/base/vae/config.json", b"{ }")
    assert fetch("memory://bucket/model.pkl").read_bytes() == CONTENT
    folder = fetch("memory://bucket/base")
    assert (folder / "unet" / "config.json").read_bytes() == b"{}"
    assert (folder / "vae" / "config.json").read_bytes() == b"{ }"
    assert identity("memory://bucket/base").startswith("sha256:")


@pytest.mark.parametrize(
    ("uri", "says"),
    [
        ("/nowhere/model.pkl", "no such file"),
        ("nowhere/at/all.pkl", "no such file"),
        ("memory://bucket/missing.pkl", "nothing there"),
        ("nosuchscheme://bucket/model.pkl", "cannot be opened"),
        ("http://127.0.0.1:1/model.pkl", "cannot be fetched"),
        ("hf://one-word", "expected owner/name"),
    ],
)
def test_what_is_not_there_is_said_in_one_line(uri: str, says: str) -> None:
    with pytest.raises(InputError) as caught:
        fetch(uri)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_http_not_found(server: tuple[str, list[str]]) -> None:
    with pytest.raises(InputError, match="nothing there"):
        fetch(f"{server[0]}/other.pkl")


def test_a_hub_id_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    for ask in (fetch, identity):
        with pytest.raises(InputError, match="not in the local hub cache"):
            ask("stabilityai/sd-turbo")


def test_a_hub_that_is_not_there_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with socket.socket() as taken:
        # bound and not listening: nobody answers there
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.setattr("time.sleep", lambda seconds: pytest.fail("it waits to try again"))
        with pytest.raises(InputError, match="not in the local hub cache, and the hub cannot be reached"):
            fetch("stabilityai/sd-turbo")


@pytest.mark.parametrize("variable", ["https_proxy", "ALL_PROXY"])
def test_behind_a_proxy_the_client_itself_finds_out(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", "https://127.0.0.1:1")
    assert not hub._answers()
    monkeypatch.setenv(variable, "http://127.0.0.1:2")
    assert hub._answers()


def test_a_hub_id_from_the_local_hub_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, base: str, official: Path
) -> None:
    from huggingface_hub import constants

    commit = "b" * 40
    repository = tmp_path / "models--stabilityai--sd-turbo"
    shutil.copytree(base, repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    assert identity("stabilityai/sd-turbo") == f"hub:stabilityai/sd-turbo@{commit}"
    assert hub.find("stabilityai/sd-turbo") == fetch("stabilityai/sd-turbo")
    assert fetch("hf://stabilityai/sd-turbo/unet/config.json").read_bytes().startswith(b"{")
    method = methods.load("cyclegan_turbo", weights=str(official), caption="driving in the night", direction="b2a")
    assert method.info.weight_uris(method.params, str(official)) == [str(official), "stabilityai/sd-turbo"]


def test_secrets_do_not_reach_messages() -> None:
    uri = "http://user:hunter2@127.0.0.1:1/model.pkl?X-Amz-Signature=hunter2#sha256=x"
    assert redacted(uri) == "http://127.0.0.1:1/model.pkl"
    with pytest.raises(InputError) as caught:
        fetch("http://user:hunter2@127.0.0.1:1/model.pkl?X-Amz-Signature=hunter2")
    assert "hunter2" not in str(caught.value)
