"""Files of weights that name others beside them: graph models of TensorFlow.js, a ``.json`` with its binary files.

Whoever fetches such a file, or asks for its identity, means all of them. Imports no torch.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from methods.errors import InputError
from methods.weights.hub import model_files

LARGEST_GRAPH = 64 << 20
"""Bytes of the ``.json`` of a graph model at most; its weights lie elsewhere."""


def read_graph(path: Path) -> dict[str, Any] | None:
    """The tree of a graph model's ``.json``; ``None`` for any other file.

    Raises:
        InputError: it cannot be read.
    """
    if path.suffix != ".json":
        return None
    try:
        if path.stat().st_size > LARGEST_GRAPH:
            return None
        tree = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from None
    except (ValueError, RecursionError):
        return None
    return tree if isinstance(tree, dict) and tree.keys() >= {"modelTopology", "weightsManifest"} else None


def graph_file(path: Path) -> Path | None:
    """The ``.json`` of the graph model that a file or a folder is; ``None`` if it is none.

    A folder with files of a model of diffusers or transformers is that model, whatever else lies there.

    Raises:
        InputError: a folder with several, or what cannot be read.
    """
    if path.is_file():
        return path if read_graph(path) is not None else None
    if model_files(path):
        return None
    found = [each for each in sorted(path.glob("*.json")) if each.is_file() and read_graph(each) is not None]
    if len(found) > 1:
        names = ", ".join(each.name for each in found[:3]) + (", ..." if len(found) > 3 else "")
        raise InputError(f"{path}: several graph models of TensorFlow.js ({names}): name the .json of one")
    return found[0] if found else None


def beside(path: Path) -> tuple[str, ...]:
    """The names of the files that a file of weights names beside itself, in their order; none for most files.

    Raises:
        InputError: a name that is no plain file name, or no list of names at all.
    """
    tree = read_graph(path)
    if tree is None:
        return ()
    try:
        names = [name for group in tree["weightsManifest"] for name in group["paths"]]
    except (TypeError, KeyError):
        raise InputError(f"{path}: weightsManifest is no list of groups with paths") from None
    for name in names:
        if not isinstance(name, str) or name in ("", ".", "..") or set(name) & {"/", "\\", "\0"}:
            raise InputError(f"{path}: weightsManifest names '{name}', which is no file beside it")
    return tuple(dict.fromkeys(names))
