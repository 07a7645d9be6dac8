"""One real S3 server for the whole test run, and a fresh bucket for every test that asks for one.

Ray workers inherit the environment of the process that starts the cluster, which may be before or after the server is
up. So the credentials are fixed and set on import, under names of their own, and specs name those and the endpoint.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest

from deploy.local_s3 import LocalS3
from pipeline.storage import StorageOptions, Store

KEY_ENV, SECRET_ENV = "SCENESHIFT_TEST_S3_KEY", "SCENESHIFT_TEST_S3_SECRET"
os.environ[KEY_ENV] = "sceneshift-tests"
os.environ[SECRET_ENV] = "not/a+real=secret-0123456789"
_numbers = count()


@dataclass(frozen=True)
class Bucket:
    """An empty bucket on the server."""

    server: LocalS3
    name: str

    @property
    def uri(self) -> str:
        """``s3://name``."""
        return f"s3://{self.name}"

    @property
    def storage(self) -> dict[str, Any]:
        """The ``storage:`` block that reaches it."""
        return {"endpoint_url": self.server.endpoint_url, "key_env": KEY_ENV, "secret_env": SECRET_ENV}

    def store(self, prefix: str = "") -> Store:
        """The bucket, or a prefix in it."""
        return Store(f"{self.uri}/{prefix}".rstrip("/"), StorageOptions.model_validate(self.storage))

    def objects(self, prefix: str = "") -> dict[str, bytes]:
        """Every object below the prefix, by name without it."""
        store = self.store(prefix)
        return {entry.path: store.read(entry.path) for entry in store.list()}


@pytest.fixture(scope="session")
def s3() -> Iterator[LocalS3]:
    """The server."""
    with LocalS3(key=os.environ[KEY_ENV], secret=os.environ[SECRET_ENV]) as server:
        yield server


@pytest.fixture
def bucket(s3: LocalS3) -> Bucket:
    """A new bucket, which has the room for objects that it makes with the first."""
    made = Bucket(s3, f"test-{next(_numbers)}")
    s3.make_bucket(made.name)
    store = made.store()
    store.put("first", b"1")
    until = time.monotonic() + 30
    # A busy server may say for a moment that what was put into new room is not there.
    while store.read_or_none("first") is None and time.monotonic() < until:
        time.sleep(0.1)
    store.delete("first")
    return made
