"""A graph model of TensorFlow.js in torch: nodes in order, shapes known before anything is computed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, TypeAdapter, ValidationError
from torch import Tensor

from methods.counting import counted
from methods.errors import InputError, first_line
from methods.nn.tfjs.attributes import Attributes
from methods.nn.tfjs.operations import LARGEST, OPERATIONS, Apply
from methods.nn.tfjs.weights import read_weights
from methods.plugins import nearest
from methods.weights.beside import read_graph

_ALL_TOGETHER = 4 * LARGEST
"""Numbers in all tensors of a graph at most (4 GiB in float32)."""


class _Node(BaseModel):
    name: str
    op: str
    input: list[str] = []
    attr: dict[str, Any] = {}


_NODES = TypeAdapter(list[_Node])


@dataclass(frozen=True)
class _Step:
    """One operation: the tensors it takes (node and number of its output), and what it computes."""

    name: str
    takes: tuple[tuple[str, int], ...]
    apply: Apply


class GraphModel:
    """The network of a graph model's ``.json``, frozen on a device.

    Everything is checked when it is loaded: each operation, each attribute, the size of each weight, and by a run
    without numbers the shape of each tensor, so that no claim of a file takes memory.

    Args:
        path: the ``.json``, its binary files beside it.

    Raises:
        InputError: not such a file, or anything in it that is not known or does not fit: nothing is left out.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        tree = read_graph(path)
        if tree is None:
            raise InputError(f"{path}: no graph model of TensorFlow.js")
        self._path = path
        self._nodes = _nodes(path, tree["modelTopology"])
        self._weights = read_weights(path, tree["weightsManifest"])
        self.inputs: dict[str, tuple[int, ...]] = {}
        """The shape that each placeholder declares, by its name."""
        self._order = _ordered(path, self._nodes)
        self._check_constants()
        self._shapes: dict[str, tuple[tuple[int, ...], ...]] = {}
        self._try(self._built(torch.device("meta")))
        self._steps = {step.name: step for step in self._built(device)}
        self._constants = {name: tensor.to(device) for name, tensor in self._weights.items()}

    def shape(self, name: str) -> tuple[int, ...] | None:
        """The shape of a node's first output for inputs of the declared shapes; ``None`` if there is no such node."""
        found = self._shapes.get(name)
        return found[0] if found else None

    @property
    def names(self) -> tuple[str, ...]:
        """Of all nodes, each after those that it takes."""
        return self._order

    @torch.inference_mode()
    def run(self, inputs: Mapping[str, Tensor], wanted: Sequence[str]) -> list[Tensor]:
        """The first outputs of the wanted nodes.

        Args:
            inputs: by placeholder, of the declared shape and type; the first axis may be longer, then it is that of
                the outputs too, as far as the graph does not name sizes itself.
            wanted: names of nodes.

        Raises:
            KeyError: no such node, or an input that is missing.
        """
        steps = self._needed(wanted)
        # what a step is the last to take makes room
        last = {at: number for number, step in enumerate(steps) for at in step.takes}
        values = {(name, 0): tensor for name, tensor in self._constants.items()}
        values |= {(name, 0): inputs[name] for name in self.inputs}
        for number, step in enumerate(steps):
            given = [values[at] for at in step.takes]
            for place, tensor in enumerate(step.apply(given)):
                values[step.name, place] = tensor
            for at in step.takes:
                if last[at] == number and at[0] not in wanted:
                    values.pop(at, None)
            del given
        return [values[name, 0] for name in wanted]

    def _needed(self, wanted: Sequence[str]) -> list[_Step]:
        waiting, needed = list(wanted), set[str]()
        while waiting:
            name = waiting.pop()
            if name in self._steps and name not in needed:
                needed.add(name)
                waiting += [source for source, _ in self._steps[name].takes]
        return [self._steps[name] for name in self._order if name in needed]

    def _check_constants(self) -> None:
        for node in self._nodes.values():
            if node.op not in ("Const", "Placeholder"):
                continue
            with _Plain(self._path, node):
                attributes = Attributes(node.attr)
                dtype = attributes.dtype("dtype")
                if node.input:
                    raise ValueError("takes an input")
                if node.op == "Placeholder":
                    self.inputs[node.name] = attributes.shape("shape")
                    if dtype != torch.float32 or min(self.inputs[node.name], default=1) < 1:
                        raise ValueError(f"{dtype} of shape {self.inputs[node.name]}: only closed float32 is read")
                else:
                    weight = self._weights.get(node.name)
                    if weight is None:
                        raise ValueError("weightsManifest does not list it")
                    said, there = (dtype, attributes.tensor_shape("value")), (weight.dtype, tuple(weight.shape))
                    if said != there:
                        raise ValueError(f"{said[0]} of {said[1]}, and weightsManifest has {there[0]} of {there[1]}")
                attributes.done()
        constants = {node.name for node in self._nodes.values() if node.op == "Const"}
        if strange := sorted(self._weights.keys() - constants):
            raise InputError(f"{self._path}: weightsManifest lists '{strange[0]}', which is no constant of the graph")

    def _built(self, device: torch.device) -> list[_Step]:
        """The steps in order. Raises InputError for an operation, attribute or constant that is not known."""
        steps = []
        for name in self._order:
            node = self._nodes[name]
            if node.op in ("Const", "Placeholder"):
                continue
            with _Plain(self._path, node):
                steps.append(self._step(node, device))
        return steps

    def _step(self, node: _Node, device: torch.device) -> _Step:
        operation = OPERATIONS.get(node.op)
        if operation is None:
            raise ValueError(f"the operation is not known, {nearest(node.op, OPERATIONS)}")
        attributes = Attributes(node.attr)
        wanted = operation.inputs
        if wanted is None:
            wanted = attributes.number("N") + operation.constants
            if wanted <= operation.constants:
                raise ValueError("N is no number of inputs")
        if len(node.input) != wanted:
            raise ValueError(f"takes {counted(wanted, 'input')}, and has {len(node.input)}")
        takes = tuple(_reference(each) for each in node.input)
        for source, place in takes:
            kind = OPERATIONS.get(self._nodes[source].op)
            if place >= (1 if kind is None else kind.outputs):
                raise ValueError(f"takes output {place} of '{source}', which has no such")
        split = wanted - operation.constants
        constants = []
        for source, _ in takes[split:]:
            if source not in self._weights:
                raise ValueError(f"takes '{source}', where only a constant is read")
            weight = self._weights[source]
            # whole numbers are axes and sizes, of which the values are needed even where nothing is computed
            constants.append(weight.to(device) if weight.is_floating_point() else weight)
        apply = operation.build(attributes, constants)
        if operation.typed:
            apply = _typed(apply, attributes.dtype("T"))
        attributes.done()
        return _Step(node.name, takes[:split], apply)

    def _try(self, steps: Sequence[_Step]) -> None:
        """Run on tensors without numbers. Raises InputError for shapes or types that do not fit."""
        meta = torch.device("meta")
        values: dict[tuple[str, int], Tensor] = {}
        for name, weight in self._weights.items():
            values[name, 0] = weight.to(meta)
        for name, shape in self.inputs.items():
            with _Plain(self._path, self._nodes[name]):
                if math.prod(shape) > LARGEST:
                    raise ValueError(f"a tensor of {' x '.join(map(str, shape))} numbers")
                values[name, 0] = torch.empty(shape, device=meta)
        total = 0
        for step in steps:
            with _Plain(self._path, self._nodes[step.name]):
                found = step.apply([values[at] for at in step.takes])
                for place, tensor in enumerate(found):
                    values[step.name, place] = tensor
                    total += tensor.numel()
                    if tensor.numel() > LARGEST or total > _ALL_TOGETHER:
                        raise ValueError(f"a tensor of {' x '.join(map(str, tensor.shape))} numbers")
        for node in self._nodes.values():
            kind = OPERATIONS.get(node.op)
            places = range(1 if kind is None else kind.outputs)
            self._shapes[node.name] = tuple(tuple(values[node.name, place].shape) for place in places)


class _Plain:
    """Turns what is wrong with a node into one line."""

    def __init__(self, path: Path, node: _Node) -> None:
        self._path, self._node = path, node

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        # torch raises any of these for shapes and numbers that do not fit
        if isinstance(error, ValueError | RuntimeError | IndexError | TypeError | NotImplementedError | OverflowError):
            said = first_line(error)
            raise InputError(f"{self._path}: node '{self._node.name}' ({self._node.op}): {said}") from None


def _typed(apply: Apply, dtype: torch.dtype) -> Apply:
    def checked(given: Sequence[Tensor]) -> tuple[Tensor, ...]:
        for tensor in given:
            if tensor.dtype != dtype:
                raise ValueError(f"T {dtype}, and it is given {tensor.dtype}")
        return apply(given)

    return checked


def _nodes(path: Path, topology: Any) -> dict[str, _Node]:
    if not isinstance(topology, dict):
        raise InputError(f"{path}: modelTopology is no graph")
    if isinstance(topology.get("library"), dict) and topology["library"].get("function"):
        raise InputError(f"{path}: modelTopology has functions of its own, which are not read")
    try:
        nodes = _NODES.validate_python(topology.get("node"))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{path}: modelTopology.node.{place}: {first['msg']}") from None
    found: dict[str, _Node] = {}
    for node in nodes:
        if node.name in found:
            raise InputError(f"{path}: two nodes are called '{node.name}'")
        found[node.name] = node
    return found


def _ordered(path: Path, nodes: Mapping[str, _Node]) -> tuple[str, ...]:
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for node in nodes.values():
        sources = []
        for each in node.input:
            with _Plain(path, node):
                source = _reference(each)[0]
            if source not in nodes:
                raise InputError(f"{path}: node '{node.name}' ({node.op}): takes '{each}', and there is no such node")
            sources.append(source)
        sorter.add(node.name, *sources)
    try:
        return tuple(sorter.static_order())
    except CycleError as error:
        raise InputError(f"{path}: node '{error.args[1][0]}' waits for its own result") from None


def _reference(text: str) -> tuple[str, int]:
    """``name:1`` as name and number of the output. Raises ValueError for another number."""
    name, colon, number = text.rpartition(":")
    if not colon:
        return text, 0
    if not number.isdecimal():
        raise ValueError(f"takes '{text}'")
    return name, int(number)
