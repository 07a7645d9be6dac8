"""Disks that are full or read-only, clocks that jump: a named behaviour for each, and a rerun that finishes the job."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from pipeline.output.verify import verify
from pipeline.run.driver import run_job
from pipeline.spec import JobSpec
from pipeline.storage import Store
from tests.support.datasets import encoded, read_tree, write_tar
from tests.support.datasets import picture as smooth

pytestmark = [pytest.mark.soak, pytest.mark.timeout(600)]

FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")


@pytest.fixture
def disk(tmp_path) -> Iterator[Path]:
    """A file system of 20 MB of its own."""
    if os.geteuid() != 0:
        pytest.skip("mounting a file system needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.decode().strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def write_source(folder: Path, pictures: int, size: int) -> None:
    names = [f"p{number:03d}" for number in range(pictures)]
    samples = {name: {"jpg": encoded(smooth(number, (size, size)))} for number, name in enumerate(names)}
    write_tar(folder / "a.tar", samples)


def job_file(folder: Path, out: Path, seconds: float = 0.0) -> Path:
    path = folder / f"{out.name}.yaml"
    tree = {
        "source": {"uri": str(folder / "in")},
        "method": {"name": "trouble", "params": {"seconds": seconds}},
        "output": {"uri": str(out), "shard_size": 4, "image": {"format": "png"}},
        "metrics": [],
    }
    path.write_text(yaml.safe_dump(tree))
    return path


def start(spec: Path, **environment: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "jobs", "run", "--local", "-q", str(spec)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, **environment}
    )


def ended(driver: subprocess.Popen[str]) -> tuple[int, list[str]]:
    _, said = driver.communicate(timeout=300)
    return driver.returncode, said.strip().splitlines()


def test_a_full_disk_ends_the_run_in_one_line_and_room_finishes_it(disk, tmp_path):
    write_source(tmp_path / "in", 48, 128)
    filler = disk / "filler"
    filler.write_bytes(bytes((20 << 20) - (300 << 10)))
    code, said = ended(start(job_file(tmp_path, disk / "out")))
    assert code in (2, 3), said
    assert len(said) == 1, said
    assert "no space left on the disk" in said[0]
    committed = read_tree(disk / "out", "data", "index")
    assert not [name for name in committed if ".partial-" in name]
    filler.unlink()
    code, said = ended(start(job_file(tmp_path, disk / "out")))
    assert code == 0, said
    assert verify(Store(str(disk / "out"))).sound
    run_job(JobSpec.load(job_file(tmp_path, tmp_path / "calm")), local=True)
    assert read_tree(disk / "out", "data", "index") == read_tree(tmp_path / "calm", "data", "index")


def test_a_read_only_output_is_one_line_before_any_work(disk, tmp_path):
    write_source(tmp_path / "in", 4, 32)
    subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
    code, said = ended(start(job_file(tmp_path, disk / "out")))
    assert code == 2, said
    assert len(said) == 1, said
    assert "read-only" in said[0]


@pytest.mark.skipif(not FAKETIME.exists(), reason="libfaketime is not installed (Debian package faketime)")
@pytest.mark.parametrize("jump", ["+3h", "-3h"])
def test_a_clock_that_jumps_changes_no_byte_and_frees_no_lock(tmp_path, jump):
    write_source(tmp_path / "in", 48, 32)
    out, clock = tmp_path / "out", tmp_path / "clock"
    clock.write_text("+0")
    spec = job_file(tmp_path, out, 0.5)
    faked = {"LD_PRELOAD": str(FAKETIME), "FAKETIME_TIMESTAMP_FILE": str(clock), "FAKETIME_NO_CACHE": "1"}
    # Clocks that only go on (waiting, timeouts) do not jump on a real machine either.
    driver = start(spec, **faked, FAKETIME_DONT_FAKE_MONOTONIC="1")
    until = time.monotonic() + 200
    while time.monotonic() < until and driver.poll() is None and len(read_tree(out, "index")) < 3:
        time.sleep(0.05)
    assert driver.poll() is None
    driver.send_signal(signal.SIGSTOP)
    clock.write_text(jump)
    code, said = ended(start(spec))
    driver.send_signal(signal.SIGCONT)
    assert code == 2, said
    assert "is writing here" in said[0]
    code, said = ended(driver)
    assert code == 0, said
    run_job(JobSpec.load(job_file(tmp_path, tmp_path / "calm", 0.5)), local=True)
    assert read_tree(out, "data", "index") == read_tree(tmp_path / "calm", "data", "index")
    shutil.rmtree(out)
