"""Put a trained Turbo file among the bundled weights: in half precision, with its scores and its origin inside.

    python -m methods.train.turbo.bundle MODEL.safetensors NAME --commit HASH --seeds a=1000000+1500 b=2000000+1500
        --scores SCORES.json

The file's metadata already has spec, fingerprint and steps from the training that wrote it.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from methods.errors import InputError
from methods.turbo.native import read_native, save_native
from methods.weights import BUNDLED


def bundle(source: Path, target: Path, about: dict[str, Any]) -> Path:
    """Write ``source`` to ``target`` in float16, with ``about`` added to its metadata.

    Raises:
        InputError: not one of our Turbo files.
    """
    for method in ("cyclegan_turbo", "pix2pix_turbo"):
        try:
            config, tensors = read_native(source, method)
            break
        except InputError as error:
            problem = error
    else:
        raise problem
    # data below this folder is named as the spec names it: the rest of its path is the machine's own
    own = {name: _relative(value) for name, value in config.about.items()}
    halves = {name: value.to(torch.float16) if value.is_floating_point() else value for name, value in tensors.items()}
    target.parent.mkdir(parents=True, exist_ok=True)
    save_native(target, replace(config, about={**own, **about}), halves)
    return target


def _relative(value: Any) -> Any:
    return value.replace(f"{Path.cwd()}/", "") if isinstance(value, str) else value


def main() -> None:
    parser = argparse.ArgumentParser(description="Put a trained Turbo file among the bundled weights.")
    parser.add_argument("model", type=Path)
    parser.add_argument("name")
    parser.add_argument("--commit", required=True, help="of the code that trained it")
    parser.add_argument("--seeds", nargs="+", required=True, metavar="STREAM=FIRST+COUNT", help="scenes trained on")
    parser.add_argument("--scores", type=Path, required=True, help="what benchmarks/street_models.py --json wrote")
    parser.add_argument("--recipe", help="what the file's own spec does not say, such as earlier stages")
    args = parser.parse_args()
    about = {"commit": args.commit, "scenes": dict(each.split("=", 1) for each in args.seeds)}
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
