"""Put a trained file of tensors among the bundled weights: in half precision, with its origin and scores inside.

    python -m methods.train.bundle MODEL NAME --commit HASH --scenes 1000+1600 [--scores SCORES.json] [--recipe TEXT]

MODEL is what a training of ``ddpm``, ``clip``, ``text_to_image``, ``piti_base`` or ``asyrp_delta`` has written. What
its metadata says already (spec, steps, configuration) stays. Turbo files have a format of their own:
``methods.train.turbo.bundle``.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from methods.errors import InputError
from methods.nn.tensor_file import is_safetensors, read_pickle
from methods.weights import BUNDLED

LARGEST = 6_000_000
"""Bytes of one bundled file at most."""


def bundle(source: Path, target: Path, about: dict[str, Any]) -> Path:
    """Write ``source`` to ``target`` as float16 safetensors, with ``about`` (JSON) in its metadata.

    Raises:
        InputError: not a file of tensors, or too large for the package.
    """
    tensors, metadata = _read(source)
    halves = {
        name: (value.half() if value.is_floating_point() else value).contiguous() for name, value in tensors.items()
    }
    # data below this folder is named as the spec names it: the rest of its path is the machine's own
    own = {name: value.replace(f"{Path.cwd()}/", "") for name, value in metadata.items()}
    target.parent.mkdir(parents=True, exist_ok=True)
    save_file(halves, target, {**own, "origin": json.dumps(about, sort_keys=True)})
    target.chmod(0o644)
    size = target.stat().st_size
    if size > LARGEST:
        target.unlink()
        raise InputError(f"{source}: {size / 1e6:.2f} MB in half precision, expected at most {LARGEST / 1e6:.0f} MB")
    return target


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
    parser.add_argument("--scenes", required=True, metavar="FIRST+COUNT", help="seeds trained on")
    parser.add_argument("--scores", type=Path, help="JSON")
    parser.add_argument("--recipe", help="what the file's own spec does not say")
    args = parser.parse_args()
    about: dict[str, Any] = {"commit": args.commit, "scenes": args.scenes}
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
