"""No test, no process that a test starts, and no library reaches beyond this machine or reports what is done here."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys

import pytest

from methods.telemetry import SWITCHES
from tests.support.network import OutsideError, is_here

ASK = """
import json, os, socket, sys
try:
    socket.create_connection(("192.0.2.1", 80), timeout=5)
    reached = "connected"
except OSError as error:
    reached = type(error).__name__
try:
    socket.getaddrinfo("example.com", 80)
    found = "found"
except OSError as error:
    found = str(error)
print(json.dumps([reached, found]))
"""


def test_other_machines_are_out_of_reach_here_and_in_every_process() -> None:
    with pytest.raises(OutsideError, match=r"192\.0\.2\.1"):
        socket.create_connection(("192.0.2.1", 80), timeout=5)
    with socket.socket() as stream, pytest.raises(OutsideError):
        stream.connect(("2001:db8::1", 80) if stream.family == socket.AF_INET6 else ("203.0.113.9", 443))
    with pytest.raises(socket.gaierror, match=r"example\.com"):
        socket.getaddrinfo("example.com", 443)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram, pytest.raises(OutsideError):
        datagram.sendto(b"x", ("192.0.2.1", 53))
    asked = subprocess.run([sys.executable, "-c", ASK], capture_output=True, text=True, check=True, env=os.environ)
    reached, found = json.loads(asked.stdout)
    assert reached == "OutsideError"
    assert "tests look up no other machine" in found


def test_this_machine_can_be_reached_by_all_its_addresses() -> None:
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        for host in ("127.0.0.1", "localhost", socket.gethostbyname(socket.gethostname())):
            assert is_here(host)
            socket.create_connection((host, port), timeout=5).close()
    assert not is_here("198.51.100.7")


LIBRARIES = """
import json
import {module}
from huggingface_hub import constants
from ray._common.usage import usage_lib
from datasets.config import HF_UPDATE_DOWNLOAD_COUNTS as counts
print(json.dumps([constants.HF_HUB_DISABLE_TELEMETRY, usage_lib.usage_stats_enabled(), counts]))
"""


@pytest.mark.parametrize("module", ["methods.errors", "jobs.submission", "pipeline.run.graph"])
def test_libraries_report_nothing(module: str) -> None:
    """Whatever of ours a process imports first, a worker on a foreign cluster too."""
    clean = {name: value for name, value in os.environ.items() if name not in SWITCHES}
    code = LIBRARIES.format(module=module)
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=clean)
    assert json.loads(asked.stdout.splitlines()[-1]) == [True, False, False]


def test_what_a_user_set_stays() -> None:
    code = "import methods, os; print(os.environ['RAY_USAGE_STATS_ENABLED'], os.environ['DO_NOT_TRACK'])"
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "1"}
    environment.pop("DO_NOT_TRACK", None)
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert asked.stdout.split() == ["1", "1"]
