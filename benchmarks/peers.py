"""The same pictures through this pipeline and through what people write instead of it.

    python benchmarks/peers.py [--images 1600] [--method null|mini] [--out FILE]

Peers: a loop over one picture at a time, as the official scripts have it; a torch DataLoader with one worker process
that decodes ahead; bare Ray Data, written as its documentation shows batch inference. All read the same tars, call the
same method on the same batches, and write JPEG; the pipeline also writes index and checksums, and can be resumed.
Each is a command in a fresh process; a rate is that of the steady state, from the first batch to the last picture
written, and the time of the whole command stands beside it. Metrics are off everywhere.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PLUGIN = ROOT / "tests" / "plugin"
sys.path[:1] = [str(ROOT), str(PLUGIN)]
os.environ.setdefault("OMP_NUM_THREADS", "1")

import yaml  # noqa: E402

from benchmarks import process_tree  # noqa: E402
from benchmarks.pipeline import MINI, Bench, Sizes, Table, environment, machine, measure  # noqa: E402

SIDE = 256
BATCH = 4
SHARD = 64
METHODS: dict[str, dict[str, Any]] = {"null": {"name": "null"}, "mini": MINI}


@dataclass(frozen=True)
class Peer:
    """A way to do the job: its name for the table, and the figures of one run, (images/s, seconds in all)."""

    name: str
    run: Callable[[], tuple[float, float]]


def load(named: dict[str, Any]) -> Any:
    """The method, on the CPU with one thread."""
    import torch

    import methods

    torch.set_num_threads(1)
    return methods.load(named["name"], named.get("preset"), **named.get("params", {}))


def one_at_a_time(tars: list[Path], out: Path, named: dict[str, Any]) -> float:
    """Seconds from the first picture to the last, in a plain loop with batches of one."""
    from benchmarks.plain_loop import plain_loop

    method = load(named)
    begun = time.perf_counter()
    plain_loop(tars, out / "images", method, [], 1, SHARD)
    return time.perf_counter() - begun


def data_loader(tars: list[Path], out: Path, named: dict[str, Any]) -> float:
    """Seconds, with a DataLoader whose one worker process reads, decodes and prepares ahead."""
    import torch
    from torch.utils.data import DataLoader, IterableDataset

    from benchmarks.plain_loop import read, write
    from methods.base import Batch, Inputs, sample_seed, to_uint8
    from pipeline import codec

    method = load(named)

    class Pictures(IterableDataset[tuple[str, tuple[int, int], torch.Tensor]]):
        def __iter__(self) -> Iterator[tuple[str, tuple[int, int], torch.Tensor]]:
            for key, data in read(tars):
                pixels = codec.decode(data).pixels
                yield key, (pixels.shape[1], pixels.shape[0]), method.prepare(Inputs(key, pixels))

    def together(samples: list[tuple[str, tuple[int, int], torch.Tensor]]) -> tuple[list[str], list[Any], torch.Tensor]:
        return [key for key, _, _ in samples], [size for _, size, _ in samples], torch.stack([x for *_, x in samples])

    out.mkdir(parents=True)
    finished: list[tuple[str, bytes]] = []
    begun = time.perf_counter()
    for number, (keys, sizes, inputs) in enumerate(DataLoader(Pictures(), BATCH, num_workers=1, collate_fn=together)):
        with torch.inference_mode():
            made = to_uint8(method.translate(Batch(inputs, [sample_seed(0, key) for key in keys], keys)))
        finished += [
            (key, codec.encode(codec.resize(picture, size), "jpeg", 95))
            for key, size, picture in zip(keys, sizes, made, strict=True)
        ]
        if len(finished) >= SHARD:
            write(out / f"{number:06d}.tar", finished)
            finished = []
    if finished:
        write(out / "last.tar", finished)
    return time.perf_counter() - begun


def ray_data(tars: list[Path], out: Path, named: dict[str, Any], workers: int) -> float:
    """Seconds, with Ray Data's own reader, a class in map_batches and its own writer."""
    import numpy as np
    import ray

    ray.init(num_cpus=2 * workers + 1, log_to_driver=False, include_dashboard=False)

    class Translate:
        def __init__(self) -> None:
            self.method = load(named)

        def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
            from benchmarks.plain_loop import translate

            samples = list(zip(batch["__key__"], (bytes(data) for data in batch["jpg"]), strict=True))
            made = translate(samples, self.method, [])
            return {"__key__": np.array([key for key, _ in made]), "jpg": np.array([data for _, data in made], object)}

    begun = time.perf_counter()
    dataset = ray.data.read_webdataset([str(tar) for tar in tars], decoder=None)
    dataset = dataset.map_batches(Translate, batch_size=BATCH, batch_format="numpy", concurrency=workers)
    dataset.write_webdataset(str(out), encoder=None)
    return time.perf_counter() - begun


class Peers:
    """The peers on one source, each as a command of its own."""

    def __init__(self, folder: Path, images: int, method: str) -> None:
        self.folder, self.images, self.method = folder, images, method
        self.tars = Bench(folder, Sizes()).tars(images, SIDE)
        self.runs = 0

    def all(self) -> list[Peer]:
        """In the order of the table."""
        return [
            Peer("one picture at a time", lambda: self.script("one")),
            Peer("torch DataLoader, 1 worker process", lambda: self.script("loader")),
            Peer("bare Ray Data, 1 worker", lambda: self.script("ray", 1)),
            Peer("bare Ray Data, 2 workers", lambda: self.script("ray", 2)),
            Peer("sceneshift run --local", lambda: self.pipeline(1, "--local")),
            Peer("sceneshift run, 1 worker", lambda: self.pipeline(1)),
            Peer("sceneshift run, 2 workers", lambda: self.pipeline(2)),
        ]

    def script(self, kind: str, workers: int = 1) -> tuple[float, float]:
        """A peer in a process of its own; images are counted where it wrote them."""
        out = self._folder()
        tars = ",".join(map(str, self.tars))
        command = [sys.executable, __file__, "--peer", kind, "--method", self.method, "--workers", str(workers)]
        done = process_tree.run([*command, "--tars", tars, "--to", str(out)], environment(), memory=False)
        seconds = float(json.loads(done.output.splitlines()[-1])["seconds"])
        written = sum(1 for tar in out.rglob("*.tar") for _ in self._members(tar))
        if written != self.images:
            raise RuntimeError(f"{kind}: {written} of {self.images} images")
        shutil.rmtree(out)
        return self.images / seconds, done.seconds

    def pipeline(self, workers: int, *flags: str) -> tuple[float, float]:
        """``sceneshift run`` on the same tars."""
        out = self._folder()
        spec = {
            "name": "peers",
            "source": {"uri": str(self.tars[0].parent)},
            "method": METHODS[self.method],
            "output": {"uri": str(out), "format": "webdataset", "shard_size": SHARD},
            "metrics": [],
            "compute": {"workers": workers, "batch_size": BATCH},
        }
        path = self.folder / f"job-{self.runs}.yaml"
        path.write_text(yaml.safe_dump(spec))
        program = str(Path(sys.executable).with_name("sceneshift"))
        done = process_tree.run([program, "run", "--json", *flags, str(path)], environment(), memory=False)
        rate = measure(out, done).rate
        shutil.rmtree(out)
        return rate, done.seconds

    def _folder(self) -> Path:
        self.runs += 1
        return self.folder / f"out-{self.runs}"

    @staticmethod
    def _members(tar: Path) -> Iterator[str]:
        import tarfile

        with tarfile.open(tar) as archive:
            yield from (name for name in archive.getnames() if name.endswith(".jpg"))


def main() -> None:
    """Run every peer and print the table; in a peer's own process, be that peer."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1600)
    parser.add_argument("--method", choices=list(METHODS), default="null")
    parser.add_argument("--out", type=Path, help="also append the table here")
    for hidden in ("--peer", "--tars", "--to"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    parser.add_argument("--workers", type=int, default=1, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peer:
        tars, out, named = [*map(Path, arguments.tars.split(","))], Path(arguments.to), METHODS[arguments.method]
        if arguments.peer == "one":
            seconds = one_at_a_time(tars, out, named)
        elif arguments.peer == "loader":
            seconds = data_loader(tars, out, named)
        else:
            seconds = ray_data(tars, out, named, arguments.workers)
        print(json.dumps({"seconds": seconds}))
        return
    table = Table(("way", "images/s", "against the loop", "whole command"))
    with tempfile.TemporaryDirectory(prefix="peers-") as folder:
        base = 0.0
        for peer in Peers(Path(folder), arguments.images, arguments.method).all():
            print(f"  {peer.name} ...", file=sys.stderr, flush=True)
            rate, seconds = peer.run()
            base = base or rate
            table.rows.append((peer.name, f"{rate:.1f}", f"{rate / base:.2f}", f"{seconds:.1f} s"))
    text = f"## {arguments.images} JPEGs of {SIDE} px, method {arguments.method}\n\n{machine()}\n\n{table.markdown()}\n"
    print(text)
    if arguments.out:
        with arguments.out.open("a") as file:
            file.write(text + "\n")


if __name__ == "__main__":
    main()
