"""Tensor files: the same bytes for the same tensors, all of a file or none of it, nothing run that is in one."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from torch import Tensor, nn

from methods.errors import InputError, first_line
from methods.files import replacing, write_text
from methods.nn.tensor_file import fill, read_metadata, read_pickle, read_safetensors, read_tensors, write_tensors

KINDS = (torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool)
ABOUT = {"format": "x", "about": '{"a": 1}', "config": "näher\n\"'", "z": ""}


def tensors() -> dict[str, Tensor]:
    torch.manual_seed(0)
    found = {f"t.{kind}".replace("torch.", ""): (torch.rand(3, 5) * 9).to(kind) for kind in KINDS}
    turned = torch.arange(12.0).view(3, 4).t()
    return {**found, "turned": turned, "number": torch.tensor(3.5), "empty": torch.zeros(0, 4), "größe": torch.ones(1)}


def test_any_reader_of_the_format_finds_what_was_written(tmp_path: Path) -> None:
    path = write_tensors(tmp_path / "new" / "file.safetensors", tensors(), ABOUT)
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == ABOUT
        assert set(file.keys()) == set(tensors())
        for name, value in tensors().items():
            assert torch.equal(file.get_tensor(name), value)
            assert file.get_tensor(name).dtype == value.dtype
    assert os.stat(path).st_mode & 0o444 == 0o444 & ~_umask()
    assert list(path.parent.iterdir()) == [path]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_the_bytes_depend_on_names_values_and_metadata_alone(tmp_path: Path) -> None:
    first = write_tensors(tmp_path / "a.safetensors", tensors(), ABOUT).read_bytes()
    turned = dict(reversed(tensors().items())), dict(reversed(ABOUT.items()))
    assert write_tensors(tmp_path / "b.safetensors", *turned).read_bytes() == first
    script = (
        "import sys; from pathlib import Path; from methods.nn.tensor_file import *; path = Path(sys.argv[1]);"
        "write_tensors(path.with_name('c'), *read_safetensors(path))"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    subprocess.run([sys.executable, "-c", script, str(tmp_path / "a.safetensors")], check=True, env=environment)
    assert (tmp_path / "c").read_bytes() == first


@given(st.dictionaries(st.text(max_size=9).filter(lambda name: name != "__metadata__"), st.integers(0, 9), max_size=6))
def test_any_names_come_back(tmp_path_factory: pytest.TempPathFactory, sizes: dict[str, int]) -> None:
    path = tmp_path_factory.mktemp("names") / "file.safetensors"
    wanted = {name: torch.arange(size, dtype=torch.int64) for name, size in sizes.items()}
    found, metadata = read_safetensors(write_tensors(path, wanted, {}))
    assert metadata == {}
    assert {name: value.tolist() for name, value in found.items()} == {n: v.tolist() for n, v in wanted.items()}


def test_only_what_is_wanted_is_read(tmp_path: Path) -> None:
    path = write_tensors(tmp_path / "file.safetensors", tensors(), ABOUT)
    found, metadata = read_safetensors(path, lambda name: name == "turned")
    assert list(found) == ["turned"]
    assert metadata == ABOUT == read_metadata(path)


class Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.place,)

    def __init__(self, place: str) -> None:
        self.place = place


def test_code_in_a_file_is_refused_and_not_run(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    path.write_bytes(pickle.dumps(Evil(str(tmp_path / "made")), protocol=2))
    with pytest.raises(InputError, match=r"refused, it holds code .*mkdir.*, expected weights"):
        read_pickle(path, "weights")
    torch.save({"evil": Evil(str(tmp_path / "made"))}, path)
    with pytest.raises(InputError, match="refused, it holds code"):
        read_tensors(path)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("content", [b"", b"x", b"PK\x03\x04", b"\x08\0\0\0\0\0\0\0{nothing", b"\x80\x04."])
@pytest.mark.parametrize("name", ["model.safetensors", "model.pt"])
def test_what_is_no_file_of_tensors_is_refused_in_one_line(tmp_path: Path, content: bytes, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(InputError, match="expected") as caught:
        read_tensors(path)
    assert "\n" not in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_file_that_is_not_there_or_no_file_is_refused(tmp_path: Path) -> None:
    for name in ("gone.pt", "gone.safetensors"):
        with pytest.raises(InputError, match=r"gone\."):
            read_tensors(tmp_path / name)
    with pytest.raises(InputError, match="found a folder"):
        read_tensors(tmp_path)


def test_networks_are_filled_whole_or_not_at_all() -> None:
    layer = nn.Linear(2, 3).half()
    state = {"weight": torch.ones(3, 2), "bias": torch.ones(3)}
    fill(layer, state, "f")
    assert layer.weight.dtype == torch.float16
    assert layer.weight.sum() == 6
    for change, message in (
        ({"weight": None}, r"f: 'weight' \(3, 2\) missing \(1 of 2 tensors\)"),
        ({"more": torch.ones(1)}, r"f: found 'more' \(1 tensor too many\)"),
        ({"bias": torch.ones(4)}, r"f: 'bias' is \(4,\), expected \(3,\)"),
    ):
        wrong = {name: value for name, value in {**state, **change}.items() if value is not None}
        with pytest.raises(InputError, match=message):
            fill(layer, wrong, "f")


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    write_text(path, "old")

    def interrupted() -> None:
        with replacing(path) as partial:
            partial.write_text("half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        interrupted()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    write_text(path, "new")
    assert path.read_text() == "new"


def test_first_line_of_any_error() -> None:
    assert first_line(ValueError("\n  one\ntwo")) == "one"
    assert first_line(ValueError("of Net: \n\tMissing: a\n\tb")) == "of Net: Missing: a"
    assert first_line(ValueError("of Net:")) == "of Net:"
    assert first_line(ValueError()) == first_line(ValueError("  ")) == "ValueError"
    assert len(first_line(ValueError("x" * 999))) == 200
