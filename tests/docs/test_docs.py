"""What the documentation shows is true: YAML blocks validate, commands parse, links and named files exist."""

from __future__ import annotations

import ast
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer.main
import yaml

from jobs.cli import app
from methods.registry import registered
from pipeline.spec import JobSpec
from pipeline.training.distillation import DistillSpec
from pipeline.training.spec import TrainSpec

ROOT = Path(__file__).resolve().parents[2]
_PLACES = ("*.md", "docs/**/*.md", "*/README.md", "jobs/*/*.md")
PAGES = sorted({path for place in _PLACES for path in ROOT.glob(place)})
FOREIGN = {"make", "docker", "kubectl", "sbatch", "systemctl", "python", "pip", "ray", "export"}
FOREIGN |= {"airflow", "promtool", "prometheus"}
"""Other programs that the pages name: what they do is not ours to test."""


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def cases(language: str) -> list[Any]:
    return [
        pytest.param(page, text, id=f"{page.relative_to(ROOT)}-{number}")
        for page in PAGES
        for number, text in enumerate(blocks(page, language))
    ]


@pytest.mark.parametrize(("page", "text"), cases("yaml"))
def test_yaml_blocks_are_valid(page: Path, text: str) -> None:
    tree = yaml.safe_load(text)
    if "apiVersion" in tree:
        return
    if "teacher" in tree:
        assert DistillSpec.model_validate(tree).teacher
    elif "objective" in tree:
        assert TrainSpec.parse(tree).objective
    else:
        whole = {"source": {"uri": "in"}, "method": {"name": "cyclegan_turbo"}, "output": {"uri": "out"}}
        assert JobSpec.parse({**whole, **tree}).method


@pytest.mark.parametrize(("page", "text"), cases("console"))
def test_commands_exist_with_these_options(page: Path, text: str) -> None:
    commands = [line.removeprefix("$ ") for line in text.splitlines() if line.startswith("$ ")]
    assert commands, "a console block shows commands behind '$ '"
    for command in commands:
        words = shlex.split(command.replace(".venv/bin/", ""))
        if words[0] in FOREIGN:
            targets = set(re.findall(r"^([a-z0-9-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
            assert words[0] != "make" or words[1] in targets
            continue
        assert words[0] == "sceneshift", command
        group: Any = typer.main.get_command(app)
        name, *rest = words[1:]
        found = group.commands[name]
        while hasattr(found, "commands"):
            name, *rest = rest
            found = found.commands[name]
        # parses and checks the arguments; nothing is run
        with found.make_context(name, rest):
            pass


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_named_files_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert [link for link in links if not (page.parent / link).exists()] == []
    named = re.findall(
        r"`((?:tests|pipeline|methods|jobs|deploy|benchmarks|docs)/[\w./-]+\.(?:py|md|yaml|json))`", text
    )
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_example_is_in_the_table() -> None:
    table = (ROOT / "jobs" / "examples" / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in (ROOT / "jobs" / "examples").glob("*.yaml") if f"`{path.name}`" not in table] == []


def test_the_readme_says_which_methods_have_bundled_weights() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    said = {
        name: cells.split("|")[-1].strip() for name, cells in re.findall(r"^\| `(\w+)` \|(.*)\|$", text, re.MULTILINE)
    }
    assert said.keys() == {name for name, info in registered().items() if info.implementation.startswith("methods.")}
    jobs = [JobSpec.load(path) for path in (ROOT / "jobs" / "examples").rglob("*.yaml") if "gallery" in path.parts]
    for name, weights in said.items():
        presets = registered()[name].presets.values()
        bundled = [each.weights for each in presets] + [job.method.weights for job in jobs if job.method.name == name]
        assert (weights != "none") == any(str(each).startswith("bundled://") for each in bundled), name


def reasons_of(path: Path) -> set[str]:
    """The reasons for rejections that a module writes out, in the calls that make them or in a name ``reason``."""
    places = {"BadSample": 0, "Rejection": 1, "broken_file": 1}
    values: list[ast.expr] = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call):
            place = places.get(ast.unparse(node.func))
            values += [] if place is None else node.args[place : place + 1]
            values += [keyword.value for keyword in node.keywords if keyword.arg == "reason"]
        elif isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "reason":
            values.append(node.value)
    chosen = [
        each for value in values for each in ([value.body, value.orelse] if isinstance(value, ast.IfExp) else [value])
    ]
    texts = [each.value for each in chosen if isinstance(each, ast.Constant) and isinstance(each.value, str)]
    return {text for text in texts if re.fullmatch(r"[a-z0-9_]+", text)}


def test_every_rejection_reason_is_explained() -> None:
    page = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    table = page.partition("## Why a sample is rejected")[2].partition("\n## ")[0]
    rows = [re.findall(r"`([a-z0-9_]+)`", line.split("|")[1]) for line in table.splitlines() if line.startswith("| `")]
    explained = [reason for row in rows for reason in row]
    reasons = set().union(
        *(reasons_of(path) for room in ("pipeline", "methods") for path in (ROOT / room).rglob("*.py"))
    )
    assert len(reasons) > 50, "the reasons are written in another way now"
    assert sorted(reasons - set(explained)) == []
    assert sorted(reason for reason in explained if explained.count(reason) > 1) == []
