"""The whole job from bucket to bucket against a real S3 server on this machine. `make s3-demo` runs it.

    python deploy/s3_demo.py [--scenes 24] [--method cyclegan_turbo/street_day_to_night]

Renders street scenes, uploads them, translates them through Ray with the command line that a user would type, runs the
finished job once more, verifies it, lists the bucket, and stops the server. Nothing stays behind.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from deploy.local_s3 import LocalS3

SOURCE, OUTPUT = "s3://demo/streets", "s3://demo/streets-by-night"


def main() -> int:
    """Run the demo; returns the exit code of the first command that failed, else 0."""
    parser = argparse.ArgumentParser(description="The whole job against a local S3 server.")
    parser.add_argument("--scenes", type=int, default=24)
    parser.add_argument("--size", type=int, default=128, help="pixels a side")
    parser.add_argument("--method", default="cyclegan_turbo/street_day_to_night", metavar="NAME[/PRESET]")
    arguments = parser.parse_args()
    # The commands print too: what is said here must not come after what they say.
    sys.stdout.reconfigure(line_buffering=True)  # pyright: ignore[reportAttributeAccessIssue]
    with tempfile.TemporaryDirectory(prefix="s3-demo-") as folder, LocalS3() as s3:
        try:
            return demo(s3, Path(folder), arguments.scenes, arguments.size, arguments.method)
        except subprocess.CalledProcessError as failed:
            return failed.returncode


def demo(s3: LocalS3, folder: Path, scenes: int, size: int, method: str) -> int:
    """The steps, each of them a command. Raises CalledProcessError where one fails."""
    environment = os.environ | s3.environment()
    environment.setdefault("OMP_NUM_THREADS", "1")

    def sceneshift(*words: str) -> None:
        print(f"\n$ sceneshift {' '.join(words)}")
        program = Path(sys.executable).with_name("sceneshift")
        subprocess.run([str(program), *words], check=True, env=environment, cwd=folder)

    print(f"An S3 server answers at {s3.endpoint_url}, on this machine only")
    s3.make_bucket("demo")
    sceneshift("sample-data", "streets", "--scenes", str(scenes), "--size", str(size), "--truth", "night")
    fs = s3.filesystem()
    tars = sorted((folder / "streets" / "day").glob("*.tar"))
    for tar in tars:
        fs.put_file(str(tar), f"{SOURCE}/{tar.name}")
    print(f"Uploaded {', '.join(tar.name for tar in tars)} to {SOURCE}")
    (folder / "job.yaml").write_text(yaml.safe_dump(job(method), sort_keys=False))
    print(f"\n$ cat job.yaml\n{(folder / 'job.yaml').read_text().rstrip()}")
    sceneshift("plan", "job.yaml")
    sceneshift("run", "job.yaml")
    sceneshift("run", "job.yaml")
    sceneshift("verify", OUTPUT)
    print(f"\nWhat {OUTPUT} holds now:")
    for name, detail in sorted(fs.find(OUTPUT, detail=True).items()):
        print(f"  {detail['size']:>9,}  s3://{name}")
    print(
        "\nThe server stops, and its bucket goes with it. To keep one running: python deploy/local_s3.py --data FOLDER"
    )
    return 0


def job(method: str) -> dict[str, Any]:
    """The job file. Endpoint and credentials are not in it: they come from the usual AWS variables."""
    name, _, preset = method.partition("/")
    return {
        "name": "streets-by-night",
        "source": {"uri": f"{SOURCE}/*.tar"},
        "method": {"name": name} | ({"preset": preset} if preset else {}),
        "output": {"uri": OUTPUT, "format": "parquet", "shard_size": 8},
    }


if __name__ == "__main__":
    sys.exit(main())
