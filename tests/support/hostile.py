"""Hostile input, made from a seed: archives, tables, pictures, labels, specs, expressions and weights that lie.

``python -m tests.support.hostile KIND CASES SEED`` feeds so many cases of one kind to the code that reads them, in a
process of its own, and prints how many were refused and the peak of its memory in MiB. Whatever escapes ends it with a
traceback that names the case.
"""

from __future__ import annotations

import json
import os
import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from methods.errors import InputError
from tests.support.hostile_files import image_case, parquet_case, tar_case
from tests.support.hostile_texts import keep_case, label_case, spec_case, weights_case
from tests.support.hostile_tools import one_line
from tests.support.memory import peak_mib

KINDS: dict[str, Callable[[Path, random.Random], int]] = {
    "tar": tar_case,
    "parquet": parquet_case,
    "image": image_case,
    "label": label_case,
    "spec": spec_case,
    "keep": keep_case,
    "weights": weights_case,
}


def main(kind: str, cases: int, seed: int) -> None:
    """Feed the cases; print (refused, peak in MiB)."""
    refused = 0
    with tempfile.TemporaryDirectory() as name:
        os.chdir(name)
        for case in range(cases):
            folder = Path(name) / "case"
            folder.mkdir(exist_ok=True)
            for old in folder.rglob("*"):
                if old.is_file():
                    old.unlink()
            try:
                refused += bool(KINDS[kind](folder, random.Random(f"{kind} {seed} {case}")))
            except InputError as error:
                refused += one_line(error)
            except Exception as error:
                raise AssertionError(f"{kind}: case {case} of seed {seed}") from error
    print(json.dumps([refused, peak_mib()]))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
