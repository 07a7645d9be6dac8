"""A DeltaBlock trained by a training spec, then used by a job's spec."""

from __future__ import annotations

from pathlib import Path

from pipeline.run.driver import run_job
from pipeline.training.run import train
from pipeline.training.spec import TrainSpec
from tests.support.datasets import write_tars
from tests.support.jobs import index_rows, job

SHARED = {"beta_end": 0.004, "norm_num_groups": 8, "image_size": 32, "t_edit": 400}


def test_trained_from_a_spec_and_run_from_a_spec(tmp_path: Path, golden: Path) -> None:
    write_tars(tmp_path / "in", 1, 4)
    unet = str(golden / "ddpm_edit6" / "unet_official_layout.safetensors")
    texts = {"source_text": "face", "target_text": "smiling face", "clip": str(golden / "train_step" / "clip")}
    objective = {
        "name": "asyrp_delta",
        "params": {"unet": unet, **texts, **SHARED, "steps_train": 3, "steps_inversion": 3},
    }
    spec = TrainSpec.parse(
        {
            "objective": objective,
            "data": {"images": {"uri": str(tmp_path / "in")}},
            "validation": {"count": 1},
            "output": {"uri": str(tmp_path / "block")},
            "steps": 2,
        }
    )
    assert train(spec).step == 2
    (block,) = (tmp_path / "block").rglob("*.pth")
    params = {"attributes": [{"block": str(block)}], "t_boost": 0, "steps": 3, "steps_inversion": 3, **SHARED}
    method = {"name": "asyrp", "weights": unet, "params": {**params, "steps_train": 3}}
    run_job(job(tmp_path / "in", tmp_path / "out", method=method, compute={"torch_threads": 1}), local=True)
    assert {row["status"] for row in index_rows(tmp_path / "out")} == {"ok"}
