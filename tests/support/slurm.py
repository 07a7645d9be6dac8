"""A real Slurm of two nodes on this machine: each slurmd in a network namespace of its own, joined by a bridge."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.machines import two_machines

_CONFIG = """
ClusterName=sceneshift
SlurmctldHost={host}({controller})
SlurmctldPort=16817
SlurmUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
SlurmdParameters=config_overrides
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
MpiDefault=none
ReturnToService=2
JobRequeue=0
{nodes}
PartitionName=main Nodes=n1,n2 Default=YES State=UP
"""


@dataclass(frozen=True)
class Slurm:
    """A running controller and two nodes, ``n1`` and ``n2``, of four counted CPUs each."""

    folder: Path

    def run(
        self, *command: str | Path, cwd: Path, env: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """One of Slurm's commands, with this cluster's configuration."""
        environment = {**os.environ, **(env or {}), "SLURM_CONF": str(self.folder / "slurm.conf")}
        words = list(map(str, command))
        return subprocess.run(words, capture_output=True, text=True, cwd=cwd, env=environment, timeout=420)


@contextlib.contextmanager
def two_node_slurm() -> Iterator[Slurm]:
    """Start munge, the controller and both nodes; wait until they are idle; end all of it."""
    folder = Path(tempfile.mkdtemp(prefix="slurm-", dir="/tmp"))
    slurm = Slurm(folder)
    started: list[subprocess.Popen[bytes]] = []
    with two_machines() as network:
        try:
            _key(folder)
            host = socket.gethostname().partition(".")[0]
            nodes = [
                f"NodeName={name} NodeHostname={host} NodeAddr={address} Port={port} CPUs=4"
                for port, (name, address) in enumerate(network.machines.items(), start=16818)
            ]
            (folder / "state").mkdir()
            (folder / "slurm.conf").write_text(
                _CONFIG.format(host=host, controller=network.here, folder=folder, nodes="\n".join(nodes))
            )
            started.append(_daemon(folder, "munged", *_munge_options(folder), "--foreground"))
            _until(lambda: (folder / "munge.socket").exists(), "munge does not start")
            options = ("-D", "-f", str(folder / "slurm.conf"))
            started.append(_daemon(folder, "slurmctld", *options))
            for name in network.machines:
                started.append(_daemon(folder, *network.inside(name), "slurmd", *options, "-N", name))

            def idle() -> bool:
                return slurm.run("sinfo", "-h", "-o", "%T", cwd=folder).stdout.strip() == "idle"

            _until(idle, "the nodes do not become idle")
            yield slurm
        finally:
            if started:
                slurm.run("scancel", "--user=root", cwd=folder)
            for process in reversed(started):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGTERM)
            for process in started:
                try:
                    process.wait(15)
                except subprocess.TimeoutExpired:
                    os.killpg(process.pid, signal.SIGKILL)
            shutil.rmtree(folder, ignore_errors=True)


def _key(folder: Path) -> None:
    key = folder / "munge.key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(128))


def _munge_options(folder: Path) -> list[str]:
    files = {"key-file": "munge.key", "socket": "munge.socket", "pid-file": "munge.pid", "log-file": "munge.log"}
    return [*(f"--{name}={folder}/{file}" for name, file in files.items()), f"--seed-file={folder}/seed", "--force"]


def _daemon(folder: Path, *command: str) -> subprocess.Popen[bytes]:
    path = f"{os.environ['PATH']}:/usr/sbin:/sbin"
    with (folder / "daemons.log").open("ab") as log:
        return subprocess.Popen(
            command, stdout=log, stderr=log, start_new_session=True, env={**os.environ, "PATH": path}
        )


def _until(met: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + 60
    while not met():
        assert time.monotonic() < until, what
        time.sleep(0.3)
