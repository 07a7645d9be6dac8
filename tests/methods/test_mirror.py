"""Weights from a mirror of one's own, downloads that break off, and workers that leave the hub alone."""

from __future__ import annotations

import hashlib
import os
import shutil
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlencode

import fsspec
import pytest

from methods.errors import InputError
from methods.weights import cache, download, fetch, go_offline, hub, identity
from methods.weights.entry import FileSum, WeightsEntry
from methods.weights.mirror import Mirror
from tests.support.seaweed import Bucket, bucket, s3

__all__ = ["bucket", "s3"]
CONTENT = os.urandom(100_000)
FILE, FOLDER = "memory://origin/model.pkl", "memory://origin/base"


@pytest.fixture(autouse=True)
def origin() -> None:
    store = fsspec.filesystem("memory")
    store.pipe("/origin/model.pkl", CONTENT)
    store.pipe("/origin/base/unet/config.json", b"{}")
    store.pipe("/origin/base/vae/config.json", b"{ }")


def filled(mirror: Mirror) -> None:
    """Both URIs, copied to the mirror from a cache of their own, which is emptied."""
    for uri in (FILE, FOLDER):
        path = cache.fetch(uri, None)
        found = cache.find(uri)
        assert found is not None
        assert mirror.renew(uri, found.entry, path) == found.entry.size
    shutil.rmtree(cache.cache_folder())


def forget_origin() -> None:
    fsspec.filesystem("memory").rm("/origin", recursive=True)


def test_a_folder_as_mirror_stands_in_for_the_origin(tmp_path, monkeypatch):
    before = identity(FILE), identity(FOLDER)
    filled(Mirror.at(str(tmp_path / "mirror")))
    forget_origin()
    monkeypatch.setenv("SCENESHIFT_MIRROR", str(tmp_path / "mirror"))
    assert fetch(FILE).read_bytes() == CONTENT
    assert (fetch(FOLDER) / "vae" / "config.json").read_bytes() == b"{ }"
    assert (identity(FILE), identity(FOLDER)) == before
    with pytest.raises(InputError, match=r"nothing there, and the mirror .*mirror does not hold it"):
        fetch("memory://origin/other.pkl")


def test_a_bucket_as_mirror(bucket: Bucket, monkeypatch):
    address = f"{bucket.uri}/mirror#{urlencode(bucket.storage)}"
    filled(Mirror.at(address))
    forget_origin()
    monkeypatch.setenv("SCENESHIFT_MIRROR", address)
    assert fetch(FILE).read_bytes() == CONTENT
    assert (fetch(FOLDER) / "unet" / "config.json").read_bytes() == b"{}"
    shutil.rmtree(cache.cache_folder())
    monkeypatch.setenv("SCENESHIFT_MIRROR", f"{bucket.uri}/nothing#{urlencode(bucket.storage)}")
    with pytest.raises(InputError, match="`sceneshift weights mirror` fills it"):
        fetch(FILE)


def test_a_damaged_mirror_is_refused_and_can_be_renewed(tmp_path, monkeypatch):
    mirror = Mirror.at(str(tmp_path / "mirror"))
    filled(mirror)
    entry = mirror.entry(FILE)
    assert entry is not None
    assert mirror.damaged(entry) == []
    blob = tmp_path / "mirror" / "blobs" / entry.files[""].sha256
    blob.write_bytes(bytes([CONTENT[0] ^ 1]) + CONTENT[1:])
    assert mirror.damaged(entry) == [""]
    monkeypatch.setenv("SCENESHIFT_MIRROR", str(tmp_path / "mirror"))
    with pytest.raises(InputError) as caught:
        fetch(FILE)
    said = str(caught.value)
    assert "sha256 is" in said
    assert entry.files[""].sha256 in said
    assert "\n" not in said
    assert cache.find(FILE) is None
    assert mirror.renew(FILE, entry, cache.fetch(FILE, None)) == len(CONTENT)
    assert mirror.damaged(entry) == []
    (tmp_path / "mirror" / "index" / next(iter(os.listdir(tmp_path / "mirror" / "index")))).write_text("{")
    with pytest.raises(InputError, match="is damaged; delete it"):
        [mirror.entry(uri) for uri in (FILE, FOLDER)]


def test_a_hub_id_from_the_mirror_keeps_its_commit(tmp_path, monkeypatch):
    commit = "c" * 40
    folder = tmp_path / "snapshots" / commit
    (folder / "unet").mkdir(parents=True)
    (folder / "unet" / "config.json").write_text("{}")
    sums = {"unet/config.json": FileSum(2, hashlib.sha256(b"{}").hexdigest())}
    Mirror.at(str(tmp_path / "mirror")).put("some/model", WeightsEntry("some/model", sums, commit), folder)
    monkeypatch.setenv("SCENESHIFT_MIRROR", str(tmp_path / "mirror"))
    assert identity("some/model") == identity("hf://some/model") == f"hub:some/model@{commit}"
    assert (fetch("some/model") / "unet" / "config.json").read_text() == "{}"
    with pytest.raises(InputError, match=r"the hub cannot be reached, and the mirror"):
        fetch("some/other")


class Breaking(BaseHTTPRequestHandler):
    """Serves ranges of CONTENT, and breaks off after some requests."""

    served: list[str]
    left: list[int]
    tag = '"one"'

    def do_HEAD(self) -> None:
        self._head(200, len(CONTENT))

    def do_GET(self) -> None:
        first, _, last = self.headers.get("Range", f"bytes=0-{len(CONTENT) - 1}").removeprefix("bytes=").partition("-")
        if self.left[0] == 0:
            self.connection.close()
            return
        self.left[0] -= 1
        self.served.append(f"{first}-{last}")
        part = CONTENT[int(first) : int(last) + 1]
        self._head(206, len(part))
        self.wfile.write(part)

    def _head(self, status: int, length: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("ETag", type(self).tag)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Tests print enough."""


@pytest.fixture
def breaking(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    monkeypatch.setattr(download, "CHUNK", 30_000)
    monkeypatch.setattr(download, "_RETRY_AFTER", (0.0,))
    handler = type("H", (Breaking,), {"served": [], "left": [2]})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        handler.url = f"http://127.0.0.1:{httpd.server_address[1]}/model.pkl"  # type: ignore[attr-defined]
        yield handler
        httpd.shutdown()


def test_a_download_that_broke_off_goes_on_where_it_was(breaking):
    with pytest.raises(InputError, match="cannot be fetched"):
        fetch(breaking.url)
    breaking.left[0] = 99
    path = fetch(breaking.url)
    assert path.read_bytes() == CONTENT
    assert breaking.served == ["0-29999", "30000-59999", "60000-89999", "90000-99999"]
    assert not list(path.parent.glob(".part*"))


def test_a_file_that_changed_meanwhile_is_fetched_from_its_beginning(breaking):
    with pytest.raises(InputError, match="cannot be fetched"):
        fetch(breaking.url)
    breaking.left[0], breaking.tag = 99, '"two"'
    assert fetch(breaking.url).read_bytes() == CONTENT
    assert breaking.served[2] == "0-29999"


def test_what_was_damaged_in_the_cache_is_found(tmp_path):
    path = fetch(FOLDER)
    found = cache.find(FOLDER)
    assert found is not None
    assert found.damaged() == []
    (path / "vae" / "config.json").write_bytes(b"{x}")
    assert found.damaged() == [path / "vae" / "config.json"]
    blob = tmp_path / hashlib.sha1(b"blob 2\0{}").hexdigest()
    blob.write_bytes(b"{}")
    assert not hub.is_damaged(blob)
    blob.write_bytes(b"{")
    assert hub.is_damaged(blob)


def test_a_worker_leaves_the_hub_alone(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    go_offline([FILE])
    assert os.environ["HF_HUB_OFFLINE"] == "1"
    assert constants.HF_HUB_OFFLINE
    assert cache.find(FILE) is not None


@pytest.mark.parametrize("record", ["", "[]", '{"files": {"../../x": {"size": 1, "sha256": "0"}}, "uri": "u"}'])
def test_a_damaged_record_is_no_record(record):
    path = fetch(FILE)
    (path.parent / "record.json").write_text(record)
    assert cache.find(FILE) is None
    assert fetch(FILE).read_bytes() == CONTENT
