"""Ray Jobs as the commands use it: a client whose errors are one line, ids, and following a job to its end."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from methods.errors import InputError, first_line
from pipeline.errors import JobFailed
from pipeline.storage import redact

if TYPE_CHECKING:
    from ray.job_submission import JobDetails, JobSubmissionClient

MARK = "sceneshift"
"""Key of the metadata that every submission of ours has."""

ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
_STOPS_WITHIN_SECONDS = 60
_READY_WITHIN_SECONDS = 120
_AGAIN_AFTER_SECONDS = 2.0
_NOT_READY = "No available agent"
"""What a head says that has come up a moment ago: its part that starts jobs has not."""
_ATTEMPTS = 5


def submission_id(name: str, fingerprint: str, taken: Sequence[str]) -> str:
    """``name-fingerprint8-attempt``: the attempt is one more than the highest among the ids that are taken."""
    stem = f"{_plain(name)}-{fingerprint[:8]}"
    attempts = [int(each.removeprefix(f"{stem}-")) for each in taken if re.fullmatch(rf"{re.escape(stem)}-\d+", each)]
    return f"{stem}-{max(attempts, default=0) + 1}"


def _plain(name: str) -> str:
    """A job's name as it stands in an id, where nothing needs quoting."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", name)


def read_env_file(path: str | os.PathLike[str]) -> dict[str, str]:
    """Lines of ``KEY=VALUE``; empty lines and those that begin with ``#`` are skipped, quotes around a value removed.

    Raises:
        InputError: no such file, or a line of another form. The line itself, which may be a secret, is not shown.
    """
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"--env-file {path}: cannot be read ({first_line(error)})") from None
    found: dict[str, str] = {}
    for number, line in enumerate(lines, 1):
        text = line.strip().removeprefix("export ")
        if not text or text.startswith("#"):
            continue
        key, equals, value = text.partition("=")
        if not equals or not re.fullmatch(r"[A-Za-z_]\w*", key):
            raise InputError(f"--env-file {path}: line {number} is no KEY=VALUE")
        quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
        found[key] = value[1:-1] if quoted else value
    return found


class AtWork(InputError):
    """The job is at work on the cluster already, as the submission ``id_``."""

    def __init__(self, text: str, id_: str) -> None:
        super().__init__(text)
        self.id_ = id_


class Head:
    """The Ray Jobs of one cluster.

    Raises InputError wherever the cluster cannot be reached, refuses the token, or knows no such job.
    """

    def __init__(self, address: str) -> None:
        if not address.startswith(("http://", "https://")):
            raise InputError(f"--address {redact(address)}: expected the dashboard's http://HEAD:8265")
        self.address = redact(address)
        if os.environ.get("RAY_AUTH_TOKEN_PATH") or os.environ.get("RAY_AUTH_TOKEN"):
            os.environ.setdefault("RAY_AUTH_MODE", "token")
        from ray.job_submission import JobSubmissionClient

        # Ray tells of each upload and of each connection that ends, from modules that set their own levels.
        for talkative in ("ray", JobSubmissionClient.__module__, "ray.dashboard.modules.dashboard_sdk"):
            logging.getLogger(talkative).setLevel(logging.WARNING)
        with self._plain_errors():
            self._client: JobSubmissionClient = JobSubmissionClient(address)

    def jobs(self) -> list[JobDetails]:
        """Every job that was submitted, oldest first."""
        with self._plain_errors():
            found = [each for each in self._client.list_jobs() if each.submission_id]
        return sorted(found, key=lambda each: each.start_time or 0)

    def submit(self, name: str, fingerprint: str, **arguments: Any) -> str:
        """Submit under the next free id, which is returned; ``arguments`` as of ``JobSubmissionClient.submit_job``.

        Raises:
            AtWork: the same job is at work on this cluster already.
        """
        until, taken = time.monotonic() + _READY_WITHIN_SECONDS, 0
        while taken < _ATTEMPTS:
            jobs = self.jobs()
            wanted = submission_id(name, fingerprint, [each.submission_id or "" for each in jobs])
            stem = wanted.rpartition("-")[0]
            for each in jobs:
                known = each.submission_id or ""
                if known.rpartition("-")[0] == stem and each.status not in ENDED:
                    raise AtWork(
                        f"{known} is {each.status.lower()} on {self.address} and writes this output; wait for it, or "
                        f"`sceneshift stop {known}`",
                        known,
                    )
            try:
                with self._plain_errors():
                    return self._client.submit_job(submission_id=wanted, **arguments)
            except InputError as error:
                if _NOT_READY in str(error) and time.monotonic() < until:
                    time.sleep(_AGAIN_AFTER_SECONDS)
                elif "already exists" in str(error):
                    # somebody else took the id between the listing and now
                    taken += 1
                else:
                    raise
        raise InputError(f"{self.address}: other submissions keep taking the next free id; try again")

    def find(self, name: str) -> str:
        """The id that ``name`` means: itself, or the newest submission of the job of that name."""
        ids = [each.submission_id or "" for each in self.jobs()]
        stem = rf"{re.escape(_plain(name))}-[0-9a-f]{{8}}-\d+"
        matching = [each for each in ids if each == name or re.fullmatch(stem, each)]
        if not matching:
            raise InputError(f"{self.address}: no job '{name}' was submitted there; `sceneshift jobs` lists them")
        return name if name in matching else matching[-1]

    def job(self, id_: str) -> JobDetails:
        """What the cluster knows of one job."""
        with self._plain_errors():
            return self._client.get_job_info(id_)

    def log(self, id_: str) -> str:
        """The whole log of a job."""
        with self._plain_errors():
            return self._client.get_job_logs(id_)

    def follow(self, id_: str, write: Callable[[str], object]) -> JobDetails:
        """Hand on the log as it grows until the job has ended.

        Raises:
            JobFailed: the cluster is gone; what the job has committed stays.
        """

        async def tail() -> None:
            async for text in self._client.tail_job_logs(id_):
                write(text)

        try:
            with self._plain_errors():
                asyncio.run(tail())
            while (found := self.job(id_)).status not in ENDED:
                time.sleep(1)
        except InputError as error:
            raise JobFailed(f"{id_}: lost sight of it ({error}). What it committed stays") from None
        return found

    def stop(self, id_: str) -> JobDetails:
        """Ask a job to stop, and wait until it has, for a minute at most."""
        with self._plain_errors():
            self._client.stop_job(id_)
        until = time.monotonic() + _STOPS_WITHIN_SECONDS
        while (found := self.job(id_)).status not in ENDED and time.monotonic() < until:
            time.sleep(0.5)
        return found

    @contextlib.contextmanager
    def _plain_errors(self) -> Iterator[None]:
        from ray.exceptions import AuthenticationError

        try:
            yield
        except AuthenticationError:
            raise InputError(
                f"{self.address}: the cluster wants a token and refuses what it got; name the file with the cluster's "
                "token in RAY_AUTH_TOKEN_PATH, and set RAY_AUTH_MODE=token"
            ) from None
        except (ConnectionError, OSError) as error:
            said = redact(first_line(error))
            raise InputError(f"{self.address}: no Ray head answers there ({said}); check --address") from None
        except (RuntimeError, ValueError, TypeError) as error:
            # the server's answer may be a whole traceback; its last line says what is wrong
            last = [line for line in str(error).splitlines() if line.strip()][-1:]
            said = redact(last[0].strip() if last else type(error).__name__)
            token = "RAY_AUTH_TOKEN_PATH: " if "token" in said.lower() else ""
            raise InputError(f"{self.address}: {token}{said}") from None
