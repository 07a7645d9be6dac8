"""The store on a disk: atomic puts, puts that only one writer wins, clear errors, no secrets anywhere."""

from __future__ import annotations

import errno
import multiprocessing
import os
import pickle
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from methods.errors import BadSample, InputError
from pipeline import storage
from pipeline.sources.loose import fetch
from pipeline.storage import (
    HIDDEN,
    Entry,
    StorageOptions,
    Store,
    Unreachable,
    absolute,
    explained,
    filesystem,
    redact,
)


@pytest.fixture
def store(tmp_path) -> Store:
    return Store(str(tmp_path / "out"))


@pytest.mark.parametrize(
    "uri",
    ["s3://", "s3://bucket", "s3://a b/x", "hdfs://host/x", "reference://x", "nosuch://x"],
)
def test_an_address_that_is_none_is_a_matter_of_its_sample(uri):
    with pytest.raises(BadSample) as found:
        fetch(uri, StorageOptions(anon=True), "the image")
    assert found.value.reason == "unreadable"


@pytest.mark.parametrize(
    ("code", "kind"),
    [("InvalidObjectState", PermissionError), ("KeyTooLongError", OSError), ("XMinioInvalidObjectName", OSError)],
)
def test_an_object_that_is_never_given_out_does_not_say_that_the_store_is_away(code, kind):
    with pytest.raises(InputError, match=code) as found, explained("s3://bucket/x"):
        raise kind("refused") from ClientError({"Error": {"Code": code, "Message": "m"}}, "GetObject")
    assert not isinstance(found.value, Unreachable)
    with pytest.raises(Unreachable), explained("s3://bucket/x"):
        raise PermissionError("refused") from ClientError({"Error": {"Code": "InvalidAccessKeyId"}}, "GetObject")


def test_what_is_put_is_read_and_listed(store):
    store.put("index/b.parquet", b"bb")
    store.put("index/a.parquet", b"a")
    store.put("index/deep/er/c.parquet", b"")
    store.put("data/x.tar", b"xxx")
    assert store.list("index") == [
        Entry("index/a.parquet", 1),
        Entry("index/b.parquet", 2),
        Entry("index/deep/er/c.parquet", 0),
    ]
    assert store.list()[0] == Entry("data/x.tar", 3)
    assert store.read("index/b.parquet") == b"bb"
    with store.open("data/x.tar") as file:
        assert file.read() == b"xxx"
    assert store.exists("data/x.tar")
    assert not store.exists("data/y.tar")
    store.put("index/b.parquet", b"anew")
    assert store.read("index/b.parquet") == b"anew"


def test_what_is_not_there(store):
    assert store.list() == []
    assert store.read_or_none("a") is None
    store.delete("a")
    with pytest.raises(InputError, match="out/a: does not exist; check the address"):
        store.read("a")


def test_deleting_takes_what_it_names_and_nothing_else(store):
    for name in ("index/a", "index/b/c", "indexes/d"):
        store.put(name, b"1")
    store.delete("index/a")
    assert [entry.path for entry in store.list()] == ["index/b/c", "indexes/d"]
    store.delete("index/b/c")
    store.delete("indexes/d")
    assert store.list() == []


def test_a_reader_never_sees_half_of_a_put(store):
    contents = [bytes([letter]) * (1 << 20) for letter in b"ab"]
    store.put("x", contents[0])
    done = threading.Event()

    def read() -> int:
        reads = 0
        while not done.is_set():
            assert store.read("x") in contents
            assert [entry.path for entry in store.list()] == ["x"]
            reads += 1
        return reads

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        try:
            for turn in range(40):
                store.put("x", contents[turn % 2])
        finally:
            done.set()
        assert all(reader.result() > 0 for reader in readers)


def test_a_put_that_is_cut_short_leaves_what_was_there(store, monkeypatch):
    store.put("x", b"old")

    def power_fails(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(storage.os, "fsync", power_fails)
    for put in (store.put, store.put_new):
        with pytest.raises(KeyboardInterrupt):
            put("x", b"new")
    assert store.read("x") == b"old"
    assert [path.name for path in Path(store.root).iterdir()] == ["x"]


def test_what_a_killed_put_left_behind_is_not_listed(store):
    store.put("index/a.parquet", b"a")
    (Path(store.root) / "index" / f"{HIDDEN}b.parquet-0badcafe").write_bytes(b"half")
    assert [entry.path for entry in store.list()] == ["index/a.parquet"]


def test_a_full_disk_is_said(store, monkeypatch):
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(storage.os, "fsync", full)
    with pytest.raises(InputError, match="no space left on the disk"):
        store.put("x", b"new")
    assert store.list() == []


def _put_at_once(root: str, number: int) -> bool:
    """One of several processes that put the same name at the same moment."""
    signal = Path(root) / "go"
    (Path(root) / f"ready-{number}").touch()
    while not signal.exists():
        time.sleep(0.001)
    return Store(root + "/out").put_new("lock", f"writer {number}".encode() * 1000)


def test_of_several_processes_that_put_a_new_name_one_wins(tmp_path):
    racers = 3
    with multiprocessing.get_context("spawn").Pool(racers) as pool:
        racing = pool.starmap_async(_put_at_once, [(str(tmp_path), number) for number in range(racers)], chunksize=1)
        while len(list(tmp_path.glob("ready-*"))) < racers:
            time.sleep(0.01)
        (tmp_path / "go").touch()
        won = racing.get(60)
    assert sorted(won) == [False] * (racers - 1) + [True]
    store = Store(str(tmp_path / "out"))
    assert store.read("lock") == f"writer {won.index(True)}".encode() * 1000
    assert not store.put_new("lock", b"late")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["lock"]


def test_a_file_where_a_folder_should_be(store, tmp_path):
    (tmp_path / "out").write_bytes(b"a file")
    with pytest.raises(InputError, match="part of this path is a file"):
        store.put("index/a", b"1")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_is_barred(store, tmp_path):
    (tmp_path / "out").mkdir(mode=0o500)
    with pytest.raises(InputError, match="no permission; check the owner and mode"):
        store.put("index/a", b"1")


def test_any_other_fsspec_store_will_do():
    store = Store("memory://bucket/out")
    store.put("index/a", b"1")
    assert store.put_new("index/b", b"2")
    assert not store.put_new("index/b", b"3")
    assert store.list("index") == [Entry("index/a", 1), Entry("index/b", 1)]
    assert store.read("index/b") == b"2"
    assert store.uri("index/b") == "memory://bucket/out/index/b"
    store.delete("index/a")
    store.delete("index/b")
    assert store.list() == []


def test_a_uri_of_no_known_kind():
    with pytest.raises(InputError, match=r"nosuch://: no filesystem for this kind of URI"):
        Store("nosuch://bucket/x").list()


def test_a_store_travels_without_client_and_without_secrets(store, monkeypatch):
    monkeypatch.setenv("OTHER_KEY", "AKIAEXAMPLE")
    monkeypatch.setenv("OTHER_SECRET", "very-secret")
    other = Store("s3://bucket/out", StorageOptions(key_env="OTHER_KEY", secret_env="OTHER_SECRET"))
    assert other.fs is other.fs
    for each in (store, other):
        carried = pickle.dumps(each)
        assert len(carried) < 500
        assert b"very-secret" not in carried
        assert b"AKIAEXAMPLE" not in carried
        assert pickle.loads(carried) == each


def test_credentials_are_named_never_given(monkeypatch):
    with pytest.raises(ValidationError, match="secret"):
        StorageOptions.model_validate({"secret": "very-secret"})
    monkeypatch.delenv("NOT_THERE", raising=False)
    with pytest.raises(InputError, match="environment variable NOT_THERE is not set"):
        Store("s3://bucket/out", StorageOptions(key_env="NOT_THERE")).list()


def test_threads_share_one_client():
    options = StorageOptions(endpoint_url="http://127.0.0.1:9")
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: filesystem(f"s3://bucket/{n}", options), range(16)))
    assert len({id(each) for each in found}) == 1
    assert filesystem("s3://bucket/0", StorageOptions()) is not found[0]


def test_local_paths_become_absolute_and_uris_lose_their_last_slash(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert absolute("out/x/") == str(tmp_path / "out" / "x")
    assert absolute("file:///data/x") == "/data/x"
    assert absolute("~/x") == os.path.expanduser("~/x")
    assert absolute("s3://bucket/x/") == "s3://bucket/x"
    assert absolute("s3://bucket/photo@2x.jpg") == "s3://bucket/photo@2x.jpg"
    assert absolute("http://host:8080/photo@2x.jpg") == "http://host:8080/photo@2x.jpg"


# AWS secrets are base64: they may hold a slash, after which the rest looks like a path.
@pytest.mark.parametrize("secret", ["very-secret", "very/secret", "ve+ry/sec/ret=", "7/secret:x"])
def test_a_uri_with_a_password_is_refused_and_the_password_is_not_repeated(secret):
    with pytest.raises(InputError, match="must not carry credentials") as refused:
        absolute(f"s3://AKIAEXAMPLE:{secret}@bucket/x")
    assert secret not in str(refused.value)
    assert "AKIAEXAMPLE" not in str(refused.value)
    assert "bucket/x" in str(refused.value)


@given(
    user=st.text("abcXYZ019_-", min_size=1),
    password=st.text("abcXYZ019_-+/=:%", min_size=1).map(lambda text: f"#{text}#"),
)
def test_no_password_is_left_in_a_redacted_text(user, password):
    text = redact(f"cannot reach s3://{user}:{password}@bucket/x (or http://other/y)")
    assert password not in text
    assert text.endswith("@bucket/x (or http://other/y)")


def test_texts_without_a_password_are_left_as_they_are():
    for text in ("s3://bucket/a/b@2x.png", "write to me@example.org", "a plain sentence, s3://b/c and s3://d/e@f"):
        assert redact(text) == text
