"""Two network namespaces on a bridge: machines that can be cut off, as far as their processes see. Wants root."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.support.network import MADE_HERE, is_here

_BRIDGE = "ssbr0"


@dataclass(frozen=True)
class Network:
    """Addresses of the two machines by name, that of the one which is this process's own, and the range of them all."""

    here: str = "10.77.0.254"
    range: str = "10.77.0.0/24"
    machines: dict[str, str] = field(default_factory=lambda: {"n1": "10.77.0.1", "n2": "10.77.0.2"})

    def inside(self, machine: str) -> list[str]:
        """What to put before a command that is to run there.

        Not `ip netns exec`, which mounts another /sys, without control groups.
        """
        return ["nsenter", f"--net=/run/netns/ss-{machine}"]

    def cut(self, machine: str) -> None:
        """Nothing comes or goes any more."""
        _ip("link", "set", f"ss-{machine}", "down")

    def mend(self, machine: str) -> None:
        """As before."""
        _ip("link", "set", f"ss-{machine}", "up")


@contextlib.contextmanager
def two_machines() -> Iterator[Network]:
    """Set them up, and take them down. The test is skipped where that is not possible."""
    if os.geteuid() != 0 or shutil.which("ip") is None or shutil.which("nsenter") is None:
        pytest.skip("network namespaces want root, ip and nsenter")
    network = Network()
    with Path(tempfile.gettempdir(), "sceneshift-test-network.lock").open("w") as lock:
        # Names and addresses are those of the whole machine.
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield from _set_up(network)


def _set_up(network: Network) -> Iterator[Network]:
    _remove(network)
    try:
        _ip("link", "add", _BRIDGE, "type", "bridge")
        _ip("addr", "add", f"{network.here}/24", "dev", _BRIDGE)
        _ip("link", "set", _BRIDGE, "up")
        os.environ[MADE_HERE] = network.range
        is_here.cache_clear()
        for name, address in network.machines.items():
            machine = f"ss-{name}"
            _ip("netns", "add", machine)
            _ip("link", "add", machine, "type", "veth", "peer", "name", "eth0", "netns", machine)
            _ip("link", "set", machine, "master", _BRIDGE, "up")
            _ip("-n", machine, "addr", "add", f"{address}/24", "dev", "eth0")
            _ip("-n", machine, "link", "set", "eth0", "up")
            _ip("-n", machine, "link", "set", "lo", "up")
        yield network
    finally:
        os.environ.pop(MADE_HERE, None)
        is_here.cache_clear()
        _remove(network)


def _remove(network: Network) -> None:
    for name in network.machines:
        subprocess.run(["ip", "netns", "del", f"ss-{name}"], capture_output=True)
        subprocess.run(["ip", "link", "del", f"ss-{name}"], capture_output=True)
    subprocess.run(["ip", "link", "del", _BRIDGE], capture_output=True)


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)
