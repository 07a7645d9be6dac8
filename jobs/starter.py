"""A commented job file to begin with, made from the same descriptions as the reference."""

from __future__ import annotations

import textwrap
from typing import Any, get_args

from pydantic import BaseModel

from jobs.parameters import Parameter, parameters
from methods.base import MethodInfo
from methods.registry import info
from pipeline.spec import JobSpec

_WIDTH = 100


def starter_job(method: str) -> str:
    """The YAML text of a job with this method: what must be given is there to be replaced, the rest as comments.

    Raises:
        InputError: no such method; the nearest is named.
    """
    found = info(method)
    preset = next(iter(found.presets), None)
    given: dict[str, Any] = {
        "name": f"{method.replace('_', '-')}-job",
        "source.uri": "data/pictures/*.jpg",
        "method.name": method,
        "output.uri": "data/translated",
        # a block whose keys are all comments would be empty, which YAML reads as null
        "compute.workers": "auto",
    }
    if preset is not None:
        given["method.preset"] = preset
    if "condition" in found.inputs:
        given["source.condition"] = _condition(found)
    lines = [
        f"# {found.summary}",
        "# What is commented out shows its default. Try it on a few pictures first:",
        "#   sceneshift preview JOB.yaml",
        "#   sceneshift run JOB.yaml",
        "",
    ]
    for name, field in JobSpec.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            lines += [f"{name}:", *_block(inner, f"{name}.", given, "  ", found, preset)]
        else:
            lines += _keys([each for each in parameters(JobSpec) if each.name == name], given, "")
        lines.append("")
    return "\n".join(lines).rstrip() + "\n"


def _block(
    model: type[BaseModel], path: str, given: dict[str, Any], indent: str, method: MethodInfo, preset: str | None
) -> list[str]:
    keys = [
        Parameter(path + each.name, each.type, each.default, each.meaning)
        for each in parameters(model)
        if not (path == "method." and each.name == "params")
    ]
    lines = _keys(keys, given, indent)
    if path == "method.":
        lines += _params(method, preset, indent)
    return lines


def _params(method: MethodInfo, preset: str | None, indent: str) -> list[str]:
    """The method's own parameters: required ones to be filled in, the others as comments."""
    covered = set(method.presets[preset].params) if preset is not None else set()
    keys = [each for each in parameters(method.params) if each.name not in covered and each.name != "condition"]
    needed = {each.name: None for each in keys if each.required}
    head = f"{indent}params:" if needed else f"{indent}# params:"
    return [head, *_keys(keys, needed, f"{indent}  " if needed else f"{indent}#   ", commented=not needed)]


def _keys(keys: list[Parameter], given: dict[str, Any], indent: str, commented: bool = False) -> list[str]:
    lines: list[str] = []
    for each in keys:
        name = each.name.rpartition(".")[2]
        note = indent if commented else f"{indent}# "
        lines += textwrap.wrap(each.meaning, _WIDTH, initial_indent=note, subsequent_indent=note)
        if each.name in given:
            value = given[each.name]
            lines.append(f"{indent}{name}: {value}" if value is not None else f"{indent}{name}:  # must be filled in")
        else:
            lines.append(f"{note}{name}: {each.default}")
    return lines


def _condition(method: MethodInfo) -> str:
    """The first condition that the method takes."""
    choices = [choice for choice in get_args(method.params.model_fields["condition"].annotation) if choice is not None]
    return str(choices[0]) if choices else "sketch"
