"""Finding an output from what the user typed: its folder or URI, or the job file that wrote it."""

from __future__ import annotations

from pathlib import Path

from methods.errors import InputError
from pipeline.job_record import JobRecord, stored_job
from pipeline.paths import JOB_FILE
from pipeline.spec import JobSpec
from pipeline.storage import Store, absolute, redact


def open_output(output: str) -> tuple[Store, JobRecord]:
    """The output's store and its ``job.json``. Raises InputError when there is no output of ours."""
    if output.endswith((".yaml", ".yml")) and Path(output).is_file():
        spec = JobSpec.load(output)
        if spec.targets:
            raise InputError(
                f"{output}: makes an output of its own for each target ({', '.join(spec.targets)}); name one, such as "
                f"{redact(spec.output.uri.rstrip('/'))}/{next(iter(spec.targets))}"
            )
        store = Store(spec.output.uri, spec.output.storage)
    else:
        store = Store(absolute(output))
    record = stored_job(store)
    if record is None:
        raise InputError(
            f"{redact(store.uri())}: no sceneshift output here (no {JOB_FILE}); check the path, which "
            "for a job with targets is the folder of one target"
        )
    return store, record
