"""The commands around a cluster and a calendar: `submit`, `jobs`, `logs`, `stop`, `schedule`, `weights`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from jobs.arguments import Json, Set, Spec
from jobs.console import Console, run_safely
from jobs.verbosity import Commands

Address = Annotated[
    str,
    typer.Option(help="The cluster's dashboard, where Ray Jobs listens.", envvar="RAY_API_SERVER_ADDRESS"),
]
_LOCAL_HEAD = "http://127.0.0.1:8265"


def submit(
    spec: Annotated[Path, typer.Argument(help="The job, training or distillation file (YAML).", show_default=False)],
    address: Address = _LOCAL_HEAD,
    set_: Set = None,
    working_dir: Annotated[
        Path | None,
        typer.Option(help="Upload this folder and work in it; the file must lie inside. Default: the file alone."),
    ] = None,
    image: Annotated[
        str | None, typer.Option(help="Work in this container image, which must hold the file at the same path.")
    ] = None,
    env_file: Annotated[Path | None, typer.Option(help="Lines of KEY=VALUE for the job's environment.")] = None,
    entrypoint_num_cpus: Annotated[
        float | None, typer.Option(min=0, help="CPUs that the driver takes on some node. Default: none, on the head.")
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the log; the exit code is the job's.")] = False,
    stop_on_exit: Annotated[
        bool, typer.Option("--stop-on-exit", help="With --wait: SIGINT and SIGTERM stop the job, too.")
    ] = False,
    if_busy: Annotated[
        Literal["fail", "skip", "follow"],
        typer.Option(help="When the job is at work there already: exit code 2, skip with 0, or with --wait follow it."),
    ] = "fail",
    json: Json = False,
) -> None:
    """Start a job on a Ray cluster through Ray Jobs, and leave it there or wait for it."""
    from jobs.commands.submit import Submission, submit_command

    order = Submission(spec, tuple(set_ or ()), working_dir, image, env_file, entrypoint_num_cpus)
    run_safely(
        Console(json),
        lambda console: submit_command(console, order, address, wait=wait, stop_on_exit=stop_on_exit, if_busy=if_busy),
    )


def jobs(
    address: Address = _LOCAL_HEAD,
    all_: Annotated[bool, typer.Option("--all", help="Also those that others than sceneshift submitted.")] = False,
    json: Json = False,
) -> None:
    """List the jobs that were submitted to a cluster."""
    from jobs.commands.jobs import jobs_command

    run_safely(Console(json), lambda console: jobs_command(console, address, everything=all_))


def logs(
    what: Annotated[str, typer.Argument(help="A submission id or job name, or an output folder, URI or job file.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the job ends.")] = False,
    workers: Annotated[
        bool, typer.Option("--workers", help="For an output: also the log files of its workers.")
    ] = False,
    address: Address = _LOCAL_HEAD,
    json: Json = False,
) -> None:
    """Print a job's log: from the cluster by its id, or from the output alone, from anywhere."""
    from jobs.commands.logs import logs_command

    run_safely(Console(json), lambda console: logs_command(console, what, address, follow=follow, workers=workers))


def stop(
    id_: Annotated[str, typer.Argument(metavar="ID", help="A submission id; `sceneshift jobs` lists them.")],
    address: Address = _LOCAL_HEAD,
    json: Json = False,
) -> None:
    """Stop a job on a cluster; what is committed stays, and submitting it again goes on."""
    from jobs.commands.stop import stop_command

    run_safely(Console(json), lambda console: stop_command(console, id_, address))


def schedule(
    spec: Spec,
    cron: Annotated[str, typer.Option(help="When, as in cron: minute hour day month weekday.")],
    target: Annotated[str, typer.Option(help="kuberay, cronjob (Kubernetes), systemd, airflow or slurm.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write to.")],
    time_zone: Annotated[str, typer.Option(help="Time zone of --cron, such as Europe/Berlin.")] = "UTC",
    image: Annotated[str, typer.Option(help="Container image, for kuberay and cronjob.")] = "sceneshift:latest",
    folder: Annotated[
        str | None,
        typer.Option(help="Where the files will lie on the machine that runs them. Default: the folder of --out."),
    ] = None,
    json: Json = False,
) -> None:
    """Write the files that make a scheduler run a job; each run translates what is new in the source."""
    from jobs.commands.schedule import schedule_command

    run_safely(
        Console(json),
        lambda console: schedule_command(console, spec, cron, time_zone, target, image, folder, out),
    )


What = Annotated[
    str,
    typer.Argument(
        metavar="JOB|METHOD[/PRESET]", help="A job file, a method, or one of its presets.", show_default=False
    ),
]


def list_weights(what: What, set_: Set = None, json: Json = False) -> None:
    """Print what is loaded: addresses, and size, checksum and place of what is here. Fetches nothing."""
    from jobs.commands.weights import list_weights_command

    run_safely(Console(json), lambda console: list_weights_command(console, what, list(set_ or [])))


def pull_weights(what: What, set_: Set = None, json: Json = False) -> None:
    """Fetch weights into the cache of this machine, where later runs find them."""
    from jobs.commands.weights import pull_weights_command

    run_safely(Console(json), lambda console: pull_weights_command(console, what, list(set_ or [])))


def mirror_weights(
    what: What,
    to: Annotated[
        str | None, typer.Option(help="The folder or bucket to copy to. Default: $SCENESHIFT_MIRROR.")
    ] = None,
    set_: Set = None,
    json: Json = False,
) -> None:
    """Copy weights to a folder or bucket of your own, which workers then take them from."""
    from jobs.commands.weights import mirror_weights_command

    run_safely(Console(json), lambda console: mirror_weights_command(console, what, list(set_ or []), to))


def verify_weights(what: What, set_: Set = None, json: Json = False) -> None:
    """Read what the cache and the mirror hold and compare checksums; exit code 3 if something is damaged."""
    from jobs.commands.weights import verify_weights_command

    run_safely(Console(json), lambda console: verify_weights_command(console, what, list(set_ or [])))


def add_cluster_commands(app: Commands) -> None:
    """Put the commands of this module into the command line."""
    for command in (submit, jobs, logs, stop, schedule):
        app.command()(command)
    weights = Commands(help="The weights that a job, a method or a preset loads.", no_args_is_help=True)
    weights.command("list")(list_weights)
    weights.command("pull")(pull_weights)
    weights.command("mirror")(mirror_weights)
    weights.command("verify")(verify_weights)
    app.add_typer(weights, name="weights")
