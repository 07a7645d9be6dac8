"""Tests reach this machine and nothing else: connections and look-ups that would leave it fail at once.

Loopback, the addresses of this host (Ray uses one of them in any case) and sockets in the file system are fine.
``tests/plugin/sitecustomize.py`` does the same in every Python process that a test starts.
"""

from __future__ import annotations

import errno
import functools
import ipaddress
import os
import socket
from typing import Any

MADE_HERE = "SCENESHIFT_TEST_NETWORK"
"""Environment variable: a network between namespaces of this machine, as long as a test has one."""
_LOCAL_NAMES = {"", "localhost", "localhost.localdomain", "ip6-localhost"}


class OutsideError(OSError):
    """A test tried to reach another machine."""


@functools.lru_cache(maxsize=4096)
def is_here(address: str) -> bool:
    """Whether an IP address, or a name, is of this machine: only one's own addresses can be bound to."""
    if address in _LOCAL_NAMES or address == socket.gethostname():
        return True
    try:
        plain = ipaddress.ip_address(address.split("%")[0])
    except ValueError:
        return False
    if plain.is_loopback or plain.is_unspecified:
        return True
    if (made := os.environ.get(MADE_HERE)) and plain in ipaddress.ip_network(made):
        return True
    family = socket.AF_INET if plain.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((str(plain), 0))
        except OSError:
            return False
    return True


def _check(target: socket.socket, address: Any) -> None:
    if target.family in (socket.AF_INET, socket.AF_INET6) and not is_here(str(address[0])):
        raise OutsideError(errno.ENETUNREACH, f"tests reach no other machine, and this one asked for {address[0]}")


def guard() -> None:
    """Put the guard into this process; a second call changes nothing."""
    if getattr(socket, "_guarded_by_tests", False):
        return
    socket._guarded_by_tests = True  # type: ignore[attr-defined]
    connect, connect_ex, sendto = socket.socket.connect, socket.socket.connect_ex, socket.socket.sendto
    getaddrinfo = socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: Any) -> None:
        # To "connect" a datagram socket sends nothing; it is how Ray asks which of the host's addresses is used.
        if self.type != socket.SOCK_DGRAM:
            _check(self, address)
        connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        try:
            _check(self, address)
        except OutsideError:
            return errno.ENETUNREACH
        return connect_ex(self, address)

    def guarded_sendto(self: socket.socket, data: Any, *rest: Any) -> int:
        _check(self, rest[-1])
        return sendto(self, data, *rest)

    def guarded_getaddrinfo(host: Any, *rest: Any, **named: Any) -> Any:
        name = host.decode() if isinstance(host, bytes) else host
        literal = name is None or name.replace(".", "").isdigit() or ":" in name
        if not literal and not is_here(name):
            raise socket.gaierror(socket.EAI_NONAME, f"tests look up no other machine, and this one asked for {name}")
        return getaddrinfo(host, *rest, **named)

    socket.socket.connect = guarded_connect  # type: ignore[method-assign]
    socket.socket.connect_ex = guarded_connect_ex  # type: ignore[method-assign]
    socket.socket.sendto = guarded_sendto  # type: ignore[method-assign]
    socket.getaddrinfo = guarded_getaddrinfo
