"""The one place that prepares, starts, joins, sizes and leaves Ray: for `run`, `train` and `distill`.

Without an address the work goes to a Ray of its own on this machine, whatever else runs there; it ends with the work.
With one (`compute.address`, else `RAY_ADDRESS`, which Ray Jobs sets) the cluster there is joined, and left as it was.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass

from methods.counting import counted, does
from methods.errors import InputError, first_line
from pipeline.errors import JobFailed
from pipeline.run.head_watch import HeadWatch
from pipeline.storage import redact

_log = logging.getLogger(f"sceneshift.{__name__}")

PRIVATE = "local"
_ANSWERS_WITHIN_SECONDS = 10
_ENVIRONMENT = {
    "RAY_DATA_DISABLE_PROGRESS_BARS": "1",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "OMP_NUM_THREADS": "1",
    # A thread that outlives the connection must fail, not start a cluster of its own.
    "RAY_ENABLE_AUTO_CONNECT": "0",
}


@dataclass(frozen=True)
class Demand:
    """What a job asks of the place where it works.

    Attributes:
        workers: (least, most), or ``None`` for as many as there is room for.
        cpus, gpus: of each worker.
        threads: torch threads of each worker; they do not count for Ray, but for a machine's cores.
        beside: CPUs of what works beside the workers.
        address: of a cluster to join; ``None`` for ``RAY_ADDRESS``, ``local`` for a Ray of its own in any case.
    """

    workers: tuple[int, int] | None
    cpus: float = 1
    gpus: float = 0
    threads: int = 1
    beside: float = 0
    address: str | None = None

    @property
    def joins(self) -> str | None:
        """The address of the cluster that is joined; ``None`` where one is started."""
        address = self.address or os.environ.get("RAY_ADDRESS")
        return None if address in (None, PRIVATE) else address


@dataclass(frozen=True)
class Room:
    """What there is: CPUs and GPUs. ``elastic`` where CPUs are only counted: more workers than cores take turns."""

    cpus: float
    gpus: float
    elastic: bool


@dataclass(frozen=True)
class Capacity:
    """A job's workers against the room.

    Attributes:
        workers: (least, most).
        where: what is known of the place, for a person.
        problem: what is short and what to set, or ``None``.
        fits: whether the work can be done at all; with a problem it may only be slower than it could be.
    """

    workers: tuple[int, int]
    where: str
    problem: str | None = None
    fits: bool = True


def capacity(demand: Demand, room: Room | None = None) -> Capacity:
    """How many workers there will be, and whether they fit.

    Args:
        room: of a cluster; of this machine where none is given, and nothing is said of a cluster that is not joined
            yet.
    """
    if room is None and demand.joins is not None:
        where = f"on the cluster {redact(demand.joins)}, which is asked for room when the run begins"
        return Capacity(demand.workers or (1, 1), where)
    room = room or this_machine(demand)
    place = "this machine" if room.elastic else "the cluster"
    if demand.gpus > 0:
        number = max(1, int(room.gpus / demand.gpus))
        least, most = workers = demand.workers or (number, number)
        where = f"of {demand.gpus:g} GPUs, {place} has {room.gpus:g}"
        if room.gpus < demand.gpus:
            short = f"compute.gpus is {demand.gpus:g} but {place} has {counted(room.gpus, 'GPU')}"
            return Capacity(workers, where, f"{short}: set compute.gpus: 0, or give compute.address", False)
        if room.gpus < demand.gpus * least:
            fit = counted(least, "worker", "does/do")
            short = f"{fit} not fit, each with {demand.gpus:g} of {counted(room.gpus, 'GPU')}"
            return Capacity(workers, where, f"{short}: set compute.workers to {number}", False)
    else:
        free = room.cpus - (0 if room.elastic else demand.beside)
        number = max(1, int(free / demand.cpus))
        least, most = workers = demand.workers or (number, number)
        where = f"with {demand.cpus:g} of {place}'s {room.cpus:g} cores each, reading and writing beside them"
    if not room.elastic:
        need = least * demand.cpus + demand.beside
        if room.cpus >= need:
            return Capacity(workers, where)
        room_for = max(1, int((room.cpus - demand.beside) / demand.cpus))
        each = counted(demand.cpus, "CPU")
        short = f"{counted(least, 'worker')} of {each} and what works beside them need {counted(need, 'CPU')}"
        remedy = f"set compute.workers to {room_for} or lower compute.cpus"
        return Capacity(workers, where, f"{short}, {place} has {room.cpus:g}: {remedy}", False)
    each = max(demand.cpus, demand.threads)
    if demand.gpus > 0 or most * each <= room.cpus:
        return Capacity(workers, where)
    threads = f" with {counted(demand.threads, 'torch thread')} each" if demand.threads > 1 else ""
    best = max(1, int(room.cpus / each))
    cores = counted(room.cpus, "core")
    turns = f"{counted(most, 'worker')}{threads} {does(most, 'takes/take')} turns on {cores}: {best} would be as fast"
    return Capacity(workers, where, turns)


def this_machine(demand: Demand) -> Room:
    """The cores of this machine, and its GPUs where some are asked for."""
    gpus = 0
    if demand.gpus > 0:
        import torch

        gpus = torch.cuda.device_count()
    return Room(os.cpu_count() or 1, gpus, elastic=True)


class Cluster:
    """A Ray that the work can use. Made by :func:`open_cluster`; :meth:`close` ends or leaves it.

    Attributes:
        where: one line for a person: whose Ray this is.
        workers: (least, most) workers of the job.
    """

    def __init__(
        self, where: str, workers: tuple[int, int], connected_here: bool, watch: HeadWatch | None = None
    ) -> None:
        self.where, self.workers = where, workers
        self._connected_here = connected_here
        self._watch = watch

    def check_node(self) -> None:
        """Raise JobFailed when a process of a Ray that was started here has ended: nothing is scheduled then."""
        import ray

        node = ray._private.worker._global_node if self._connected_here else None  # pyright: ignore
        for name, processes in (node.all_processes if node is not None else {}).items():
            if name in ("raylet", "gcs_server") and any(each.process.poll() is not None for each in processes):
                raise JobFailed(
                    f"Ray's own process {name} has ended (killed, or out of memory?) and took the workers along. "
                    "What is committed stays; run the job again to go on"
                )

    def close(self) -> None:
        """End a Ray that was started here, leave a cluster that was joined, keep a connection that was there before."""
        if self._watch is not None:
            self._watch.stop()
        if self._connected_here:
            import ray

            ray.shutdown()


def open_cluster(demand: Demand) -> Cluster:
    """Start a Ray on this machine, or join the cluster that was asked for.

    Raises:
        InputError: the cluster cannot be reached, or has no room for the job.
        JobFailed: a Ray of our own does not start.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray

    if ray.is_initialized():
        where = "on the Ray that this process is connected to"
        return Cluster(where, _fitting(demand, _room_of_cluster()), connected_here=False)
    address = demand.joins
    if address is None:
        here = this_machine(demand)
        least, most = _fitting(demand, here)
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")
        # CPUs are logical: one more than there are workers, so that what works beside them is never starved.
        cpus = max(int(here.cpus), int(most * demand.cpus) + 1)
        # "local": without it Ray joins a cluster that somebody has started on this machine, and refuses `num_cpus`.
        try:
            _connect(address=PRIVATE, num_cpus=cpus, include_dashboard=False)
        # Ray raises bare exceptions where a process of its own is not up after half a minute
        except Exception as error:
            raise JobFailed(
                f"Ray did not start on this machine ({first_line(error)}). Try again when it has less to do; "
                "`run --local` needs no Ray"
            ) from error
        where = f"on a Ray of its own on this machine, {cpus} CPUs (--address auto joins one that runs here)"
        return _opened(Cluster(where, (least, most), connected_here=True))
    try:
        _refuse_unreachable(address)
        _connect(address=address)
    except (ConnectionError, RuntimeError, ValueError, TimeoutError) as error:
        # Ray's own sentence only repeats the address; the reason is behind it.
        said = redact(
            f"compute.address {address}: cannot reach this Ray cluster ({first_line(error.__cause__ or error)})"
        )
        raise InputError(said) from None
    try:
        room = _room_of_cluster()
        where = f"on the Ray cluster {redact(address)}, {counted(room.cpus, 'CPU')} and {counted(room.gpus, 'GPU')}"
        fitting = _fitting(demand, room)
        # through Ray's client the process is not part of the cluster, and gets an exception
        watch = None if "://" in address else HeadWatch(ray.get_runtime_context().gcs_address)
        return _opened(Cluster(where, fitting, connected_here=True, watch=watch))
    except BaseException:
        ray.shutdown()
        raise


def _refuse_unreachable(address: str) -> None:
    """Raise InputError where nothing listens at an address, or refuses the token: Ray itself would try for minutes.

    Raises ConnectionError for ``auto`` where no Ray runs on this machine.
    """
    from ray._private.services import canonicalize_bootstrap_address
    from ray._raylet import GcsClient  # pyright: ignore[reportAttributeAccessIssue]
    from ray.exceptions import AuthenticationError, RayError

    shown = f"compute.address {redact(address)}"
    scheme, _, place = (canonicalize_bootstrap_address(address) or "" if address == "auto" else address).rpartition(
        "://"
    )
    if scheme in ("http", "https"):
        raise InputError(
            f"{shown}: a dashboard is what `sceneshift submit` takes; a run joins HEAD:6379 or ray://HEAD:10001"
        )
    host, _, port = place.rpartition(":")
    if not host or not port.isdigit():
        # a form that Ray refuses at once
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_ANSWERS_WITHIN_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"{shown}: nothing answers there ({first_line(error)}); is the head up?") from None
    if scheme:
        return
    try:
        # Asks for the cluster's id, nothing more.
        GcsClient(address=place)
    except AuthenticationError:
        raise InputError(
            f"{shown}: the cluster wants a token and refuses what it got; name the file with the cluster's token in "
            "RAY_AUTH_TOKEN_PATH, and set RAY_AUTH_MODE=token"
        ) from None
    except RayError as error:
        raise InputError(f"{shown}: what answers there is no Ray head ({first_line(error)})") from None


def _connect(**options: object) -> None:
    import ray

    arguments: Mapping[str, object] = {"log_to_driver": False, "logging_level": logging.ERROR, **options}
    before = signal.getsignal(signal.SIGTERM)
    try:
        ray.init(**arguments)  # type: ignore[arg-type]
    finally:
        # Ray puts a handler in that exits: what a command does on SIGTERM, such as a checkpoint, would not be done
        if callable(before) and threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, before)


def _opened(cluster: Cluster) -> Cluster:
    _log.info("%s, %d to %d workers", cluster.where, *cluster.workers)
    return cluster


def _room_of_cluster() -> Room:
    import ray

    total = ray.cluster_resources()
    return Room(total.get("CPU", 0), total.get("GPU", 0), elastic=False)


def _fitting(demand: Demand, room: Room) -> tuple[int, int]:
    found = capacity(demand, room)
    if not found.fits:
        raise InputError(found.problem or "the job does not fit")
    return found.workers
