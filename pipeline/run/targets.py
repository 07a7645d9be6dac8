"""A job with several targets: each a dataset of its own, made from one read and one decoding.

The run of the first target carries the others along: every shard that it reads is translated for those of them that
lack it too, and committed under their own locks. Whatever a target still lacks then is made by a run of its own. So
a target is never other than what its own job would write, and what was interrupted goes on as any job does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from methods.errors import InputError
from pipeline.paths import JOB_FILE
from pipeline.run.driver import Order, Outcome, run_outputs
from pipeline.run.progress import Progress
from pipeline.run.resolving import Resolved
from pipeline.run.writable import require_writable
from pipeline.spec import JobSpec
from pipeline.storage import Store
from pipeline.targets import naming, target_jobs
from pipeline.uris import redact


def resolve_targets(spec: JobSpec, *, fresh: bool = False) -> dict[str, Resolved]:
    """Every target of a job against its output. Writes nothing.

    Raises:
        InputError: a target that cannot work, targets that have no shards in common, or a folder that holds the output
            of a job without targets.
    """
    store = Store(spec.output.uri, spec.output.storage)
    store.require_bucket()
    if store.exists(JOB_FILE):
        raise InputError(
            f"{redact(store.uri())}: holds the output of a job without targets; a job with targets needs a folder of "
            "its own"
        )
    found: dict[str, Resolved] = {}
    for name, each in target_jobs(spec).items():
        with naming(name):
            found[name] = Resolved.of(each, fresh=fresh)
    sizes = {name: each.job.shard_size for name, each in found.items()}
    if len(set(sizes.values())) > 1:
        said = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise InputError(
            f"targets: their methods have shards of different sizes ({said}), and targets share what is read: set "
            "output.shard_size"
        )
    return found


def run_targets(spec: JobSpec, order: Order, *, fresh: bool = False) -> dict[str, Outcome]:
    """Translate a dataset into every target of a job, or what is left of it.

    Args:
        fresh: begin every target anew.

    Returns:
        How it ended for each, by its name; without those that were not begun, because another one was stopped for too
        many rejects. Counts are of all that was made for a target.

    Raises:
        InputError: a target cannot work; nothing has been written.
        JobFailed: as :func:`pipeline.run.driver.run_job`, of whichever target it is.
    """
    replace(order, fresh=frozenset(spec.targets if fresh else ())).check()
    require_writable(target_jobs(spec).values(), fresh=fresh)
    left = resolve_targets(spec, fresh=fresh)
    begun_anew = set(left) if fresh else set()
    outcomes: dict[str, Outcome] = {}
    counted = {name: Progress() for name in left}
    while left:
        leading = next(iter(left))
        chosen = _carried(left, leading)
        done = run_outputs(chosen, replace(order, fresh=frozenset(begun_anew), counted=counted))
        begun_anew -= chosen.keys()
        outcomes |= done
        if any(each.unfinished and each.state in ("too_many_rejects", "stopped") for each in done.values()):
            break
        left = {name: each for name, each in left.items() if name not in done}
        for name in left.keys() & chosen.keys():
            # what is left of it is another question since the run that carried it
            left[name] = Resolved.of(left[name].job.spec)
    return {name: outcomes[name] for name in spec.targets if name in outcomes}


def _carried(left: Mapping[str, Resolved], leading: str) -> dict[str, Resolved]:
    """The leading target, and those of the others that lack shards which it lacks too."""
    lead = left[leading]
    chosen = {leading: lead}
    pending = {each.file.relative for each in lead.plan.pending}
    for name, each in left.items():
        alike = each.job.layout == lead.job.layout and each.job.source_format == lead.job.source_format
        if name != leading and alike and any(one.file.relative in pending for one in each.plan.pending):
            chosen[name] = each
    return chosen
