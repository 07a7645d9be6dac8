"""Peak memory and time of reading a large COCO label file: streamed into a table, against the whole document at once.

    python benchmarks/labels.py [--annotations 1000000]

Each measurement is a process of its own; its peak is the largest resident set that the system has counted for it. The
baseline does what was done before: parse the whole file, group the annotations, keep one JSON text per picture.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

PER_PICTURE = 8
LOOK_UPS = 2000
RESULTS = Path(__file__).parent / "results" / "labels.md"


def write_coco(path: Path, annotations: int) -> None:
    """A COCO file of so many annotations, eight per picture, polygons of 30 points as in the real one's average."""
    pictures = annotations // PER_PICTURE
    with path.open("w") as out:
        out.write('{"info": {}, "images": [')
        for number in range(pictures):
            comma = "," if number else ""
            out.write(f'{comma}{{"id": {number}, "file_name": "{number:012d}.jpg", "width": 640, "height": 480}}')
        out.write('], "annotations": [')
        for number in range(annotations):
            x, y = number % 500, number % 400
            polygon = [x + point * 1.25 + 0.37 for point in range(60)]
            annotation = {
                "id": number,
                "image_id": number * 7919 % pictures,
                "category_id": number % 80 + 1,
                "bbox": [x + 0.25, y + 0.5, 73.21, 41.9],
                "area": 1834.625,
                "iscrowd": 0,
                "segmentation": [polygon],
            }
            out.write(("," if number else "") + json.dumps(annotation))
        categories = [{"id": number, "name": f"class {number}"} for number in range(1, 81)]
        out.write(f'], "categories": {json.dumps(categories)}}}')


def whole_document(path: Path) -> None:
    """The baseline: everything parsed, grouped, and kept as one text per picture, in every process."""
    document = json.loads(path.read_bytes().decode())
    grouped: dict[int, list[dict]] = {}
    for annotation in document["annotations"]:
        grouped.setdefault(annotation["image_id"], []).append(annotation)
    texts = {
        image["file_name"]: json.dumps({"image": image, "annotations": grouped.get(image["id"], [])}).encode()
        for image in document["images"]
    }
    assert len(texts) == len(document["images"])


def convert(path: Path) -> None:
    """What the first process of a node does: stream the file into a table."""
    from pipeline.labels import TableSource, open_table

    assert len(open_table(TableSource(str(path), "coco")))


def look_up(path: Path) -> None:
    """What a worker does: open the table of its node, find and parse pictures."""
    from pipeline.labels import TableSource, open_table, parse_record

    table = open_table(TableSource(str(path), "coco"))
    for number in range(LOOK_UPS):
        record = table.find(f"{number * 37 % len(table):012d}")
        assert record is not None
        assert len(parse_record(record.text, None, table.info).annotations) > 0


STEPS: dict[str, Callable[[Path], None]] = {"whole": whole_document, "convert": convert, "look_up": look_up}


def measure(step: str, path: Path, cache: Path) -> tuple[float, float]:
    """(peak in MiB, seconds) of one step in a process of its own."""
    began = time.perf_counter()
    environment = {**os.environ, "TMPDIR": str(cache), "PYTHONPATH": str(Path(__file__).parent.parent)}
    # -P: this folder has modules named like our packages.
    command = [sys.executable, "-P", __file__, "--step", step, "--file", str(path)]
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    return float(done.stdout), time.perf_counter() - began


def main() -> None:
    """Measure everything and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--annotations", type=int, default=1_000_000)
    parser.add_argument("--step", choices=list(STEPS))
    parser.add_argument("--file", type=Path)
    arguments = parser.parse_args()
    if arguments.step:
        STEPS[arguments.step](arguments.file)
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "instances.json"
        write_coco(path, arguments.annotations)
        size = path.stat().st_size / 2**20
        found = {step: measure(step, path, Path(folder)) for step in STEPS}
        table = sum(each.stat().st_size for each in Path(folder).glob("sceneshift-*/*.sqlite")) / 2**20
    names = {
        "whole": "whole document at once, in every process that reads labels (before)",
        "convert": "streamed into a table, once per node",
        "look_up": f"a worker that opens the table and reads {LOOK_UPS} pictures",
    }
    rows = [f"| {names[step]} | {peak:,.0f} MiB | {seconds:.0f} s |" for step, (peak, seconds) in found.items()]
    text = "\n".join(
        [
            f"# A COCO file of {arguments.annotations:,} annotations",
            "",
            f"{size:,.0f} MiB of JSON; the table has {table:,.0f} MiB. `python benchmarks/labels.py` prints this.",
            "",
            "| what | peak memory | time |",
            "| --- | ---: | ---: |",
            *rows,
            "",
        ]
    )
    RESULTS.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
