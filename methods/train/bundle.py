"""Put a trained file of tensors among the bundled weights: in half precision, with its origin and scores inside.

    python -m methods.train.bundle MODEL NAME --commit HASH --scenes 1000+1600 [--scores SCORES.json] [--recipe TEXT]

MODEL is what `sceneshift train` or `distill` has written. What its metadata says already (spec, steps, configuration)
stays; a Turbo file, which has a format of its own, is known by its metadata and stays one. A training from two streams
names the scenes of each: ``--scenes a=1000000+1500 b=2000000+1500``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from methods.errors import InputError
from methods.nn.tensor_file import is_safetensors, read_pickle, write_tensors
from methods.turbo.native import FORMAT as TURBO
from methods.turbo.native import read_native, save_native
from methods.weights import BUNDLED

LARGEST = 6_000_000
"""Bytes of one bundled file at most."""


def bundle(source: Path, target: Path, about: dict[str, Any]) -> Path:
    """Write ``source`` to ``target`` as float16 safetensors, with ``about`` (JSON) in its metadata.

    Raises:
        InputError: not a file of tensors, or too large for the package.
    """
    tensors, metadata = _read(source)
    target.parent.mkdir(parents=True, exist_ok=True)
    if metadata.get("format") == TURBO:
        config, tensors = read_native(source)
        save_native(target, replace(config, about={**_own(config.about), **about}), _halved(tensors))
    else:
        write_tensors(target, _halved(tensors), {**_own(metadata), "origin": json.dumps(about, sort_keys=True)})
    target.chmod(0o644)
    size = target.stat().st_size
    if size > LARGEST:
        target.unlink()
        raise InputError(f"{source}: {size / 1e6:.2f} MB in half precision, expected at most {LARGEST / 1e6:.0f} MB")
    return target


def _halved(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name: (value.half() if value.is_floating_point() else value).contiguous() for name, value in tensors.items()
    }


def _own(metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Data below this folder named as the spec names it: the rest of its path is the machine's own."""
    here = f"{Path.cwd()}/"
    return {name: value.replace(here, "") if isinstance(value, str) else value for name, value in metadata.items()}


def _scenes(given: Sequence[str]) -> str | dict[str, str]:
    """``1000+1600``, or by stream where each is named: ``a=1000+1600``."""
    return dict(each.split("=", 1) for each in given) if all("=" in each for each in given) else " ".join(given)


def _read(source: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    if not source.is_file():
        raise InputError(f"{source}: no such file")
    if not is_safetensors(source):
        content = read_pickle(source)
        block = content.get("0") if isinstance(content, dict) else None
        if not isinstance(block, dict) or not all(isinstance(value, torch.Tensor) for value in block.values()):
            raise InputError(f"{source}: expected safetensors, or a DeltaBlock file with a state dict under '0'")
        return block, {}
    try:
        with safe_open(source, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError as error:
        raise InputError(f"{source}: cannot be read ({error})") from None


def main() -> None:
    parser = argparse.ArgumentParser(description="Put a trained file of tensors among the bundled weights.")
    parser.add_argument("model", type=Path)
    parser.add_argument("name")
    parser.add_argument("--commit", required=True, help="of the code that trained it")
    parser.add_argument(
        "--scenes", nargs="+", required=True, metavar="[STREAM=]FIRST+COUNT", help="seeds of the scenes trained on"
    )
    parser.add_argument("--scores", type=Path, help="JSON, such as benchmarks/street_models.py --json writes")
    parser.add_argument("--recipe", help="what the file's own spec does not say, such as earlier stages")
    args = parser.parse_args()
    about: dict[str, Any] = {"commit": args.commit, "scenes": _scenes(args.scenes)}
    if args.scores:
        about["scores"] = json.loads(args.scores.read_text())
    if args.recipe:
        about["recipe"] = args.recipe
    try:
        path = bundle(args.model, BUNDLED / args.name / "model.safetensors", about)
    except InputError as error:
        raise SystemExit(f"error: {error}") from None
    print(f"{path}: {path.stat().st_size / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
