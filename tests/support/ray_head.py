"""A Ray head started as a user starts one, `ray start --head`, on ports and a folder of its own."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class RayHead:
    """A running head with token authentication.

    Attributes:
        address: of the dashboard, where Ray Jobs listens.
        metrics: where its node exports metrics.
        gcs: what `--address` of `run` takes.
        folder: Ray's temporary folder.
        token_file: holds the cluster's token.
    """

    address: str
    metrics: str
    gcs: str
    folder: Path
    token_file: Path

    @property
    def environment(self) -> dict[str, str]:
        """With which a command reaches it."""
        own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.token_file), "COLUMNS": "200"}
        return {**os.environ, **own}

    def cli(self, *arguments: str | Path, **environment: str | None) -> subprocess.CompletedProcess[str]:
        """`sceneshift ARGUMENTS --address` of this head; ``None`` in the environment takes a variable away."""
        return self.command(*arguments, "--address", self.address, **environment)

    def command(self, *arguments: str | Path, **environment: str | None) -> subprocess.CompletedProcess[str]:
        """`sceneshift ARGUMENTS`, as they are."""
        env = {k: v for k, v in {**self.environment, **environment}.items() if v is not None}
        words = [sys.executable, "-m", "jobs", *map(str, arguments)]
        return subprocess.run(words, capture_output=True, text=True, env=env, timeout=180)


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


@contextlib.contextmanager
def ray_head(cpus: int = 4, ip: str = "127.0.0.1") -> Iterator[RayHead]:
    """Start one, wait until its dashboard answers, and end it. Other nodes reach it at ``ip``."""
    # Sockets below the temporary folder have a length limit.
    folder = Path(tempfile.mkdtemp(prefix="ssr", dir="/tmp"))
    token = folder / "token"
    token.write_text(secrets.token_hex(32))
    port, dashboard, client, metrics, agent, agent_grpc = free_ports(6)
    found = RayHead(
        f"http://127.0.0.1:{dashboard}",
        f"http://{ip}:{metrics}/metrics",
        f"{ip}:{port}",
        folder / "ray",
        token,
    )
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", f"--port={port}"]
    command += ["--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", f"--ray-client-server-port={client}"]
    command += [f"--metrics-export-port={metrics}", f"--dashboard-agent-listen-port={agent}"]
    command += [f"--dashboard-agent-grpc-port={agent_grpc}", f"--temp-dir={found.folder}", f"--num-cpus={cpus}"]
    command += [f"--node-ip-address={ip}", "--object-store-memory=200000000", "--disable-usage-stats"]
    with (folder / "head.log").open("w") as log:
        process = subprocess.Popen(
            command, env={**found.environment, "PATH": path}, stdout=log, stderr=log, start_new_session=True
        )
    try:
        request = urllib.request.Request(
            f"{found.address}/api/version", headers={"Authorization": f"Bearer {token.read_text()}"}
        )
        for _ in range(120):
            try:
                urllib.request.urlopen(request, timeout=5)
                break
            except (urllib.error.URLError, OSError):
                assert process.poll() is None, (folder / "head.log").read_text()
                time.sleep(0.5)
        yield found
    finally:
        # Ray ends its processes one after the other when it is asked to, which takes half a minute.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)
        shutil.rmtree(folder, ignore_errors=True)
