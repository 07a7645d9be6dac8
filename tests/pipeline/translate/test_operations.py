"""Operations of a picture: counted as they are, once per process, without a trace in what is translated."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch.nn import functional

from methods.base import Batch, Method
from methods.notices import NoticeCounter, notice
from pipeline.logs.context import context
from pipeline.run.driver import run_job
from pipeline.runlog import read_runs
from pipeline.storage import Store
from pipeline.translate.operations import ENOUGH, OperationCount, OperationCounter
from tests.support.datasets import read_tree, street_samples, write_tar
from tests.support.jobs import job

CONVOLUTION = 2 * 9 * 3 * 4 * 64
"""Of 3x3 over 8x8 pixels, 3 channels to 4."""


class Convolves:
    """A method of one convolution that remembers how many pictures it was asked for at once."""

    class Info:
        name = "convolves"

    info = Info

    def __init__(self, network: Any = None) -> None:
        self.network = torch.nn.Conv2d(3, 4, 3, padding=1) if network is None else network
        self.asked: list[int] = []

    def translate(self, batch: Batch) -> torch.Tensor:
        self.asked.append(len(batch))
        notice("seen", "a picture was seen")
        return self.network(batch.inputs)


def batch(pictures: int) -> Batch:
    return Batch(torch.zeros(pictures, 3, 8, 8), seeds=[0] * pictures)


def translated(method: Convolves, count: OperationCount, sizes: list[int], compiled: bool = False) -> None:
    for pictures in sizes:
        method.translate(batch(pictures))
        count.translated(cast("Method", method), batch(pictures), compiled)


@pytest.mark.parametrize("around", [torch.inference_mode, torch.no_grad])
def test_operators_count_as_their_formulas_say(around: Any) -> None:
    rows = torch.randn(5, 7)
    query = torch.randn(1, 2, 6, 8)
    attention = 2 * 2 * 2 * 6 * 6 * 8  # two products, two heads
    calls = [
        (lambda: torch.nn.Conv2d(3, 4, 3, padding=1)(torch.zeros(1, 3, 8, 8)), CONVOLUTION),
        (lambda: torch.nn.Linear(7, 11)(rows), 2 * 5 * 7 * 11),
        (lambda: torch.einsum("ij,kj->ik", rows, rows), 2 * 5 * 7 * 5),
        (lambda: functional.scaled_dot_product_attention(query, query, query), attention),
        (lambda: functional.silu(rows).softmax(1)[rows > 0].sum(), 0),
    ]
    for call, operations in calls:
        with around(), OperationCounter() as counter:
            call()
        assert counter.operations == operations


def test_a_process_counts_once_after_enough_pictures() -> None:
    method, count = Convolves(), OperationCount(ENOUGH)
    translated(method, count, [ENOUGH - 1])
    assert count.per_image is None
    translated(method, count, [3, 5])
    assert count.per_image == CONVOLUTION
    assert method.asked == [ENOUGH - 1, 3, 1, 5]


def test_what_is_said_of_the_counted_picture_is_not_said_twice() -> None:
    with NoticeCounter(lambda: context().get("target", "") == "") as notices:
        translated(Convolves(), OperationCount(after=1), [2])
        assert notices.take()["seen"].count == 1


def test_compiled_networks_are_counted_as_they_are_uncompiled() -> None:
    torch._dynamo.reset()
    network = torch.compile(torch.nn.Conv2d(3, 4, 3, padding=1), backend="eager", dynamic=False)
    count = OperationCount(after=1)
    with torch.inference_mode():
        translated(Convolves(network), count, [2], compiled=True)
    assert count.per_image == CONVOLUTION


def test_a_method_that_cannot_be_counted_is_named_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    def once(pictures: torch.Tensor) -> torch.Tensor:
        if len(pictures) == 1:
            raise ValueError("never alone")
        return pictures

    count = OperationCount(after=1)
    with caplog.at_level("INFO", "sceneshift"):
        translated(Convolves(once), count, [2, 2])
    assert count.per_image is None
    assert [each.getMessage() for each in caplog.records if "not counted" in each.getMessage()] == [
        "operations of convolves are not counted: never alone"
    ]


def test_a_run_logs_device_and_operations_and_its_pictures_know_nothing_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tar(tmp_path / "in/a.tar", street_samples(["a", "b", "c"]))
    method = {"name": "cyclegan_turbo", "preset": "street_day_to_night"}
    trees = []
    for name, after in (("counted", 1), ("not", ENOUGH)):
        monkeypatch.setattr("pipeline.run.translators.ENOUGH", after)
        run_job(job(tmp_path / "in", tmp_path / name, method=method, compute__batch_size=2), local=True)
        (row,) = read_runs(Store(str(tmp_path / name))).to_pylist()
        assert row["device"] == "cpu"
        assert (row["operations"] or 0) > 0 if name == "counted" else row["operations"] is None
        trees.append(read_tree(tmp_path / name, "data"))
    assert trees[0] == trees[1]
