"""The example files in sequence, made small: base model, upsampler, and label maps to pictures with both."""

from __future__ import annotations

import json
import math
from pathlib import Path

import timm
import torch

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
    # FID with a network that a test can have, and KID: distances of the set of pictures made of held-out label maps
    torch.manual_seed(0)
    torch.save(timm.create_model("test_vit", pretrained=False).state_dict(), tmp_path / "vit.pth")
    distances = f"[{{frechet: {{library: timm, model: test_vit, network: {tmp_path / 'vit.pth'}}}}}, kid_efflite0]"
    sets = ["validation.count=2", f"validation.metrics={distances}"]
    sets += ["validation.method={name: piti, params: {steps: ddim2}}", f"output.uri={tmp_path / 'base'}"]
    base = TrainSpec.load(EXAMPLES / "train_piti_streets_base.yaml", [*small, *sets])
    weights = train(base).weights
    assert weights is not None
    rows = [json.loads(line) for line in (tmp_path / "base" / "validation.jsonl").read_text().splitlines()]
    for name in ("frechet_test_vit", "kid_efflite0"):
        assert math.isfinite(rows[-1][name])
        assert rows[-1][name] != 0
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
