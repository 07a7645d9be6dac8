"""A file of tensors is its tensors and its configuration: who wrote it, in which order and when, does not matter."""

from __future__ import annotations

import json
import os
import struct
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from methods.nn.tensor_file import write_tensors
from methods.weights import identity
from methods.weights.contents import configuration, contents_sum

TENSORS = {
    "b.weight": torch.arange(12.0).view(3, 4),
    "a.half": torch.arange(6).to(torch.float16),
    "empty": torch.zeros(0, 4),
    "steps": torch.tensor(7),
}
CONFIG = {"format": "sceneshift-x-1", "config": '{"width": 8}', "about": '{"steps": "4"}'}


def raw(path: Path, header: dict[str, Any], data: bytes, pad: int = 0) -> Path:
    text = json.dumps(header, indent=1).encode() + b" " * pad
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def test_a_file_that_was_saved_again_is_the_same_weights(tmp_path: Path) -> None:
    path = write_tensors(tmp_path / "ours.safetensors", TENSORS, CONFIG)
    other = tmp_path / "theirs.safetensors"
    save_file(dict(reversed(TENSORS.items())), other, metadata=dict(reversed(CONFIG.items())))
    one, two = b"\1\2", b"\3\4\5\6"
    entries = [{"dtype": "U8", "shape": [2]}, {"dtype": "F16", "shape": [2]}]
    turned = [
        raw(
            tmp_path / "turned",
            {"w": {**entries[1], "data_offsets": [0, 4]}, "v": {**entries[0], "data_offsets": [4, 6]}},
            two + one,
            pad=13,
        ),
        raw(
            tmp_path / "straight",
            {"v": {**entries[0], "data_offsets": [0, 2]}, "w": {**entries[1], "data_offsets": [2, 6]}},
            one + two,
        ),
    ]
    for first, second in ((path, other), turned):
        assert first.read_bytes() != second.read_bytes()
        assert identity(str(first)) == identity(str(second))
        assert identity(str(first)).startswith("tensors:")


@pytest.mark.parametrize(
    ("change", "metadata"),
    [
        ({"b.weight": TENSORS["b.weight"] + 1}, {}),
        ({"b.weight": TENSORS["b.weight"].view(4, 3)}, {}),
        ({"a.half": TENSORS["a.half"].view(torch.int16)}, {}),
        ({"more": torch.ones(1)}, {}),
        ({"empty": torch.zeros(4, 0)}, {}),
        ({}, {"config": '{"width": 16}'}),
        ({}, {"format": "sceneshift-x-2"}),
        ({}, {"merges": "t h"}),
    ],
    ids=["value", "shape", "type", "name", "empty", "config", "format", "metadata"],
)
def test_another_tensor_or_another_configuration_is_other_weights(
    tmp_path: Path, change: dict[str, torch.Tensor], metadata: dict[str, str]
) -> None:
    path = write_tensors(tmp_path / "a.safetensors", TENSORS, CONFIG)
    other = write_tensors(tmp_path / "b.safetensors", TENSORS | change, CONFIG | metadata)
    assert identity(str(path)) != identity(str(other))


def test_notes_of_where_weights_come_from_are_no_configuration() -> None:
    trained = {"objective": "ddpm", "steps": "10", "spec": "{}", "fingerprint": "ab"}
    assert configuration({**trained, "merges": "t h", "origin": "here"}) == {"merges": "t h"}
    assert configuration(CONFIG | {"origin": "here"}) == {"format": "sceneshift-x-1", "config": '{"width": 8}'}
    assert configuration({"format": "pt", "ss_seed": "3", "modelspec.date": "2026", "sshs_model_hash": "ab"}) == {}
    # of others' files nothing is known: what looks like a note of ours may be their configuration
    theirs = {"format": "theirs-1", "steps": "10", "about": "x", "modelspec.prediction_type": "v"}
    assert configuration(theirs) == theirs


@pytest.mark.parametrize(
    ("header", "data"),
    [
        ({"a": {"dtype": "U8", "shape": [2], "data_offsets": [1, 3]}}, b"123"),
        ({"a": {"dtype": "U8", "shape": [2], "data_offsets": [0, 2]}}, b"123"),
        ({"a": {"dtype": "U8", "shape": [9], "data_offsets": [0, 9]}}, b"123"),
        ({"a": {"dtype": "U8", "shape": ["x"], "data_offsets": [0, 3]}}, b"123"),
        ({"a": {"dtype": "U8", "shape": [3], "data_offsets": [3, 0]}, "b": 1}, b"123"),
        ({"__metadata__": {"config": 1}}, b""),
    ],
    ids=["gap", "rest", "short", "shape", "no-entry", "number"],
)
def test_a_file_whose_header_does_not_cover_it_is_its_bytes(
    tmp_path: Path, header: dict[str, Any], data: bytes
) -> None:
    path = raw(tmp_path / "a.safetensors", header, data)
    assert contents_sum(path) is None
    assert identity(str(path)).startswith("sha256:")
    path.write_bytes(path.read_bytes()[:7])
    assert identity(str(path)).startswith("sha256:")


def test_a_header_that_claims_to_be_longer_than_the_file_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", 1 << 60) + b"{}")
    assert contents_sum(tmp_path / "a.safetensors") is None


def test_a_large_file_is_read_in_blocks(tmp_path: Path) -> None:
    side = 48 << 20
    path = raw(tmp_path / "large.safetensors", {"a": {"dtype": "U8", "shape": [side], "data_offsets": [0, side]}}, b"")
    os.truncate(path, path.stat().st_size + side)
    tracemalloc.start()
    try:
        assert contents_sum(path) is not None
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
