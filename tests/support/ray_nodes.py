"""A real Ray of several nodes on this machine: `ray start` in process groups of their own, which can be killed."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on right now."""
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class RayNodes:
    """A head and more nodes. Use as a context manager: all of them end with it."""

    def __init__(self) -> None:
        # Sockets below the temporary folder have a length limit.
        self.folder = Path(tempfile.mkdtemp(prefix="ssn", dir="/tmp"))
        self.processes: list[subprocess.Popen[bytes]] = []
        self.port = free_ports(1)[0]

    @property
    def address(self) -> str:
        """What ``compute.address`` is set to."""
        return f"127.0.0.1:{self.port}"

    def start(self, cpus: int) -> subprocess.Popen[bytes]:
        """Start the head, or one more node; returns when it has joined."""
        head = not self.processes
        metrics, agent, grpc, client = free_ports(4)
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", f"--num-cpus={cpus}"]
        command += [f"--metrics-export-port={metrics}", f"--dashboard-agent-listen-port={agent}"]
        command += [f"--dashboard-agent-grpc-port={grpc}", "--object-store-memory=150000000", "--disable-usage-stats"]
        if head:
            command += ["--head", f"--port={self.port}", f"--ray-client-server-port={client}"]
            command += ["--include-dashboard=false", f"--temp-dir={self.folder}/ray"]
        else:
            command += [f"--address={self.address}"]
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        before = len(self.alive()) if not head else 0
        log = (self.folder / f"node{len(self.processes)}.log").open("w")
        process = subprocess.Popen(
            command, env={**os.environ, "PATH": path}, stdout=log, stderr=log, start_new_session=True
        )
        log.close()
        self.processes.append(process)
        until = time.monotonic() + 120
        while time.monotonic() < until and len(self.alive()) <= before:
            assert process.poll() is None, (self.folder / f"node{len(self.processes) - 1}.log").read_text()
            time.sleep(0.5)
        assert len(self.alive()) > before
        return process

    def alive(self) -> list[str]:
        """Ids of the nodes that the head says are there, asked by a process of its own."""
        code = (
            "import sys\n"
            "from ray._raylet import GcsClient\n"
            "client = GcsClient(address=sys.argv[1])\n"
            "print(*[i.hex() for i, n in client.get_all_node_info(timeout=5).items() if n.state == 0])\n"
        )
        done = subprocess.run([sys.executable, "-c", code, self.address], capture_output=True, text=True, timeout=60)
        return done.stdout.split() if done.returncode == 0 else []

    @staticmethod
    def kill(process: subprocess.Popen[bytes]) -> None:
        """End a node with all of its processes, as a machine that goes away."""
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)

    def __enter__(self) -> RayNodes:
        return self

    def __exit__(self, *error: object) -> None:
        for process in self.processes:
            if process.poll() is None:
                self.kill(process)
        shutil.rmtree(self.folder, ignore_errors=True)
