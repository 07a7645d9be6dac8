"""The example files in sequence, made small: base model, upsampler, and label maps to pictures with both."""

from __future__ import annotations

from pathlib import Path

from pipeline.run.driver import run_job
from pipeline.spec import JobSpec
from pipeline.training.run import train
from pipeline.training.spec import TrainSpec
from tests.support.datasets import encoded, label_map, picture, write_tar
from tests.support.jobs import index_rows

EXAMPLES = Path(__file__).resolve().parents[3] / "jobs" / "examples"


def test_masks_to_streets(tmp_path: Path) -> None:
    samples = {f"s{n}": {"seg.png": label_map(n), "jpg": encoded(picture(n))} for n in range(2)}
    write_tar(tmp_path / "in" / "streets.tar", samples)
    small = [
        f"data.pairs.uri={tmp_path / 'in'}",
        f"validation.data.pairs.uri={tmp_path / 'in'}",
        "objective.params.preview_steps=ddim2",
        "validation.count=1",
        "batch_size=1",
        "steps=1",
    ]
    base = TrainSpec.load(EXAMPLES / "train_piti_streets_base.yaml", [*small, f"output.uri={tmp_path / 'base'}"])
    weights = train(base).weights
    assert weights is not None
    upsampler = TrainSpec.load(
        EXAMPLES / "train_piti_streets_upsampler.yaml",
        [*small, f"output.uri={tmp_path / 'upsampler'}", f"objective.params.base={weights}"],
    )
    both = train(upsampler).weights
    assert both is not None
    assert both.stat().st_size < 6_000_000
    spec = JobSpec.load(
        EXAMPLES / "masks_to_streets.yaml",
        [
            f"source.uri={tmp_path / 'in'}",
            f"output.uri={tmp_path / 'out'}",
            f"method.weights={both}",
            "method.params.steps=ddim2",
            "method.params.upsampler_steps=ddim2",
        ],
    )
    assert run_job(spec, local=True).state == "done"
    rows = index_rows(tmp_path / "out")
    assert [(row["key"], row["status"], row["width"], row["height"]) for row in rows] == [
        ("s0", "ok", 48, 32),
        ("s1", "ok", 48, 32),
    ]
