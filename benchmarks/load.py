"""What grows with the number of pictures, source files and index parts: the driver's memory, plans, finalising.

    python benchmarks/load.py pictures [--images 100000] [--shard-size 100] [--ray] [--out FILE]
    python benchmarks/load.py finalise [--parts 10000] [--s3] [--out FILE]
    python benchmarks/load.py tars [--files 10000] [--out FILE]

Each case runs the command line in a fresh process and watches its memory. One JSON document per case goes to standard
output, and into ``--out`` beside earlier ones.
"""

from __future__ import annotations

import argparse
import datetime
import io
import json
import os
import resource
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PLUGIN = ROOT / "tests" / "plugin"
sys.path[:1] = [str(ROOT), str(PLUGIN)]

import numpy as np  # noqa: E402
import yaml  # noqa: E402
from PIL import Image  # noqa: E402

from deploy.local_s3 import LocalS3  # noqa: E402
from pipeline.map_ahead import map_ahead  # noqa: E402
from pipeline.sink.index import list_parts  # noqa: E402
from pipeline.storage import StorageOptions, Store  # noqa: E402

TAR = 2000
EVERY = 0.25
KEPT = ("seconds", "cpu_seconds", "peak_mib")


def tiny(number: int) -> bytes:
    """A JPEG of 16 x 16 pixels."""
    rng = np.random.default_rng(number % 97)
    out = io.BytesIO()
    Image.fromarray(rng.integers(0, 255, (16, 16, 3)).astype(np.uint8)).save(out, "JPEG")
    return out.getvalue()


def write_tars(folder: Path, images: int) -> None:
    """Tars of 2000 tiny pictures."""
    folder.mkdir(parents=True)
    pictures = [tiny(number) for number in range(97)]
    for first in range(0, images, TAR):
        with tarfile.open(folder / f"part-{first // TAR:05d}.tar", "w") as archive:
            for number in range(first, min(images, first + TAR)):
                info = tarfile.TarInfo(f"{number:08d}.jpg")
                info.size = len(pictures[number % 97])
                archive.addfile(info, io.BytesIO(pictures[number % 97]))


def job_file(folder: Path, source: Path, shard_size: int = 100, **more: Any) -> Path:
    """A job of the null method, which gives every picture back."""
    path = folder / "job.yaml"
    tree = {
        "source": {"uri": str(source)},
        "method": {"name": "null"},
        "output": {"uri": str(folder / "out"), "shard_size": shard_size},
        "metrics": [],
        **more,
    }
    path.write_text(yaml.safe_dump(tree))
    return path


def resident(pid: int) -> int:
    """Bytes of a process in memory, 0 when it has ended."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (OSError, IndexError):
        return 0
    return pages * resource.getpagesize()


def watched(words: Sequence[str], look: Callable[[], int] = lambda: 0) -> dict[str, Any]:
    """Run the command line; seconds, peak memory, and (progress, bytes) as it went on. Raises when it fails.

    ``cpu_seconds`` are of the process and of the children that it waited for; those of Ray's daemons are not in it.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    path = os.pathsep.join([str(PLUGIN), str(ROOT)])
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "jobs", *words],
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        )
        track: list[tuple[int, int]] = []
        peak = 0
        while process.poll() is None:
            here = resident(process.pid)
            peak = max(peak, here)
            track.append((look(), here))
            time.sleep(EVERY)
        seconds = time.monotonic() - began
        log.seek(0)
        if process.returncode:
            raise RuntimeError(log.read()[-2000:])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(spent, 1),
        "peak_mib": round(peak / 2**20),
        "track": track,
    }


def pictures(folder: Path, images: int, size: int, ray: bool) -> dict[str, Any]:
    """The driver's memory over a run, by quarters of its shards. Without Ray the driver is the worker, too."""
    write_tars(folder / "in", images)
    index = folder / "out" / "index"
    more = {"compute": {"workers": 2}} if ray else {}
    words = ["run", str(job_file(folder, folder / "in", size, **more)), "-q", *([] if ray else ["--local"])]
    found = watched(words, lambda: len(os.listdir(index)) if index.exists() else 0)
    track = [(done, memory) for done, memory in found.pop("track") if done]
    shards = images // size
    quarters = [
        [memory for done, memory in track if quarter * shards / 4 < done <= (quarter + 1) * shards / 4]
        for quarter in range(4)
    ]
    # The last look at a finished index belongs to the summaries, which have a bound of their own.
    means = [round(float(np.mean(each)) / 2**20, 1) if each else None for each in quarters]
    working = [memory for done, memory in track if 3 * shards / 4 < done < shards]
    last = round(float(np.mean(working)) / 2**20, 1) if working else None
    return {
        "images": images,
        "shards": shards,
        "images_per_second": round(images / found["seconds"], 1),
        **found,
        "driver_mib_by_quarter": means,
        "last_to_second": round(last / means[1], 3) if last and means[1] else None,
    }


def finalise(folder: Path, parts: int, s3: bool) -> dict[str, Any]:
    """Planning and finalising an output of so many index parts, each of 100 rows: copies of one, under other names."""
    if not s3:
        return summarised(folder, parts, str(folder / "out"), {})
    with LocalS3() as server:
        server.make_bucket("load")
        os.environ.update(server.environment())
        return summarised(folder, parts, "s3://load/out", {"endpoint_url": server.endpoint_url})


def summarised(folder: Path, parts: int, out: str, storage: dict[str, str]) -> dict[str, Any]:
    """The figures of an output at a place; what is put there beside its first part is not measured."""
    write_tars(folder / "in", 100)
    path = job_file(folder, folder / "in")
    tree = yaml.safe_load(path.read_text())
    tree["output"] |= {"uri": out, "storage": storage}
    path.write_text(yaml.safe_dump(tree))
    watched(["run", str(path), "--local", "-q"])
    store = Store(out, StorageOptions.model_validate(storage))
    (first,) = list_parts(store)
    data = store.read(first.path)
    stem = first.path.rpartition("-")[0]
    names = [f"{stem}-{number:04d}.parquet" for number in range(1, parts)]
    for _ in map_ahead(lambda name: store.put(name, data), names):
        pass
    planned = watched(["plan", str(path)])
    status = watched(["status", str(path)])
    found = watched(["finalise", str(path)])
    return {
        "parts": parts,
        "rows": 100 * parts,
        **{f"plan_{name}": planned[name] for name in KEPT},
        **{f"status_{name}": status[name] for name in KEPT},
        **{f"finalise_{name}": found[name] for name in KEPT},
    }


def tars(folder: Path, files: int) -> dict[str, Any]:
    """Planning so many tars of one picture each."""
    (folder / "in").mkdir()
    write_tars(folder / "one", 1)
    (tar,) = (folder / "one").iterdir()
    data = tar.read_bytes()
    for number in range(files):
        (folder / "in" / f"part-{number:06d}.tar").write_bytes(data)
    found = watched(["plan", str(job_file(folder, folder / "in"))])
    return {"files": files, **{f"plan_{name}": found[name] for name in KEPT}}


def main() -> None:
    """Run one case."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=["pictures", "finalise", "tars"])
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--shard-size", type=int, default=100)
    parser.add_argument("--parts", type=int, default=10_000)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--s3", action="store_true", help="the output lies on an S3 server of this machine")
    parser.add_argument("--ray", action="store_true", help="the run goes through a Ray of its own, with 2 workers")
    parser.add_argument("--out", type=Path, help="a JSON file that the figures are added to")
    asked = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="sceneshift-load-"))
    try:
        figures = {
            "pictures": lambda: pictures(folder, asked.images, asked.shard_size, asked.ray),
            "finalise": lambda: finalise(folder, asked.parts, asked.s3),
            "tars": lambda: tars(folder, asked.files),
        }[asked.case]()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    case = asked.case + (" on Ray" if asked.ray else " on S3" if asked.s3 else "")
    when = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    entry = {"case": case, "when": when, "cores": os.cpu_count(), "load_average": os.getloadavg()[0], **figures}
    print(json.dumps(entry))
    if asked.out is not None:
        before = json.loads(asked.out.read_text()) if asked.out.exists() else []
        asked.out.write_text(json.dumps([*before, entry], indent=1) + "\n")


if __name__ == "__main__":
    main()
