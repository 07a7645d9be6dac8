"""Weights on two nodes with a cache each, out of a real bucket: every file is fetched once per node."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import torch

from methods.errors import InputError
from methods.train import registry
from methods.weights import cache
from methods.weights.mirror import Mirror
from pipeline.run.driver import run_job
from tests.support.counting_proxy import Proxy, counting_proxy
from tests.support.datasets import write_tars
from tests.support.jobs import index_rows, job
from tests.support.seaweed import Bucket

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]


@dataclass(frozen=True)
class TwoNodes:
    address: str
    caches: tuple[Path, Path]


@pytest.fixture(scope="module")
def two_nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TwoNodes]:
    import ray
    from ray.cluster_utils import Cluster

    # The shared cluster of this test process, if it has one: all tests that need it come first.
    ray.shutdown()
    caches = (tmp_path_factory.mktemp("cache-a"), tmp_path_factory.mktemp("cache-b"))
    cluster = Cluster()
    for folder in caches:
        variables = {"SCENESHIFT_CACHE": str(folder)}
        cluster.add_node(num_cpus=1, env_vars=variables, object_store_memory=100_000_000, include_dashboard=False)
    # No worker fits here, so nothing is fetched here.
    cluster.add_node(num_cpus=0, object_store_memory=80_000_000)
    cluster.wait_for_nodes()
    yield TwoNodes(str(cluster.address), caches)
    cluster.shutdown()


@pytest.fixture
def proxy(bucket: Bucket) -> Iterator[Proxy]:
    with counting_proxy(bucket.server.endpoint_url) as found:
        yield found


def test_a_file_is_fetched_once_per_node_and_a_damaged_mirror_starts_nothing(
    two_nodes: TwoNodes, bucket: Bucket, proxy: Proxy, tmp_path, monkeypatch
):
    student = registry.build("pix2pix", {"width": 8, "levels": 2}, torch.device("cpu"), torch.float32, 100)
    weights = student.export(tmp_path / "model.safetensors", None, {})
    storage: dict[str, Any] = {**bucket.storage, "endpoint_url": proxy.url}
    bucket.store().put("models/model.safetensors", weights.read_bytes())
    write_tars(tmp_path / "in", 4, 2)
    method = {
        "name": "pix2pix",
        "weights": {"uri": f"{bucket.uri}/models/model.safetensors", "storage": storage},
    }
    options = {"method": method, "compute": {"workers": 2, "cpus": 0.5, "address": two_nodes.address}}
    # The driver is a third machine with a cache of its own.
    monkeypatch.setenv("SCENESHIFT_CACHE", str(tmp_path / "cache-driver"))
    run_job(job(tmp_path / "in", tmp_path / "out", **options))
    assert {row["status"] for row in index_rows(tmp_path / "out")} == {"ok"}
    path = f"/{bucket.name}/models/model.safetensors"
    assert proxy.gets[path] == 3

    monkeypatch.setenv("SCENESHIFT_CACHE", str(two_nodes.caches[0]))
    run_job(job(tmp_path / "in", tmp_path / "again", **options))
    assert proxy.gets[path] == 3

    uri = f"{bucket.uri}/models/model.safetensors#{urlencode(sorted(storage.items()))}"
    mirror = Mirror.at(f"{bucket.uri}/mirror#{urlencode(storage)}")
    found = cache.find(uri)
    assert found is not None
    mirror.put(uri, found.entry, found.path)
    bucket.store().put(f"mirror/blobs/{found.entry.files[''].sha256}", b"x" * found.entry.size)
    monkeypatch.setenv("SCENESHIFT_CACHE", str(tmp_path / "empty"))
    monkeypatch.setenv("SCENESHIFT_MIRROR", f"{mirror.uri}#{urlencode(storage)}")
    with pytest.raises(InputError, match=r"on the mirror .*: sha256 is"):
        run_job(job(tmp_path / "in", tmp_path / "never", **options))
    assert not (tmp_path / "never").exists()


def test_other_weights_on_a_node_are_refused(two_nodes: TwoNodes, tmp_path, monkeypatch):
    from pipeline.run.cluster import Demand, open_cluster
    from pipeline.run.prefetch import prefetch

    (tmp_path / "model.pkl").write_bytes(b"weights")
    uri = str(tmp_path / "model.pkl")
    demand = Demand((1, 1), cpus=0.5, address=two_nodes.address)
    opened = open_cluster(demand)
    try:
        with pytest.raises(InputError, match=r"has others \(sha256:.* than the driver"):
            prefetch({uri: "sha256:0"}, demand)
        with pytest.raises(InputError, match=r"^node .*no such file"):
            prefetch({f"{uri}.gone": "sha256:0"}, demand)
    finally:
        opened.close()
