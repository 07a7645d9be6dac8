"""Writes docs/reference from models, commands and modules: `python -m jobs.reference`. A test holds it fresh."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jobs.module_map import module_map
from jobs.parameters import Parameter, parameters
from jobs.schema import Kind, spec_model

FOLDER = Path("docs") / "reference"
_HEAD = "<!-- Written by `python -m jobs.reference`; do not edit by hand. -->\n\n"
_FILES: dict[Kind, tuple[str, str]] = {
    "job": ("The job file", "What `sceneshift run`, `plan` and `preview` read."),
    "train": ("The training file", "What `sceneshift train` reads."),
    "distill": ("The distillation file", "What `sceneshift distill` reads."),
}


def pages() -> dict[str, str]:
    """The text of every page of the reference, by file name."""
    found = {f"{kind}.md": _spec_page(kind) for kind in _FILES}
    return (
        found
        | {"methods.md": _methods(), "objectives.md": _objectives(), "metrics.md": _metrics()}
        | {"commands.md": _commands(), "modules.md": f"{_HEAD}{module_map()}"}
    )


def _spec_page(kind: Kind) -> str:
    title, what = _FILES[kind]
    keys = parameters(spec_model(kind), deep=True)
    required = ", ".join(f"`{each.name}`" for each in keys if each.required)
    return (
        f"{_HEAD}# {title}\n\n{what} An unknown key is an error that names the nearest one; environment variables "
        f"expand in URIs. Must be given: {required}. `sceneshift schema {kind}` prints the same as JSON Schema.\n\n"
        f"{_table(keys)}"
    )


def _methods() -> str:
    from methods.registry import registered

    text = f"{_HEAD}# Methods\n\nPresets and parameters (`method.preset`, `method.params`) of every method.\n"
    for method in _own(registered()):
        text += f"\n## {method.name}\n\n{method.summary}\n\n{method.paper}\n\n"
        if method.presets:
            text += "| preset | what it does | weights |\n| --- | --- | --- |\n"
            for name, preset in method.presets.items():
                weights = f"`{preset.weights}`" if preset.weights else "-"
                text += f"| `{name}` | {_cell(preset.summary)} | {weights} |\n"
            text += "\n"
        text += _table(parameters(method.params))
    return text


def _objectives() -> str:
    from methods.train.registry import registered

    text = f"{_HEAD}# Objectives\n\nWhat `sceneshift train` can train: data and parameters (`objective.params`).\n"
    for objective in _own(registered()):
        text += f"\n## {objective.name}\n\n{objective.summary}\n\n{objective.paper}\n\n"
        text += f"Published: {objective.steps} steps of {objective.batch_size}. Data:\n\n"
        text += "".join(f"- `{name}`: {what}\n" for name, what in objective.streams.items())
        text += "\n" + _table(parameters(objective.params))
    return text


def _metrics() -> str:
    from pipeline.metrics import registered

    text = f"{_HEAD}# Metrics\n\nWhat `metrics` of a job may list, by name or as `{{name: {{parameter: value}}}}`.\n"
    for metric in _own(registered(), "pipeline."):
        text += f"\n## {metric.name}\n\n{metric.summary[0].upper()}{metric.summary[1:]}.\n\n"
        columns = ", ".join(f"`{column}`" for column in metric.columns)
        text += f"Columns: {columns}.\n" if columns else "No columns: one figure of the whole set, in `metrics.json`.\n"
        if metric.requires is not None:
            text += f"\nNeeds `pip install '{metric.requires[1]}'`.\n"
        if metric.params is not None:
            text += "\n" + _table(parameters(metric.params))
    return text


def _commands() -> str:
    import typer.main

    from jobs.cli import app

    text = (
        f"{_HEAD}# Commands\n\nExit codes: 0 done, 1 over the reject limit, 2 wrong input, 3 failed, 130 stopped by "
        "Ctrl-C, 143 by SIGTERM.\n\n"
        "`sceneshift --version`: The versions of sceneshift, Python, torch and Ray that are in use, in one line.\n"
    )
    return text + _group(typer.main.get_command(app), "sceneshift")


def _group(group: Any, name: str) -> str:
    text = ""
    for command, found in sorted(group.commands.items()):
        if hasattr(found, "commands"):
            text += _group(found, f"{name} {command}")
            continue
        shown = " ".join(each.name.upper() for each in found.params if each.param_type_name == "argument")
        text += f"\n## {name} {command}\n\n`{' '.join(f'{name} {command} {shown}'.split())}`: {found.help or ''}\n\n"
        for each in found.params:
            names = "/".join(getattr(each, "opts", [])) if each.param_type_name == "option" else each.name.upper()
            if names != "--help":
                text += f"- `{names}` {' '.join((getattr(each, 'help', '') or '').split())}\n"
    return text


def _own(found: Mapping[str, Any], room: str = "methods.") -> list[Any]:
    """What this package brings, by name; what third parties have installed beside it is left out."""
    return [each for _, each in sorted(found.items()) if each.implementation.startswith(room)]


def _table(keys: list[Parameter]) -> str:
    rows = "| key | type | default | meaning |\n| --- | --- | --- | --- |\n"
    for each in keys:
        default = "required" if each.default is None else f"`{_cell(each.default)}`"
        rows += f"| `{each.name}` | {_cell(each.type)} | {default} | {_cell(each.meaning)} |\n"
    return rows


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def main() -> None:
    """Write every page below docs/reference."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, text in pages().items():
        (FOLDER / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
