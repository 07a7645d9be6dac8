"""Measuring a job's speed before it runs: a few samples translated on this machine, and thrown away."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from methods.counting import counted
from methods.errors import InputError
from pipeline.job import Job
from pipeline.plan import FilePlan, Plan
from pipeline.records import Receipt
from pipeline.run.steps import read_file
from pipeline.run.throughput import Throughput, tera
from pipeline.sink.commit import commit
from pipeline.storage import StorageOptions
from pipeline.translate.operations import OperationCount
from pipeline.translate.shard import translate_shard
from pipeline.translate.translator import Translator


def calibrate(job: Job, plan: Plan, samples: int) -> Throughput:
    """Translate the first samples of the source in this process, with this machine's device, and commit them nowhere.

    A first batch, which allocates memory and compiles, is not measured; the floating point operations of its first
    picture are counted.

    Raises:
        InputError: no sample of the source can be translated, or the method cannot be loaded.
    """
    translator = Translator(job)
    receipts: list[Receipt] = []
    translator.operations = OperationCount(after=1)
    try:
        with tempfile.TemporaryDirectory(prefix="sceneshift-calibrate-") as folder:
            output = job.spec.output.model_copy(update={"uri": str(Path(folder)), "storage": StorageOptions()})
            aside = replace(job, spec=job.spec.model_copy(update={"output": output}), lease=None)
            left, warm = samples, False
            for each in plan.files:
                for shard in read_file(job, FilePlan(each.file)):
                    if not warm:
                        warm = True
                        first = replace(shard, samples=shard.samples[: job.batch_size])
                        translate_shard(translator, first)
                    part = replace(shard, samples=shard.samples[:left])
                    receipts.append(commit(aside, translate_shard(translator, part)))
                    left -= len(part.samples)
                    if left <= 0:
                        break
                if left <= 0:
                    break
    finally:
        translator.close()
    images = sum(receipt.attempted for receipt in receipts)
    if not any(receipt.ok or receipt.filtered for receipt in receipts):
        raise InputError(
            f"--calibrate: none of the first {counted(images, 'image')} could be translated; "
            "`sceneshift preview` says why"
        )
    return Throughput(
        images=images,
        # Reading and committing take turns with translating here, and go on beside it in a run.
        worker_seconds=sum(receipt.translated - receipt.started for receipt in receipts),
        device_seconds=sum(receipt.device_seconds for receipt in receipts),
        read_seconds=sum(receipt.read_seconds for receipt in receipts),
        write_seconds=sum(receipt.write_seconds for receipt in receipts),
        bytes_out=sum(receipt.bytes_out for receipt in receipts),
        origin=f"{counted(images, 'image')} translated on this machine just now",
        tflop_per_image=tera(translator.operations.per_image),
    )
