"""pix2pix-Turbo in a job: captions and gamma from the samples, variants, refusals in the index."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.run.driver import run_job
from tests.support.datasets import encoded, picture
from tests.support.jobs import index_rows, job


def test_variants_and_a_gamma_column(base: str, tmp_path: Path) -> None:
    rows = [
        {"key": f"k{n}", "image": encoded(picture(n, (64, 64)), "PNG"), "caption": caption, "gamma": gamma}
        for n, (caption, gamma) in enumerate([("a cat", 0.2), ("a dog", None), ("a cat", 1.7), (None, 0.5)])
    ]
    (tmp_path / "in").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "in" / "part.parquet")
    spec = job(
        tmp_path / "in",
        tmp_path / "out",
        method__name="pix2pix_turbo",
        method__weights=f"{base}/sketch_stochastic.pkl",
        method__params={"base": base, "gamma": 0.4, "input": "sketch"},
        variants=2,
        max_rejects=10,
    )
    run_job(spec, local=True)
    found = {(row["key"], row["variant"]): row for row in index_rows(tmp_path / "out")}
    status = {key: row["status"] for key, row in found.items()}
    assert [status[f"k{n}", 0] for n in range(4)] == ["ok", "ok", "rejected", "rejected"]
    assert found["k2", 1]["error"] == "bad_gamma"
    assert found["k3", 0]["error"] == "no_caption"
    # each variant draws its own noise; the same job again draws the same
    for key in ("k0", "k1"):
        assert found[key, 0]["sha256"] != found[key, 1]["sha256"]
    again = job(
        tmp_path / "in",
        tmp_path / "again",
        method=spec.method.model_dump(),
        variants=2,
        max_rejects=10,
        compute__batch_size=1,
    )
    run_job(again, local=True)
    other = {(row["key"], row["variant"]): row["seed"] for row in index_rows(tmp_path / "again")}
    assert other == {key: row["seed"] for key, row in found.items()}
