"""Drivers killed, stopped and sent to sleep at seeded moments; a rerun gives the bytes of an undisturbed run."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from pipeline.output.verify import verify
from pipeline.paths import CARD_FILE, JOB_FILE, LOCK_FILE, MERGED_INDEX, METRICS_FILE, REPORT_FILE, SUCCESS_FILE
from pipeline.storage import Store
from tests.support.datasets import read_tree, write_tars

KILLS = int(os.environ.get("SCENESHIFT_KILLS", "2"))
SAMPLES = 48


def job_file(folder: Path, out: str, **method) -> Path:
    path = folder / f"{out}.yaml"
    tree = {
        "source": {"uri": str(folder / "in")},
        "method": method or {"name": "trouble", "params": {"seconds": 0.15}},
        "output": {"uri": str(folder / out), "image": {"format": "png"}},
        "metrics": [],
    }
    path.write_text(yaml.safe_dump(tree))
    return path


def start(spec: Path, *more: str, program: tuple[str, ...] = ("-m", "jobs")) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, *program, "run", "--local", str(spec), *more],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A test run in the background of a shell is deaf to Ctrl-C, and would pass that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def wait_for_parts(out: Path, driver: subprocess.Popen[str], parts: int) -> None:
    deadline = time.monotonic() + 120
    # Names alone: a part that is being written has another one, and is gone under it a moment later.
    while time.monotonic() < deadline and driver.poll() is None and len(list((out / "index").glob("[!.]*"))) < parts:
        time.sleep(0.02)


@pytest.fixture(scope="module")
def calm(tmp_path_factory) -> tuple[Path, dict[str, bytes]]:
    """A source, and what an undisturbed run makes of it."""
    folder = tmp_path_factory.mktemp("calm")
    write_tars(folder / "in", 2, SAMPLES // 2)
    driver = start(job_file(folder, "undisturbed"))
    _, said = driver.communicate(timeout=200)
    assert driver.returncode == 0, said
    return folder, read_tree(folder / "undisturbed", "data", "index")


class Poller(threading.Thread):
    """Lists index/ every 0.2 s and compares each part's data file, byte by byte, as soon as the part is there."""

    def __init__(self, out: Path, wanted: dict[str, bytes]) -> None:
        super().__init__(daemon=True)
        self.out, self.wanted, self.halves, self.parts, self.stop = out, wanted, [], 0, threading.Event()

    def run(self) -> None:
        while not self.stop.wait(0.2):
            for part in sorted((self.out / "index").glob("[!.]*")):
                self.parts += 1
                data = self.out / "data" / part.name
                try:
                    whole = data.read_bytes() == self.wanted.get(f"data/{part.name}")
                except FileNotFoundError:
                    # --fresh takes a part away before its data, and may have made both anew by now
                    whole = not part.exists() or data.exists()
                if not whole:
                    self.halves.append(part.name)


@pytest.mark.slow
@pytest.mark.timeout(7200)
def test_kills_at_any_moment_lose_and_change_nothing(calm):
    folder, wanted = calm
    rng = random.Random(14)
    for number in range(KILLS):
        out = folder / f"killed-{number}"
        spec = job_file(folder, out.name)
        poller = Poller(out, wanted)
        poller.start()
        deaths = [signal.SIGKILL, signal.SIGKILL, signal.SIGTERM, signal.SIGINT]
        for death in rng.sample(deaths, 2):
            driver = start(spec, *(["--fresh"] if rng.random() < 0.2 else []))
            wait_for_parts(out, driver, rng.randint(0, 4))
            time.sleep(rng.random() * 0.3)
            driver.send_signal(death)
            driver.communicate(timeout=60)
        last = start(spec)
        _, said = last.communicate(timeout=200)
        poller.stop.set()
        poller.join()
        assert last.returncode == 0, said
        assert read_tree(out, "data", "index") == wanted
        assert poller.parts
        assert not poller.halves
        assert verify(Store(str(out))).sound


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_kills_of_drivers_that_write_to_a_bucket(calm, bucket):
    folder, wanted = calm
    rng = random.Random(16)
    for number in range(4):
        name = f"bucket-{number}"
        spec, store = job_file(folder, name), bucket.store(name)
        tree = yaml.safe_load(spec.read_text())
        tree["output"] |= {"uri": f"{bucket.uri}/{name}", "storage": bucket.storage}
        spec.write_text(yaml.safe_dump(tree))
        driver, parts = start(spec, "-q"), rng.randint(0, 4)
        until(lambda: len(store.list("index")) >= parts, driver)  # noqa: B023
        time.sleep(rng.random() * 0.3)
        driver.kill()
        driver.communicate(timeout=60)
        last = start(spec, "-q")
        _, said = last.communicate(timeout=200)
        assert last.returncode == 0, said
        found = {name: data for name, data in bucket.objects(name).items() if name.startswith(("data/", "index/"))}
        assert found == wanted
        assert verify(store).sound


@pytest.mark.slow
@pytest.mark.parametrize(("number", "name", "code"), [(signal.SIGTERM, "SIGTERM", 143), (signal.SIGINT, "Ctrl-C", 130)])
def test_a_signal_ends_in_one_line_that_says_what_is_committed(calm, number, name, code):
    folder, wanted = calm
    out = folder / f"stopped-{name}"
    driver = start(job_file(folder, out.name), "-q")
    wait_for_parts(out, driver, 1)
    driver.send_signal(number)
    _, said = driver.communicate(timeout=60)
    assert driver.returncode == code, said
    lines = said.strip().splitlines()
    assert len(lines) == 1, said
    assert f"stopped by {name}" in lines[0]
    assert " committed, " in lines[0]
    assert "the same command goes on" in lines[0]
    assert not (out / LOCK_FILE).exists()
    again = start(job_file(folder, out.name))
    _, said = again.communicate(timeout=200)
    assert again.returncode == 0, said
    assert read_tree(out, "data", "index") == wanted


@pytest.mark.slow
def test_a_driver_that_wakes_up_after_another_took_over_changes_no_byte(calm):
    folder, _ = calm
    out = folder / "zombie"
    zombie = start(job_file(folder, out.name), "-q")
    wait_for_parts(out, zombie, 2)
    zombie.send_signal(signal.SIGSTOP)
    lock = out / LOCK_FILE
    # The second driver sees a lock of another machine that was not touched for long.
    lock.write_text(json.dumps(json.loads(lock.read_text()) | {"host": "elsewhere", "beat": time.time() - 150}))
    other = folder / "other.yaml"
    other.write_text(
        yaml.safe_dump(yaml.safe_load((folder / "zombie.yaml").read_text()) | {"method": {"name": "null"}})
    )
    second = start(other, "--fresh")
    _, said = second.communicate(timeout=200)
    assert second.returncode == 0, said
    before = read_tree(out, "data", "index", "report")
    zombie.send_signal(signal.SIGCONT)
    _, said = zombie.communicate(timeout=60)
    assert zombie.returncode == 3, said
    assert len(said.strip().splitlines()) == 1, said
    assert read_tree(out, "data", "index", "report") == before
    assert verify(Store(str(out))).sound


def until(met: Callable[[], bool], driver: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and driver.poll() is None and not met():
        time.sleep(0.005)


def finished_by_a_rerun(spec: Path, out: Path, wanted: dict[str, bytes]) -> None:
    again = start(spec, "-q")
    _, said = again.communicate(timeout=200)
    assert again.returncode == 0, said
    assert read_tree(out, "data", "index") == wanted
    assert verify(Store(str(out))).sound
    assert Store(str(out)).exists(SUCCESS_FILE)


DIES_AFTER = """
import os, signal, sys
from jobs.cli import main
from pipeline.fence import FencedStore

last, put = sys.argv.pop(1), FencedStore.put

def dying(self, relative, data):
    put(self, relative, data)
    if relative == last:
        os.kill(os.getpid(), signal.SIGKILL)

FencedStore.put = dying
main()
"""
"""The program, which kills itself as soon as it has written one object: what follows it takes milliseconds."""


@pytest.mark.soak
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("last", [MERGED_INDEX, METRICS_FILE, CARD_FILE, REPORT_FILE])
def test_a_kill_while_the_output_is_summarised(calm, last):
    folder, wanted = calm
    out = folder / f"summary-{last.replace('/', '-')}"
    spec = job_file(folder, out.name)
    driver = start(spec, "-q", program=("-c", DIES_AFTER, last))
    _, said = driver.communicate(timeout=200)
    assert driver.returncode == -signal.SIGKILL, said
    assert (out / last).exists()
    assert not (out / SUCCESS_FILE).exists()
    finished_by_a_rerun(spec, out, wanted)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_kill_while_a_lock_is_taken_over(calm):
    folder, wanted = calm
    rng = random.Random(7)
    for number in range(4):
        out = folder / f"taken-over-{number}"
        spec = job_file(folder, out.name)
        stale = {"host": "elsewhere", "pid": 1, "run": "old", "token": "old", "beat": time.time() - 1000}
        Store(str(out)).put(LOCK_FILE, json.dumps(stale).encode())
        driver = start(spec, "-q")
        until(lambda: b'"old"' not in Store(str(out)).read(LOCK_FILE), driver)  # noqa: B023
        # The taker waits half a second, to see whether another one has taken the lock at the same moment.
        time.sleep(rng.random() * 0.7)
        driver.kill()
        driver.communicate(timeout=60)
        finished_by_a_rerun(spec, out, wanted)


@pytest.mark.soak
@pytest.mark.timeout(3600)
def test_a_kill_while_an_output_is_begun_anew(calm):
    folder, wanted = calm
    rng = random.Random(8)
    for number in range(4):
        out = folder / f"anew-{number}"
        before = start(job_file(folder, out.name, name="null"), "-q")
        _, said = before.communicate(timeout=200)
        assert before.returncode == 0, said
        old = (out / JOB_FILE).read_bytes()
        spec = job_file(folder, out.name)
        driver = start(spec, "-q", "--fresh")
        until(lambda: (out / JOB_FILE).read_bytes() != old, driver)  # noqa: B023
        time.sleep(rng.random() * 0.1)
        driver.kill()
        driver.communicate(timeout=60)
        again = start(spec, "-q")
        _, said = again.communicate(timeout=200)
        assert again.returncode == 0, said
        # The second generation has names of its own and the same rows.
        made = {name.replace("-g2-", "-"): data for name, data in read_tree(out, "data").items()}
        assert made == {name: data for name, data in wanted.items() if name.startswith("data/")}
        assert verify(Store(str(out))).sound
