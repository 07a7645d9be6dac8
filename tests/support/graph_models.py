"""Graph models of TensorFlow.js, written by hand for tests."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

FLOAT, INT, BOOL = ({"type": name} for name in ("DT_FLOAT", "DT_INT32", "DT_BOOL"))
Node = dict[str, Any]


def node(name: str, op: str, inputs: Sequence[str] = (), **attributes: Any) -> Node:
    """A node; attributes in the terms of TensorFlow.js."""
    return {"name": name, "op": op, "input": list(inputs), "attr": attributes}


def shape(sides: Sequence[int]) -> dict[str, Any]:
    """A shape; that of one number has no ``dim``."""
    return {"dim": [{"size": str(side)} for side in sides]} if sides else {}


def placeholder(name: str, sides: Sequence[int]) -> Node:
    """An input in float32."""
    return node(name, "Placeholder", dtype=FLOAT, shape={"shape": shape(sides)})


def word(text: str) -> dict[str, Any]:
    """A word as an attribute."""
    return {"s": base64.b64encode(text.encode()).decode()}


def words(*texts: str) -> dict[str, Any]:
    """Several."""
    return {"list": {"s": [word(text)["s"] for text in texts]}}


def whole(*numbers: int) -> dict[str, Any]:
    """Whole numbers as an attribute."""
    return {"list": {"i": [str(number) for number in numbers]}}


def constant(name: str, values: np.ndarray) -> Node:
    """The node of a constant."""
    kind = FLOAT if values.dtype == np.float32 else INT
    tensor = {"dtype": kind["type"], "tensorShape": shape(values.shape)}
    return node(name, "Const", dtype=kind, value={"tensor": tensor})


def write_graph(
    path: Path, nodes: Sequence[Node], constants: Mapping[str, np.ndarray], halves: bool = False, parts: int = 1
) -> Path:
    """A ``.json`` with its constants, float32 or int32, in ``parts`` binary files beside it."""
    data, weights = b"", []
    for name, values in constants.items():
        entry: dict[str, Any] = {"name": name, "shape": list(values.shape), "dtype": values.dtype.name}
        if halves and values.dtype == np.float32:
            entry["quantization"] = {"dtype": "float16", "original_dtype": "float32"}
            values = values.astype(np.float16)
        data += values.tobytes()
        weights.append(entry)
    names = [f"{path.stem}-{number}.bin" for number in range(parts)]
    size = -(-len(data) // parts)
    for number, name in enumerate(names):
        (path.parent / name).write_bytes(data[number * size : (number + 1) * size])
    every = [*nodes, *(constant(name, values) for name, values in constants.items())]
    tree = {
        "format": "graph-model",
        "modelTopology": {"node": every, "library": {}, "versions": {}},
        "weightsManifest": [{"paths": names, "weights": weights}],
    }
    path.write_text(json.dumps(tree))
    return path
