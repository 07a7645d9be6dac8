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
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_STARTS_WITHIN_SECONDS = 300


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
        own |= {"RAY_DASHBOARD_STARTUP_TIMEOUT_S": "240"}
        return {**os.environ, **own}

    def cli(self, *arguments: str | Path, **environment: str | None) -> subprocess.CompletedProcess[str]:
        """`sceneshift ARGUMENTS --address` of this head; ``None`` in the environment takes a variable away."""
        return self.command(*arguments, "--address", self.address, **environment)

    def command(self, *arguments: str | Path, **environment: str | None) -> subprocess.CompletedProcess[str]:
        """`sceneshift ARGUMENTS`, as they are."""
        env = {k: v for k, v in {**self.environment, **environment}.items() if v is not None}
        words = [sys.executable, "-m", "jobs", *map(str, arguments)]
        return subprocess.run(words, capture_output=True, text=True, env=env, timeout=600)


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
    process = _started(command, {**found.environment, "PATH": path}, folder / "head.log")
    try:
        request = urllib.request.Request(
            f"{found.address}/api/version", headers={"Authorization": f"Bearer {token.read_text()}"}
        )
        until = time.monotonic() + _STARTS_WITHIN_SECONDS
        while True:
            try:
                urllib.request.urlopen(request, timeout=5)
                break
            except (urllib.error.URLError, OSError):
                assert process.poll() is None, (folder / "head.log").read_text()
                assert time.monotonic() < until, "the dashboard does not answer"
                time.sleep(0.5)
        yield found
    finally:
        # Ray ends its processes one after the other when it is asked to, which takes half a minute.
        kill(process)
        shutil.rmtree(folder, ignore_errors=True)


def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process with all of its group at once, as a machine that goes away; nothing happens if it is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait(30)


def _started(command: Sequence[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """A node of Ray that says that it runs. Ray gives up after 30 s, which a busy machine may need: then once more."""
    for _ in range(3):
        with log.open("w") as file:
            process = subprocess.Popen(command, env=environment, stdout=file, stderr=file, start_new_session=True)
        until = time.monotonic() + _STARTS_WITHIN_SECONDS
        up = False
        try:
            while not up and process.poll() is None and time.monotonic() < until:
                time.sleep(0.3)
                up = "Ray runtime started" in log.read_text()
        finally:
            # also where the test is interrupted
            if not up:
                kill(process)
        if up:
            return process
    raise AssertionError(f"Ray does not start: {log.read_text()}")


@contextlib.contextmanager
def joined(
    head: RayHead, cpus: int, ip: str, log: Path, inside: Sequence[str] = ()
) -> Iterator[subprocess.Popen[bytes]]:
    """One more node of a cluster, with a process group of its own, killed at the end unless it is gone by then.

    Args:
        ip: the node's own.
        log: file for what it says.
        inside: what goes before its command, to start it elsewhere.
    """
    agent, grpc, metrics = free_ports(3)
    command = [*inside, sys.executable, "-m", "ray.scripts.scripts", "start", f"--address={head.gcs}", "--block"]
    command += [f"--num-cpus={cpus}", f"--node-ip-address={ip}", f"--dashboard-agent-listen-port={agent}"]
    command += [f"--dashboard-agent-grpc-port={grpc}", f"--metrics-export-port={metrics}"]
    command += ["--object-store-memory=100000000", "--disable-usage-stats"]
    node = _started(command, head.environment, log)
    try:
        yield node
    finally:
        kill(node)
