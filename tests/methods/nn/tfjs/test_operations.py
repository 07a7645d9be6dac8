"""Each kind of operation of a graph model against torch's own result, a naive one, or one made by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from methods.nn.tfjs.graph import GraphModel
from methods.nn.tfjs.operations import OPERATIONS
from tests.support.graph_models import BOOL, FLOAT, INT, Node, node, placeholder, whole, word, words, write_graph

NHWC = {"data_format": word("NHWC"), "explicit_paddings": {"list": {}}}
ONES = whole(1, 1, 1, 1)


def computed(
    nodes: Sequence[Node], constants: Mapping[str, np.ndarray], wanted: str, **inputs: np.ndarray
) -> np.ndarray:
    """The first output of a node of a graph with these inputs."""
    with TemporaryDirectory() as folder:
        places = [placeholder(name, values.shape) for name, values in inputs.items()]
        path = write_graph(Path(folder) / "model.json", [*places, *nodes], constants)
        model = GraphModel(path, torch.device("cpu"))
        (found,) = model.run({name: torch.from_numpy(values) for name, values in inputs.items()}, [wanted])
    assert model.shape(wanted) == tuple(found.shape)
    return found.numpy()


def numbers(*sides: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=sides).astype(np.float32)


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int32)


def one(value: int) -> np.ndarray:
    return np.array(value, np.int32)


def naive(images: np.ndarray, kernel: np.ndarray, strides: tuple[int, int], same: bool, depthwise: bool) -> np.ndarray:
    """A convolution in plain loops, as TensorFlow's guide on padding writes it."""
    batch, *sides, _ = images.shape
    after, before = [], []
    for side, length, step in zip(kernel.shape[:2], sides, strides, strict=True):
        after.append(-(-length // step) if same else -(-(length - side + 1) // step))
        before.append(max((after[-1] - 1) * step + side - length, 0) // 2 if same else 0)
    leaving = kernel.shape[2] * kernel.shape[3] if depthwise else kernel.shape[3]
    found = np.zeros((batch, *after, leaving))
    for row in range(after[0]):
        for column in range(after[1]):
            for y in range(kernel.shape[0]):
                for x in range(kernel.shape[1]):
                    at = (row * strides[0] + y - before[0], column * strides[1] + x - before[1])
                    if not (0 <= at[0] < sides[0] and 0 <= at[1] < sides[1]):
                        continue
                    pixel = images[:, at[0], at[1], :].astype(np.float64)
                    if depthwise:
                        found[:, row, column] += (pixel[:, :, None] * kernel[y, x]).reshape(batch, -1)
                    else:
                        found[:, row, column] += pixel @ kernel[y, x]
    return found


@given(
    st.tuples(*[st.integers(1, 9)] * 2),
    st.tuples(*[st.integers(1, 5)] * 2),
    st.tuples(*[st.integers(1, 4)] * 2),
    st.booleans(),
    st.sampled_from(["Conv2D", "DepthwiseConv2dNative", "_FusedConv2D", "FusedDepthwiseConv2dNative"]),
    st.sampled_from([("BiasAdd",), ("BiasAdd", "Relu"), ("BiasAdd", "Relu6")]),
    st.integers(0, 1000),
)
def test_convolutions(
    sides: tuple[int, int],
    window: tuple[int, int],
    strides: tuple[int, int],
    same: bool,
    op: str,
    steps: tuple[str, ...],
    seed: int,
) -> None:
    if not same:
        sides = (max(sides[0], window[0]), max(sides[1], window[1]))
    depthwise, fused = "Depthwise" in op, "Fused" in op
    images, kernel = numbers(2, *sides, 3, seed=seed), numbers(*window, 3, 2, seed=seed + 1)
    expected = naive(images, kernel, strides, same, depthwise)
    constants, more, given = {"kernel": kernel}, {}, ["x", "kernel"]
    if fused:
        constants["bias"] = 3 * numbers(expected.shape[-1], seed=seed + 2)
        more = {"fused_ops": words(*steps), "num_args": {"i": "1"}, "epsilon": {"f": 0}}
        expected = expected + constants["bias"]
        given.append("bias")
        if len(steps) == 2:
            expected = expected.clip(0, 6 if steps[1] == "Relu6" else None)
    made = node(
        "out",
        op,
        given,
        T=FLOAT,
        strides=whole(1, *strides, 1),
        dilations=ONES,
        padding=word("SAME" if same else "VALID"),
        **NHWC,
        **more,
    )
    found = computed([made], constants, "out", x=images)
    assert found.shape == expected.shape
    assert found == pytest.approx(expected, abs=2e-5)


@given(
    st.tuples(*[st.integers(1, 9)] * 2),
    st.tuples(*[st.integers(1, 4)] * 2),
    st.tuples(*[st.integers(1, 4)] * 2),
    st.booleans(),
)
def test_max_pool(sides: tuple[int, int], window: tuple[int, int], strides: tuple[int, int], same: bool) -> None:
    if not same:
        sides = (max(sides[0], window[0]), max(sides[1], window[1]))
    images = numbers(2, *sides, 3) - 5  # all below the zeros that a wrong margin would bring in
    made = node(
        "out",
        "MaxPool",
        ["x"],
        T=FLOAT,
        ksize=whole(1, *window, 1),
        strides=whole(1, *strides, 1),
        padding=word("SAME" if same else "VALID"),
        **NHWC,
    )
    found = computed([made], {}, "out", x=images)
    after, before = [], []
    for side, length, step in zip(window, sides, strides, strict=True):
        after.append(-(-length // step) if same else (length - side) // step + 1)
        before.append(max((after[-1] - 1) * step + side - length, 0) // 2 if same else 0)
    assert found.shape == (2, *after, 3)
    for row in range(after[0]):
        for column in range(after[1]):
            top, left = row * strides[0] - before[0], column * strides[1] - before[1]
            seen = images[:, max(0, top) : top + window[0], max(0, left) : left + window[1]]
            assert np.array_equal(found[:, row, column], seen.max(axis=(1, 2)))


def test_resize_without_half_pixel_centres() -> None:
    """By hand: doubled, every second pixel is the mean of its neighbours, and the last repeats."""
    plain = {"T": FLOAT, "align_corners": {"b": False}, "half_pixel_centers": {"b": False}}
    row = np.array([0.0, 2.0, 6.0], np.float32).reshape(1, 1, 3, 1)
    made = node("out", "ResizeBilinear", ["x", "size"], **plain)
    found = computed([made], {"size": ints(2, 6)}, "out", x=row)
    assert found[0, :, :, 0].tolist() == [[0, 1, 2, 4, 6, 6]] * 2
    smaller = computed([made], {"size": ints(1, 2)}, "out", x=row)
    assert smaller[0, :, :, 0].tolist() == [[0, 4]]
    same = numbers(2, 4, 5, 3)
    assert np.array_equal(computed([made], {"size": ints(4, 5)}, "out", x=same), same)


ELEMENTS: dict[str, Any] = {
    "Add": lambda a, b: a + b,
    "Sub": lambda a, b: a - b,
    "Mul": lambda a, b: a * b,
    "FloorDiv": lambda a, b: np.floor(a / b),
    "FloorMod": lambda a, b: a - np.floor(a / b) * b,
}


@pytest.mark.parametrize("op", ELEMENTS)
def test_two_tensors_element_by_element_with_broadcasting(op: str) -> None:
    first, second = numbers(2, 3, 4), numbers(3, 1, seed=1)
    found = computed([node("out", op, ["x", "y"], T=FLOAT)], {"y": second}, "out", x=first)
    assert found == pytest.approx(ELEMENTS[op](first, second), abs=1e-5)


@pytest.mark.parametrize(("op", "expected"), [("FloorDiv", [-3, 2, -3, 2]), ("FloorMod", [1, 1, -1, -1])])
def test_whole_numbers_are_divided_towards_minus_infinity(op: str, expected: list[int]) -> None:
    constants = {"a": ints(-5, 5, 5, -5), "b": ints(2, 2, -2, -2)}
    nodes = [node("out", op, ["a", "b"], T=INT)]
    found = computed(nodes, constants, "out", x=numbers(1))
    assert found.dtype == np.int32
    assert found.tolist() == expected


@pytest.mark.parametrize(
    ("op", "expected"), [("Relu", F.relu), ("Relu6", F.relu6), ("Sigmoid", torch.sigmoid), ("Identity", lambda x: x)]
)
def test_one_tensor_element_by_element(op: str, expected: Any) -> None:
    given = 5 * numbers(3, 7)
    found = computed([node("out", op, ["x"], T=FLOAT)], {}, "out", x=given)
    assert np.array_equal(found, expected(torch.from_numpy(given)).numpy())


def test_mean_concat_reshape_expand() -> None:
    given, other = numbers(2, 3, 4, 5), numbers(2, 3, 4, 2, seed=1)
    index = {"T": FLOAT, "Tidx": INT}
    axes = {"axes": ints(1, 2)}
    kept = computed([node("out", "Mean", ["x", "axes"], keep_dims={"b": True}, **index)], axes, "out", x=given)
    assert kept == pytest.approx(given.mean(axis=(1, 2), keepdims=True), abs=1e-6)
    gone = computed([node("out", "Mean", ["x", "axes"], keep_dims={"b": False}, **index)], axes, "out", x=given)
    assert gone.shape == (2, 5)
    joined = node("out", "ConcatV2", ["x", "y", "axis"], N={"i": "2"}, **index)
    found = computed([joined], {"axis": one(-1)}, "out", x=given, y=other)
    assert np.array_equal(found, np.concatenate([given, other], axis=-1))
    flat = node("out", "Reshape", ["x", "sides"], T=FLOAT, Tshape=INT)
    assert np.array_equal(computed([flat], {"sides": ints(6, -1)}, "out", x=given), given.reshape(6, -1))
    wider = node("out", "ExpandDims", ["x", "axis"], T=FLOAT, Tdim=INT)
    assert computed([wider], {"axis": one(1)}, "out", x=given).shape == (2, 1, 3, 4, 5)
    assert computed([wider], {"axis": one(-1)}, "out", x=given).shape == (2, 3, 4, 5, 1)


def test_equal_and_cast() -> None:
    given = np.array([1.0, 2.0, 3.0], np.float32)
    nodes = [
        node("same", "Equal", ["x", "y"], T=FLOAT, incompatible_shape_error={"b": True}),
        node("out", "Cast", ["same"], SrcT=BOOL, DstT=FLOAT, Truncate={"b": False}),
        node("cut", "Cast", ["x"], SrcT=FLOAT, DstT=INT),
    ]
    other = {"y": np.array([1.0, 5.0, 3.0], np.float32)}
    found = computed(nodes, other, "out", x=given)
    assert found.dtype == np.float32
    assert found.tolist() == [1, 0, 1]
    assert computed(nodes, other, "cut", x=given - np.float32(3.5)).tolist() == [-2, -1, 0]


def test_the_largest_of_equal_ones_are_the_first() -> None:
    given = np.array([[1, 7, 3, 7, 7], [5, 5, 9, 0, 5]], np.float32)
    top = node("top", "TopKV2", ["x", "count"], T=FLOAT, sorted={"b": True})
    second = node("out", "Mul", ["top:1", "by"], T=INT)
    constants = {"count": one(3), "by": ints(10)}
    assert computed([top, second], constants, "top", x=given).tolist() == [[7, 7, 7], [9, 5, 5]]
    assert computed([top, second], constants, "out", x=given).tolist() == [[10, 30, 40], [20, 0, 10]]


def test_gather() -> None:
    given = numbers(3, 4, 2)
    made = node("out", "GatherV2", ["x", "at", "axis"], Tparams=FLOAT, Tindices=INT, Taxis=INT, batch_dims={"i": "0"})
    at = np.array([[2, 0], [3, 3]], np.int32)
    for axis in (1, -2):
        found = computed([made], {"at": at, "axis": one(axis)}, "out", x=given)
        assert np.array_equal(found, np.take(given, at, axis=axis))


def test_strided_slice() -> None:
    given = numbers(4, 5, 6)

    def cut(**masks: int) -> Node:
        every = dict.fromkeys(("begin_mask", "end_mask", "ellipsis_mask", "new_axis_mask", "shrink_axis_mask"), 0)
        said = {name: {"i": str(value)} for name, value in (every | masks).items()}
        return node("out", "StridedSlice", ["x", "begin", "end", "step"], T=FLOAT, Index=INT, **said)

    constants = {"begin": ints(1, -4, 2), "end": ints(3, 99, -1), "step": ints(1, 2, 1)}
    assert np.array_equal(computed([cut()], constants, "out", x=given), given[1:3, -4:99:2, 2:-1])
    found = computed([cut(begin_mask=3, end_mask=5)], constants, "out", x=given)
    assert np.array_equal(found, given[:, :99:2, 2:])


def test_every_kind_is_tested_here() -> None:
    text = Path(__file__).read_text()
    assert [op for op in OPERATIONS if f'"{op}"' not in text] == []
