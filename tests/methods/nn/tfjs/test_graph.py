"""Graph models as files: weights, order, batches, and every wrong claim refused in one line before it takes memory."""

from __future__ import annotations

import json
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from methods.errors import InputError
from methods.nn.tfjs.graph import GraphModel
from tests.support.graph_models import FLOAT, INT, node, placeholder, shape, whole, word, write_graph

CPU = torch.device("cpu")
WEIGHTS = {
    "kernel": np.random.default_rng(0).normal(size=(3, 3, 2, 4)).astype(np.float32),
    "size": np.array([8, 8], np.int32),
}
NODES = [
    # later nodes first: the order in the file says nothing
    node("out", "Relu", ["larger"], T=FLOAT),
    node(
        "larger",
        "ResizeBilinear",
        ["conv", "size"],
        T=FLOAT,
        align_corners={"b": False},
        half_pixel_centers={"b": False},
        _output_shapes={"list": {}},
    ),
    node(
        "conv",
        "Conv2D",
        ["x", "kernel"],
        T=FLOAT,
        strides=whole(1, 1, 1, 1),
        padding=word("SAME"),
        data_format=word("NHWC"),
        use_cudnn_on_gpu={"b": True},
    ),
    placeholder("x", (1, 4, 4, 2)),
]


def written(folder: Path, **how: Any) -> Path:
    return write_graph(folder / "model.json", NODES, WEIGHTS, **how)


def test_weights_in_several_files_and_a_batch(tmp_path: Path) -> None:
    (tmp_path / "parts").mkdir()
    model = GraphModel(written(tmp_path), CPU)
    parts = GraphModel(written(tmp_path / "parts", parts=3), CPU)
    assert model.inputs == {"x": (1, 4, 4, 2)}
    assert model.shape("out") == (1, 8, 8, 4)
    assert model.shape("nothing") is None
    batch = torch.randn(3, 4, 4, 2, generator=torch.Generator().manual_seed(1))
    (found,) = model.run({"x": batch}, ["out"])
    assert found.shape == (3, 8, 8, 4)
    assert torch.equal(found, parts.run({"x": batch}, ["out"])[0])
    for number in range(3):
        alone, conv, kernel = model.run({"x": batch[number : number + 1]}, ["out", "conv", "kernel"])
        assert torch.allclose(alone[0], found[number], atol=1e-6)
        assert torch.equal(alone[0, ::2, ::2], conv[0].relu())
        assert np.array_equal(kernel.numpy(), WEIGHTS["kernel"])


def test_halves_are_widened(tmp_path: Path) -> None:
    model = GraphModel(written(tmp_path, halves=True), CPU)
    (kernel,) = model.run({"x": torch.zeros(1, 4, 4, 2)}, ["kernel"])
    assert kernel.dtype == torch.float32
    assert np.array_equal(kernel.numpy(), WEIGHTS["kernel"].astype(np.float16).astype(np.float32))


def at(tree: Any, name: str) -> Any:
    return next(each for each in tree["modelTopology"]["node"] if each["name"] == name)


def attribute(name: str, key: str, value: Any) -> Callable[[Any], None]:
    return lambda tree: at(tree, name)["attr"].__setitem__(key, value)


def sides(*lengths: int) -> dict[str, Any]:
    return {"shape": shape(lengths)}


def put(name: str, key: str, value: Any) -> Callable[[Any], None]:
    return lambda tree: at(tree, name).__setitem__(key, value)


def weight(key: str, value: Any) -> Callable[[Any], None]:
    return lambda tree: tree["weightsManifest"][0]["weights"][0].__setitem__(key, value)


def add(*nodes: Any) -> Callable[[Any], None]:
    return lambda tree: tree["modelTopology"]["node"].extend(nodes)


HUGE = [node(f"more{n}", "ConcatV2", [f"more{n - 1}" if n else "out"] * 2 + ["axis"], T=FLOAT, Tidx=INT, N={"i": "2"})
        for n in range(40)]  # fmt: skip
DEFECTS: list[tuple[Callable[[Any], None], str]] = [
    (put("out", "op", "Reluu"), r"node 'out' \(Reluu\): the operation is not known, did you mean 'Relu'"),
    (put("out", "input", ["larger", "conv"]), r"takes 1 input, and has 2"),
    (put("out", "input", ["nowhere"]), r"takes 'nowhere', and there is no such node"),
    (put("out", "input", ["larger:1"]), r"takes output 1 of 'larger', which has no such"),
    (put("out", "input", ["larger:x"]), r"takes 'larger:x'"),
    (put("conv", "input", ["out", "kernel"]), r"waits for its own result"),
    (put("conv", "input", ["x", "x"]), r"takes 'x', where only a constant is read"),
    (put("larger", "input", ["conv", "kernel"]), r"where whole numbers belong"),
    (put("x", "input", ["kernel"]), r"takes an input"),
    (attribute("out", "alpha", {"f": 0.2}), r"unknown attribute 'alpha'"),
    (attribute("out", "T", {"type": "DT_INT32"}), r"T torch.int32, and it is given torch.float32"),
    (attribute("out", "T", {"type": "DT_HALF"}), r"T 'DT_HALF', and only DT_FLOAT, DT_INT32, DT_BOOL are read"),
    (attribute("conv", "dilations", whole(1, 2, 2, 1)), r"dilations \(1, 2, 2, 1\), and only \(1, 1, 1, 1\) is read"),
    (attribute("conv", "data_format", word("NCHW")), r"data_format 'NCHW', and only 'NHWC' is read"),
    (attribute("conv", "padding", word("EXPLICIT")), r"padding 'EXPLICIT'"),
    (attribute("conv", "padding", {"s": "?"}), r"no text in base64"),
    (attribute("conv", "strides", whole(2, 1, 1, 1)), r"strides \(2, 1, 1, 1\)"),
    (attribute("conv", "strides", {"list": {"i": ["one"]}}), r"'one', which is no whole number"),
    (attribute("conv", "strides", {"i": "1"}), r"strides is missing or of another kind"),
    (attribute("larger", "half_pixel_centers", {"b": True}), r"half_pixel_centers True, and only False is read"),
    (attribute("x", "shape", sides(-1)), r"only closed float32 is read"),
    (attribute("x", "shape", sides(1, 90000, 90000, 2)), r"1 x 90000"),
    (attribute("x", "shape", sides(1, 4, 4, 3)), r"3 channels meet"),
    (attribute("kernel", "dtype", {"type": "DT_INT32"}), r"weightsManifest has torch.float32"),
    (weight("name", "kernels"), r"node 'kernel' \(Const\): weightsManifest does not list it"),
    (weight("shape", [3, 3, 2, 5]), r"its weights take 368 bytes, and model-0.bin has 296"),
    (weight("shape", [3, 3, 4, 2]), r"of \(3, 3, 2, 4\), and weightsManifest has torch.float32 of \(3, 3, 4, 2\)"),
    (weight("shape", [10**12, 10**12]), r"its weights take 4,000,000,000,000,000,000,000,008 bytes"),
    (weight("shape", [-1]), r"greater than or equal to 0"),
    (weight("dtype", "string"), r"weightsManifest.0.weights.0.dtype"),
    (weight("quantization", {"dtype": "uint8", "scale": 0.1, "min": 0}), r"'float16' \(got uint8\)"),
    (lambda tree: tree["weightsManifest"][0]["paths"].__setitem__(0, "../model-0.bin"), r"no file beside it"),
    (lambda tree: tree["weightsManifest"][0]["paths"].__setitem__(0, "other.bin"), r"other.bin, .* cannot be read"),
    (lambda tree: tree["weightsManifest"][0]["weights"].append({"name": "empty", "shape": [0], "dtype": "int32"}),
     r"lists 'empty', which is no constant"),
    (lambda tree: tree["weightsManifest"][0]["weights"].append({"name": "size", "shape": [0], "dtype": "int32"}),
     r"lists 'size' twice"),
    (lambda tree: tree.__setitem__("weightsManifest", 7), r"weightsManifest"),
    (lambda tree: tree["modelTopology"].__setitem__("node", {}), r"modelTopology.node"),
    (lambda tree: tree.__setitem__("modelTopology", []), r"modelTopology is no graph"),
    (lambda tree: tree["modelTopology"].__setitem__("library", {"function": [{}]}), r"functions of its own"),
    (add(node("out", "Relu", ["conv"], T=FLOAT)), r"two nodes are called 'out'"),
    (add(node("odd", "Add", ["x", "out"], T=FLOAT)), r"node 'odd' \(Add\): .*broadcast"),
]  # fmt: skip


@pytest.mark.parametrize(("damage", "says"), DEFECTS, ids=[says[:40] for _, says in DEFECTS])
def test_what_does_not_fit_is_one_line(damage: Callable[[Any], None], says: str, tmp_path: Path) -> None:
    path = written(tmp_path)
    tree = json.loads(path.read_text())
    damage(tree)
    path.write_text(json.dumps(tree))
    with pytest.raises(InputError, match=says) as error:
        GraphModel(path, CPU)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(str(path))


@pytest.mark.parametrize("left", [0, 1, 100, 295])
def test_a_file_of_weights_that_breaks_off(left: int, tmp_path: Path) -> None:
    path = written(tmp_path)
    numbers = tmp_path / "model-0.bin"
    numbers.write_bytes(numbers.read_bytes()[:left])
    with pytest.raises(InputError, match=f"its weights take 296 bytes, and model-0.bin has {left}"):
        GraphModel(path, CPU)


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, '{"modelTopology": {}}', "\x00" * 50])
def test_no_graph_at_all(text: str, tmp_path: Path) -> None:
    path = tmp_path / "model.json"
    path.write_text(text)
    with pytest.raises(InputError, match=r"no graph model of TensorFlow\.js"):
        GraphModel(path, CPU)


def big(op: str, inputs: list[str], **attributes: Any) -> list[Any]:
    return [node("big", op, inputs, T=FLOAT, **attributes)]


FALSE = {"align_corners": {"b": False}, "half_pixel_centers": {"b": False}}
POOL = {"strides": whole(1, 1, 1, 1), "padding": word("SAME"), "data_format": word("NHWC")}
CLAIMS = [
    (HUGE, {"axis": np.array(1, np.int32)}),
    (big("ResizeBilinear", ["out", "much"], **FALSE), {"much": np.array([100_000, 100_000], np.int32)}),
    (big("ResizeBilinear", ["out", "much"], **FALSE), {"much": np.array([2_000_000_000, 1], np.int32)}),
    (big("MaxPool", ["out"], ksize=whole(1, 100_000, 100_000, 1), **POOL), {}),
    (
        [node("big", "GatherV2", ["line", "many", "axis"], Tparams=FLOAT, Tindices=INT, Taxis=INT)],
        {"line": np.zeros((70_000, 1), np.float32), "many": np.zeros(70_000, np.int32), "axis": np.array(1, np.int32)},
    ),
    (
        [node("big", "Mul", ["line", "row"], T=FLOAT)],
        {"line": np.zeros((70_000, 1), np.float32), "row": np.zeros((1, 70_000), np.float32)},
    ),
]


@pytest.mark.parametrize(("nodes", "constants"), CLAIMS, ids=["concat", "area", "side", "window", "gather", "product"])
def test_claims_of_huge_tensors_take_no_memory(nodes: list[Any], constants: dict[str, Any], tmp_path: Path) -> None:
    path = write_graph(tmp_path / "model.json", [*NODES, *nodes], WEIGHTS | constants)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=r"a tensor of [\d x]+ numbers"):
        GraphModel(path, CPU)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KB
