"""How fast sources of many small objects are read from a store that takes its time to answer.

    python benchmarks/slow_store.py [--pictures 256] [--latency 0.05]

Pictures lie in a local S3 server, behind a proxy that passes every request on after so many seconds. A manifest, a
folder of loose pictures and a tar are read to their end by one reader: with one request after the other, which is the
baseline of each row, and as they are read now. The last rows share the manifest between readers, each a process.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import multiprocessing
import os
import sys
import tarfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

sys.path[:1] = [str(Path(__file__).resolve().parent.parent)]

import numpy as np  # noqa: E402
from PIL import Image  # noqa: E402

from deploy.local_s3 import LocalS3  # noqa: E402
from pipeline.plan import FilePlan  # noqa: E402
from pipeline.sources import ahead, detect, open_source, ranged  # noqa: E402
from pipeline.sources.peek import resolve_layout  # noqa: E402
from pipeline.spec import SourceSpec  # noqa: E402
from pipeline.storage import StorageOptions, Store  # noqa: E402

RESULTS = Path(__file__).parent / "results" / "slow_store.md"
SIDE = 256
SHARD = 64
BLOCK = 64 << 10
"""Bytes of a range of the tar here: a tar of some megabytes has as many as a large one has of the usual size."""
READERS = (1, 2, 4)
KEY, SECRET = "SCENESHIFT_BENCH_KEY", "SCENESHIFT_BENCH_SECRET"


@contextlib.contextmanager
def delayed(port: int, seconds: float) -> Iterator[int]:
    """A proxy before a port of this machine that hands on what a client says ``seconds`` later; yields its port."""
    loop = asyncio.new_event_loop()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, wait: float) -> None:
        # In order, each part after the same time: requests on one connection may follow each other.
        queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

        async def write() -> None:
            while True:
                due, data = await queue.get()
                await asyncio.sleep(max(0.0, due - loop.time()))
                if not data:
                    writer.close()
                    return
                writer.write(data)
                await writer.drain()

        writing = asyncio.ensure_future(write())
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                queue.put_nowait((loop.time() + wait, data))
        queue.put_nowait((loop.time() + wait, b""))
        with contextlib.suppress(ConnectionError):
            await writing

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(pass_on(reader, back, seconds), pass_on(there, writer, 0.0))

    async def quiet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.CancelledError, ConnectionError):
            await serve(reader, writer)

    server = loop.run_until_complete(asyncio.start_server(quiet, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        loop.call_soon_threadsafe(_stop, loop)
        thread.join()


def _stop(loop: asyncio.AbstractEventLoop) -> None:
    for task in asyncio.all_tasks(loop):
        task.cancel()
    loop.call_soon(loop.stop)


def jpeg(number: int) -> bytes:
    """A picture of some 20 KB that no other is equal to."""
    rng = np.random.default_rng(number)
    small = Image.fromarray(rng.integers(0, 255, (SIDE // 8, SIDE // 8, 3), dtype=np.uint8))
    out = io.BytesIO()
    small.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(out, "JPEG", quality=92)
    return out.getvalue()


def upload(store: Store, pictures: int) -> None:
    """The same pictures loose, named by a manifest, and in a tar."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for number in range(pictures):
            data = jpeg(number)
            store.put(f"loose/{number:05d}.jpg", data)
            info = tarfile.TarInfo(f"{number:05d}.jpg")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    store.put("tar/a.tar", packed.getvalue())
    store.put("lists/a.csv", ("path\n" + "".join(f"../loose/{n:05d}.jpg\n" for n in range(pictures))).encode())


def read(spec: SourceSpec, in_flight: int, ranges: int, turn: tuple[int, int] = (0, 1)) -> tuple[int, float, float]:
    """(pictures, when the first request began, when the last picture came) of one reader's share."""
    ahead.IN_FLIGHT, ranged.AHEAD, ranged.BLOCK = in_flight, ranges, BLOCK
    format = detect(spec)
    layout = resolve_layout(spec, format, SHARD)
    source = open_source(spec, format, SHARD)
    files = source.plan()
    began, found = time.time(), 0
    for file in files:
        for shard in source.read(file, layout, SHARD, FilePlan(file, turn=turn).wants):
            found += sum(sample.image is not None for sample in shard.samples)
    return found, began, time.time()


def shared(spec: SourceSpec, in_flight: int, ranges: int, readers: int) -> float:
    """Pictures per second of so many readers."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(readers, mp_context=context) as pool:
        shares = [pool.submit(read, spec, in_flight, ranges, (turn, readers)) for turn in range(readers)]
        found = [share.result() for share in shares]
    return sum(each[0] for each in found) / (max(each[2] for each in found) - min(each[1] for each in found))


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pictures", type=int, default=256)
    parser.add_argument("--latency", type=float, default=0.05)
    arguments = parser.parse_args()
    os.environ |= {KEY: "bench", SECRET: "bench-secret"}
    lines: list[str] = []
    with LocalS3(key=os.environ[KEY], secret=os.environ[SECRET]) as server:
        server.make_bucket("bench")
        near = StorageOptions(endpoint_url=server.endpoint_url, key_env=KEY, secret_env=SECRET)
        upload(Store("s3://bench", near), arguments.pictures)
        with delayed(int(server.endpoint_url.rpartition(":")[2]), arguments.latency) as port:
            far = near.model_copy(update={"endpoint_url": f"http://127.0.0.1:{port}"})
            defaults = (ahead.IN_FLIGHT, ranged.AHEAD)
            for what, place in (("manifest", "lists/a.csv"), ("loose pictures", "loose"), ("tar", "tar/a.tar")):
                spec = SourceSpec(uri=f"s3://bench/{place}", storage=far)
                one = shared(spec, 1, 1, 1)
                now = shared(spec, *defaults, 1)
                print(what, one, now, flush=True)
                lines.append(f"| {what} | 1 | {one:.0f} | {now:.0f} | {now / one:.1f} |")
            spec = SourceSpec(uri="s3://bench/lists/a.csv", storage=far)
            alone = shared(spec, 4, 1, 1)
            for readers in READERS:
                rate = shared(spec, 4, 1, readers)
                lines.append(
                    f"| manifest, 4 requests a reader | {readers} | {alone:.0f} | {rate:.0f} | {rate / alone:.1f} |"
                )
    text = "\n".join(
        [
            f"# Sources of small objects behind {arguments.latency * 1000:.0f} ms",
            "",
            f"`python benchmarks/slow_store.py`: {arguments.pictures} pictures of {SIDE} x {SIDE}, images/s. The",
            "baseline of the first rows asks for one thing after the other; that of the last rows is one reader.",
            "",
            "| source | readers | baseline | now | times |",
            "| --- | ---: | ---: | ---: | ---: |",
            *lines,
            "",
        ]
    )
    RESULTS.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
