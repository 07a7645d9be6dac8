"""`sceneshift`: the command line. Imports of torch, Ray and the rest happen inside the commands that need them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from jobs.arguments import Json, Output, Set, Since, Spec, Specs, ended, window_override
from jobs.cli_cluster import add_cluster_commands
from jobs.cli_results import add_result_commands
from jobs.console import Console, run_safely
from jobs.verbosity import Commands

app = Commands(
    name="sceneshift",
    help="Translate whole labelled image datasets into another domain.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

Kind = Literal["job", "train", "distill"]


def _show_version(asked: bool) -> None:
    if asked:
        from jobs.versions import version_line

        print(version_line())
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Print the versions in use and exit."),
    ] = False,
) -> None:
    """What holds for no command in particular."""


@app.command()
def run(
    spec: Spec,
    set_: Set = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Worker processes; overrides compute.workers. With --local: 1 by default.")
    ] = None,
    local: Annotated[bool, typer.Option("--local", help="Work on this machine, without Ray.")] = False,
    part: Annotated[
        str | None, typer.Option(metavar="N/M", help="With --local: make only the N-th of M parts of the job.")
    ] = None,
    address: Annotated[str | None, typer.Option(help="Ray cluster to run on; none starts one here.")] = None,
    max_rejects: Annotated[
        float | None, typer.Option(help="Share (below 1) or count of rejected samples that stops the job.")
    ] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Throw away what the output holds.")] = False,
    steal_lock: Annotated[
        bool, typer.Option("--steal-lock", help="Take over the lock of a driver that is gone.")
    ] = False,
    if_busy: Annotated[
        Literal["fail", "skip"], typer.Option(help="When another run holds the output: exit code 2, or skip with 0.")
    ] = "fail",
    since: Since = None,
    json: Json = False,
) -> None:
    """Translate a dataset, or do what is left of it."""
    from jobs.commands.run import run_command

    overrides = list(set_ or [])
    overrides += [f"compute.workers={workers}"] if workers is not None else []
    overrides += [f"compute.address={address}"] if address is not None else []
    overrides += [f"max_rejects={max_rejects}"] if max_rejects is not None else []
    overrides += window_override(since)
    run_safely(
        Console(json),
        lambda console: run_command(
            console,
            spec,
            overrides,
            local=local,
            processes=(workers or 1) if local else 1,
            part=part,
            fresh=fresh,
            steal_lock=steal_lock,
            if_busy=if_busy,
        ),
    )


@app.command()
def plan(
    spec: Spec,
    set_: Set = None,
    since: Since = None,
    calibrate: Annotated[
        int | None, typer.Option(min=1, metavar="N", help="Translate N samples here first, to know the speed.")
    ] = None,
    like: Annotated[
        str | None, typer.Option(metavar="OUTPUT", help="Take the speed from the runs of another output.")
    ] = None,
    price_per_hour: Annotated[
        float | None, typer.Option(min=0, help="Price of an hour of one GPU; without GPUs, of one worker.")
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(metavar="GPU", help="With --calibrate: the GPU, as H100, whose most images/s are said."),
    ] = None,
    json: Json = False,
) -> None:
    """Show what a run would do: counts, shards, time, bytes and price. Touches nothing."""
    from jobs.commands.plan import plan_command

    overrides = list(set_ or [])
    overrides += window_override(since)
    run_safely(
        Console(json),
        lambda console: plan_command(
            console, spec, overrides, samples=calibrate, like=like, price=price_per_hour, on=on
        ),
    )


@app.command()
def preview(
    specs: Specs,
    count: Annotated[int, typer.Option("--count", "--samples", "-n", min=1, max=64, help="How many samples.")] = 4,
    out: Annotated[Path, typer.Option("--out", "-o", help="The picture to write, NAME.png.")] = Path("preview.png"),
    set_: Set = None,
    json: Json = False,
) -> None:
    """Translate a few samples by one job or several, side by side with their sources; says what a picture takes."""
    from jobs.commands.preview import preview_command

    run_safely(
        Console(json), lambda console: preview_command(console, specs, list(set_ or []), count, ended(out, ".png"))
    )


@app.command()
def stats(
    source: Annotated[str, typer.Argument(help="The dataset, as source.uri names one.")],
    out: Annotated[str, typer.Option("--out", "-o", help="The file to write, NAME.npz.")],
    metric: Annotated[
        list[str] | None,
        typer.Option(help="A metric of sets, as in a job: fid, or '{fid: {resize: clean}}'. May be repeated."),
    ] = None,
    device: Annotated[Literal["cpu", "cuda"], typer.Option(help="Where the networks run.")] = "cpu",
    json: Json = False,
) -> None:
    """Keep the statistics of a dataset, so that jobs can be compared with it (metrics_reference)."""
    from jobs.commands.stats import stats_command

    run_safely(Console(json), lambda console: stats_command(console, source, out, metric or ["fid"], device))


@app.command()
def status(
    output: Output,
    errors: Annotated[
        bool, typer.Option("--errors", help="Why samples were rejected and steps failed, with the first tracebacks.")
    ] = False,
    json: Json = False,
) -> None:
    """How far an output is, who is at work on it, and what was rejected."""
    from jobs.commands.status import status_command

    run_safely(Console(json), lambda console: status_command(console, output, errors=errors))


@app.command()
def verify(
    output: Output,
    quick: Annotated[bool, typer.Option("--quick", help="Do not decode the pictures.")] = False,
    json: Json = False,
) -> None:
    """Check every commit: rows, checksums, places, pictures, the merged index."""
    from jobs.commands.verify import verify_command

    run_safely(Console(json), lambda console: verify_command(console, output, decode=not quick))


@app.command()
def report(output: Output, json: Json = False) -> None:
    """Write the HTML report, card and summaries of an output anew."""
    from jobs.commands.report import report_command

    run_safely(Console(json), lambda console: report_command(console, output))


@app.command()
def finalise(output: Output, json: Json = False) -> None:
    """Summarise what is committed: index, metrics, card, report; marks the output as finished if nothing is left."""
    from jobs.commands.finalise import finalise_command

    run_safely(Console(json), lambda console: finalise_command(console, output))


@app.command()
def export(
    output: Output,
    out: Annotated[str, typer.Argument(help="The folder or URI to write to, or one .json file for labels only.")],
    format: Annotated[
        str, typer.Option("--format", "-f", help="coco, bdd100k, yolo, voc, cityscapes or hf (Hugging Face).")
    ] = "coco",
    images: Annotated[
        str | None,
        typer.Option(help="copy, link (an output of loose files on the same disk) or none. Default: copy."),
    ] = None,
    splits: Annotated[
        str | None, typer.Option(help="Shares, such as 0.9,0.1 (train, val, test) or train=0.8,dev=0.2.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Which samples fall into which split.")] = 0,
    where: Annotated[
        str | None, typer.Option(help="Only these pictures, as in keep: 'metric.ssim > 0.5 and width >= 640'.")
    ] = None,
    image_format: Annotated[
        str,
        typer.Option(help="stored (as they are), source (png stays png, jpg stays jpg), jpeg, png or webp."),
    ] = "stored",
    task: Annotated[str, typer.Option(help="For yolo: auto, detect, segment, pose or obb.")] = "auto",
    ignore_lost: Annotated[
        bool, typer.Option("--ignore-lost", help="coco: flag boxes that labels.check found lost as ignore.")
    ] = False,
    json: Json = False,
) -> None:
    """Write pictures and labels as trainers load them; to a .json file: the labels alone, as before."""
    from jobs.commands.export import export_command
    from pipeline.output.export.run import ExportOptions

    options = ExportOptions(format, images or "copy", splits, seed, where, image_format, task, ignore_lost)
    only_labels = images in (None, "none") and splits is None and image_format == "stored" and not ignore_lost
    run_safely(Console(json), lambda console: export_command(console, output, out, options, only_labels=only_labels))


@app.command()
def push(
    output: Output,
    target: Annotated[str, typer.Argument(help="hf://owner/name, a dataset repository; made if there is none.")],
    private: Annotated[bool, typer.Option("--private", help="Make a new repository private.")] = False,
    json: Json = False,
) -> None:
    """Upload an output or an exported folder to the Hugging Face Hub; a push that broke off goes on."""
    from jobs.commands.push import push_command

    run_safely(Console(json), lambda console: push_command(console, output, target, private=private))


@app.command()
def methods(
    name: Annotated[str | None, typer.Argument(help="Show one method's presets and parameters.")] = None,
    json: Json = False,
) -> None:
    """List the translation methods, or one method's presets and parameters."""
    from jobs.commands.methods import methods_command

    run_safely(Console(json), lambda console: methods_command(console, name))


@app.command()
def objectives(
    name: Annotated[str | None, typer.Argument(help="Show one objective's data and parameters.")] = None,
    json: Json = False,
) -> None:
    """List what can be trained, or one objective's data and parameters."""
    from jobs.commands.objectives import objectives_command

    run_safely(Console(json), lambda console: objectives_command(console, name))


@app.command()
def schema(
    kind: Annotated[Kind, typer.Argument(help="job, train or distill.")] = "job",
    method: Annotated[
        str | None, typer.Option(help="Put in this method's (or objective's) presets and parameters.")
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File to write. Default: print it.")] = None,
    json: Json = False,
) -> None:
    """Print the JSON Schema of a job, training or distillation file, for editors."""
    from jobs.commands.schema import schema_command

    run_safely(Console(json), lambda console: schema_command(console, kind, method, out))


@app.command()
def init(
    method: Annotated[str, typer.Argument(help="The translation method; `sceneshift methods` lists them.")] = (
        "cyclegan_turbo"
    ),
    out: Annotated[Path, typer.Option("--out", "-o", help="The job file to write, NAME.yaml.")] = Path("job.yaml"),
    json: Json = False,
) -> None:
    """Write a commented job file to begin with."""
    from jobs.commands.init import init_command

    run_safely(Console(json), lambda console: init_command(console, method, ended(out, ".yaml", ".yml")))


Workers = Annotated[int | None, typer.Option(help="Worker processes; overrides compute.workers.")]
Export = Annotated[
    Path | None,
    typer.Option(help="Train nothing: write the newest checkpoint's weights here (.safetensors, or official .pkl)."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Take three steps, print memory and time, write nothing.")]


@app.command()
def train(
    spec: Annotated[Path, typer.Argument(help="The training file (YAML).", show_default=False)],
    set_: Set = None,
    workers: Workers = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Throw away what the output holds.")] = False,
    steal_lock: Annotated[
        bool, typer.Option("--steal-lock", help="Take over the lock of a driver that is gone.")
    ] = False,
    export: Export = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Train a translator, or go on from the last checkpoint."""
    from jobs.commands.train import train_command

    run_safely(
        Console(json),
        lambda console: train_command(
            console,
            spec,
            _with_workers(set_, workers),
            fresh=fresh,
            steal_lock=steal_lock,
            export=export,
            dry_run=dry_run,
        ),
    )


def _with_workers(settings: list[str] | None, workers: int | None) -> list[str]:
    return [*(settings or []), *([f"compute.workers={workers}"] if workers is not None else [])]


@app.command("sample-data")
def sample_data(
    out: Annotated[str, typer.Argument(help="Folder to write to.")],
    scenes: Annotated[int, typer.Option(help="Number of scenes.")] = 32,
    size: Annotated[str, typer.Option(help="Pixels a side, or WIDTHxHEIGHT.")] = "256",
    conditions: Annotated[str, typer.Option(help="Comma-separated: day, night, fog, rain, snow.")] = "day",
    seed: Annotated[int, typer.Option(help="First scene's seed.")] = 0,
    format: Annotated[str, typer.Option("--format", "-f", help="webdataset, parquet or folder.")] = "webdataset",
    truth: Annotated[
        str | None, typer.Option(help="Put this condition's true picture beside every other one (night, ...).")
    ] = None,
    lossless: Annotated[bool, typer.Option("--lossless", help="Pictures as PNG instead of JPEG.")] = False,
    json: Json = False,
) -> None:
    """Render labelled street scenes with exact truth."""
    from jobs.commands.sample_data import sample_data_command

    run_safely(
        Console(json),
        lambda console: sample_data_command(console, out, scenes, size, conditions, seed, format, truth, lossless),
    )


@app.command()
def distill(
    spec: Annotated[Path, typer.Argument(help="The distillation file (YAML).", show_default=False)],
    set_: Set = None,
    workers: Workers = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Throw away what the output holds.")] = False,
    steal_lock: Annotated[
        bool, typer.Option("--steal-lock", help="Take over the lock of a driver that is gone.")
    ] = False,
    export: Export = None,
    dry_run: DryRun = False,
    json: Json = False,
) -> None:
    """Train a fast student on the pairs a slow method made, and compare the two."""
    from jobs.commands.distill import distill_command

    run_safely(
        Console(json),
        lambda console: distill_command(
            console,
            spec,
            _with_workers(set_, workers),
            fresh=fresh,
            steal_lock=steal_lock,
            export=export,
            dry_run=dry_run,
        ),
    )


add_result_commands(app)
add_cluster_commands(app)

directions_app = Commands(help="Edit directions of pix2pix-zero.", no_args_is_help=True)
app.add_typer(directions_app, name="directions")


@directions_app.command("make")
def directions_make(
    source: Annotated[str, typer.Argument(help="What the pictures show, such as cat.")],
    target: Annotated[str, typer.Argument(help="What they are to show, such as dog.")],
    sentences: Annotated[
        list[Path] | None,
        typer.Option("--sentences", help="A file of sentences, one per line, about the source; twice: source, target."),
    ] = None,
    template: Annotated[bool, typer.Option("--template", help="Sentences from patterns around the two words.")] = False,
    base: Annotated[str, typer.Option(help="The model whose text encoder is used.")] = "CompVis/stable-diffusion-v1-4",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The .safetensors file to write.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    json: Json = False,
) -> None:
    """Make an edit direction from sentences about two concepts; without any, from the bundled ones."""
    from jobs.commands.directions import make_direction_command

    run_safely(
        Console(json),
        lambda console: make_direction_command(
            console, source, target, list(sentences or []), template, base, out, device
        ),
    )


def main() -> None:
    """Entry point of the `sceneshift` script; exit codes: 0 done, 1 over the reject limit, 2 wrong input, 3 failed."""
    try:
        result: Any = app(standalone_mode=False)
    except typer.Exit as stop:
        sys.exit(stop.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        print("sceneshift: stopped; what is committed stays, run it again to go on", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        # click's usage errors format themselves; anything else is a bug and keeps its traceback.
        show = getattr(error, "show", None)
        if show is None:
            raise
        show()
        sys.exit(2)
    sys.exit(result if isinstance(result, int) else 0)
