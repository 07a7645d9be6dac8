"""Descriptions stand once, in the models: schema, starter job and reference are made from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from pydantic import BaseModel

from jobs.cli import app
from jobs.parameters import parameters
from jobs.reference import FOLDER, pages
from jobs.schema import schema, spec_model
from jobs.starter import starter_job
from methods.registry import registered
from methods.train.registry import registered as objectives
from pipeline.spec import JobSpec

ROOT = Path(__file__).resolve().parents[2]
OURS = sorted(name for name, info in registered().items() if info.params.__module__.startswith("methods."))


OUR_OBJECTIVES = [name for name, each in objectives().items() if each.params.__module__.startswith("methods.")]


def undescribed(model: type[BaseModel], deep: bool = True) -> list[str]:
    return [each.name for each in parameters(model, deep=deep) if not each.meaning or not each.type]


@pytest.mark.parametrize("kind", ["job", "train", "distill"])
def test_every_key_of_every_file_has_a_description(kind):
    assert undescribed(spec_model(kind)) == []


def test_every_parameter_has_a_description():
    ours = [*(registered()[name] for name in OURS), *objectives().values()]
    found = {
        each.name: undescribed(each.params, deep=False)
        for each in ours
        if each.params.__module__.startswith("methods.")
    }
    assert {name: missing for name, missing in found.items() if missing} == {}


def without_description(tree: Any, place: str = "") -> list[str]:
    """The place of every key of a JSON Schema, however deep, beside which no description stands."""
    if isinstance(tree, list):
        return [each for item in tree for each in without_description(item, place)]
    if not isinstance(tree, dict):
        return []
    keys = tree.get("properties", {})
    bare = [f"{place}/{name}" for name, key in keys.items() if not key.get("description")]
    return bare + [each for name, item in tree.items() for each in without_description(item, f"{place}/{name}")]


@pytest.mark.parametrize("kind", ["job", "train", "distill"])
def test_every_key_of_every_schema_has_a_description(kind):
    names = {"job": [None, *OURS], "train": [None, *OUR_OBJECTIVES], "distill": [None]}[kind]
    assert {name: bare for name in names if (bare := without_description(schema(kind, name)))} == {}


def without_default(tree: dict[str, Any]) -> list[str]:
    """Keys that may be left out, and do not say what holds then."""
    return [
        f"{title}.{key}"
        for title, block in {"": tree, **tree.get("$defs", {})}.items()
        for key, each in block.get("properties", {}).items()
        if key not in block.get("required", []) and "default" not in each and "const" not in each
    ]


@pytest.mark.parametrize(
    ("command", "kind", "names"), [("methods", "job", OURS), ("objectives", "train", OUR_OBJECTIVES)]
)
def test_the_parameters_that_a_command_prints_are_those_of_the_schema(command, kind, names, capsys):
    for name in names:
        app([command, name, "--json"], standalone_mode=False)
        params = json.loads(capsys.readouterr().out)["params"]
        assert without_description(params) == []
        assert without_default(params) == []
        assert "\\n" not in json.dumps(params)
        whole = schema(kind, name)["$defs"]
        assert params.pop("$defs", {}).items() <= whole.items()
        assert params == whole[params["title"]]


def test_keys_of_the_files_say_their_defaults():
    assert {kind: bare for kind in ("job", "train", "distill") if (bare := without_default(schema(kind)))} == {}


def test_the_reference_is_fresh():
    stale = [name for name, text in pages().items() if (ROOT / FOLDER / name).read_text(encoding="utf-8") != text]
    assert not stale, "run `python -m jobs.reference`"
    assert {path.name for path in (ROOT / FOLDER).iterdir()} == set(pages()), "pages that nothing makes"


@pytest.mark.parametrize("method", OURS)
def test_a_starter_job_is_a_job_and_fits_its_schema(method):
    text = starter_job(method)
    tree = yaml.safe_load(text)
    assert JobSpec.parse(tree).method.name == method
    needed = [each.name for each in parameters(registered()[method].params) if each.required]
    if not needed:
        Draft202012Validator(schema("job", method)).validate(tree)
    assert all(f"{name}:  # must be filled in" in text for name in needed)


@pytest.mark.parametrize("example", sorted((ROOT / "jobs" / "examples").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_example_fits_the_schema(example):
    tree = yaml.safe_load(example.read_text())
    kind = "distill" if "teacher" in tree else "train" if "objective" in tree else "job"
    name = tree["method"]["name"] if kind == "job" else tree.get("objective", {}).get("name")
    Draft202012Validator.check_schema(schema(kind, name))
    Draft202012Validator(schema(kind, name)).validate(tree)


def test_the_schema_refuses_a_misspelt_parameter():
    tree = yaml.safe_load(starter_job("cyclegan_turbo"))
    tree["method"]["params"] = {"captoin": "driving in the snow"}
    with pytest.raises(ValidationError, match="captoin"):
        Draft202012Validator(schema("job", "cyclegan_turbo")).validate(tree)


def test_schema_and_init_commands(tmp_path, capsys):
    app(["schema", "train", "--method", "pix2pix"], standalone_mode=False)
    assert json.loads(capsys.readouterr().out)["title"] == "sceneshift train"
    job = tmp_path / "job.yaml"
    app(["init", "pix2pix_turbo", "--out", str(job)], standalone_mode=False)
    assert JobSpec.load(job).method.preset is not None
