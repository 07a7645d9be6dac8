"""A real Prometheus that scrapes a run: its counts are the index's, and every expression of ours is answered."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from tests.cluster.conftest import ROOT, program
from tests.support.datasets import write_tar, write_tars
from tests.support.ray_head import RayHead, free_ports, ray_head

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
DEPLOY = ROOT / "deploy"


@dataclass(frozen=True)
class Prometheus:
    address: str

    def ready(self) -> bool:
        """Whether it answers queries already."""
        try:
            with urllib.request.urlopen(f"{self.address}/-/ready", timeout=5) as answer:
                return answer.status == 200
        except OSError:
            return False

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The instant vector of an expression. Raises AssertionError if Prometheus refuses it."""
        url = f"{self.address}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
        with urllib.request.urlopen(url, timeout=20) as answer:
            tree = json.load(answer)
        assert tree["status"] == "success", tree
        return tree["data"]["result"]


@pytest.fixture(scope="module")
def head() -> Iterator[RayHead]:
    with ray_head() as found:
        yield found


@pytest.fixture
def prometheus(head: RayHead, tmp_path: Path) -> Iterator[Prometheus]:
    """With the configuration of deploy/, but for the folder of this Ray and shorter intervals."""
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    (scrape,) = config["scrape_configs"]
    (discovery,) = scrape["file_sd_configs"]
    discovery["files"] = [path.replace("/tmp/ray", str(head.folder)) for path in discovery["files"]]
    config["global"]["scrape_interval"] = "2s"
    config["global"]["evaluation_interval"] = "2s"
    config["rule_files"] = [str(DEPLOY / "prometheus" / "sceneshift.rules.yml")]
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(config))
    (port,) = free_ports(1)
    command = [
        program("prometheus"),
        f"--config.file={tmp_path}/prometheus.yml",
        f"--storage.tsdb.path={tmp_path}/data",
    ]
    with (tmp_path / "prometheus.log").open("w") as log:
        server = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stdout=log, stderr=log)
    try:
        found = Prometheus(f"http://127.0.0.1:{port}")
        until = time.monotonic() + 60
        while not found.ready():
            assert time.monotonic() < until, (tmp_path / "prometheus.log").read_text()
            time.sleep(0.3)
        yield found
    finally:
        server.terminate()
        server.wait(20)


def panels() -> dict[str, str]:
    """Expressions of the dashboard, as Grafana would send them for all jobs."""
    tree = json.loads((DEPLOY / "grafana" / "sceneshift.json").read_text())
    found = {panel["title"]: each["expr"] for panel in tree["panels"] for each in panel["targets"]}
    return {title: each.replace("$__rate_interval", "1m").replace("$job", ".*") for title, each in found.items()}


def test_a_run_is_seen_whole_and_every_panel_answers(head: RayHead, prometheus: Prometheus, tmp_path: Path):
    write_tars(tmp_path / "in", 4, 8)
    write_tar(tmp_path / "in" / "part-02-bad.tar", {"bad": {"jpg": b"no picture"}})
    tree = {
        "name": "watched",
        "source": {"uri": str(tmp_path / "in")},
        "method": {"name": "sleeper", "params": {"seconds": 1.0}},
        "output": {"uri": str(tmp_path / "out"), "shard_size": 2},
        "metrics": [],
        "max_rejects": 5,
        "compute": {"workers": 1},
    }
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(tree))
    words = [sys.executable, "-m", "jobs", "submit", str(tmp_path / "job.yaml"), "--address", head.address, "--wait"]
    with (tmp_path / "submit.log").open("w") as log:
        job = subprocess.Popen(words, env=head.environment, stdout=log, stderr=log)
    # While it runs: gauges vanish with the driver.
    unanswered = panels()
    while job.poll() is None:
        unanswered = {title: each for title, each in unanswered.items() if not prometheus.query(each)}
        time.sleep(1)
    assert job.returncode == 0, (tmp_path / "submit.log").read_text()
    rows = pq.read_table(tmp_path / "out" / "index.parquet", columns=["status"]).to_pylist()
    until = time.monotonic() + 60
    total = "sum(ray_sceneshift_images_total)"
    while time.monotonic() < until:
        answer = prometheus.query(total)
        if answer and float(answer[0]["value"][1]) == len(rows):
            break
        time.sleep(1)
    assert float(prometheus.query(total)[0]["value"][1]) == len(rows) == 33
    unanswered = {title: each for title, each in unanswered.items() if not prometheus.query(each)}
    assert not unanswered, "panels that showed nothing"
    (rejected,) = prometheus.query('ray_sceneshift_images_total{status="rejected"}')
    assert float(rejected["value"][1]) == 1
    assert rejected["metric"]["job"] == "watched"
    for series in prometheus.query('{__name__=~"ray_sceneshift_.*"}'):
        for name, value in series["metric"].items():
            assert "://" not in value, (name, value)
            assert str(tmp_path) not in value, (name, value)
            assert head.token_file.read_text() not in value, name
    rules = json.load(urllib.request.urlopen(f"{prometheus.address}/api/v1/rules", timeout=20))
    (group,) = rules["data"]["groups"]
    assert [rule["health"] for rule in group["rules"]] == ["ok"] * 3
