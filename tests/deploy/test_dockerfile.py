"""The Dockerfile, as far as it can be tested without Docker."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "deploy" / "Dockerfile"


def instructions() -> list[tuple[str, str]]:
    """(INSTRUCTION, the rest) of every line, continued lines joined, comments left out."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    return [(word, rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line)]


def copied() -> list[str]:
    """What is copied from the repository."""
    sources = []
    for word, rest in instructions():
        if word == "COPY" and "--from=" not in rest:
            *paths, _ = [part for part in shlex.split(rest) if not part.startswith("--")]
            sources += paths
    return sources


def test_what_is_copied_is_there_and_not_ignored():
    allowed = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert len(copied()) >= 6
    for path in copied():
        assert (ROOT / path).exists(), path
        assert path in allowed, path
    assert allowed == set(copied())


def test_every_package_is_copied():
    found = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = {pattern.rstrip("*") for pattern in found["tool"]["setuptools"]["packages"]["find"]["include"]}
    assert packages <= set(copied())
    assert {found["project"]["readme"], *found["project"]["license-files"]} <= set(copied())


def test_it_does_not_run_as_root():
    users = [rest for word, rest in instructions() if word == "USER"]
    user, _, group = users[-1].partition(":")
    assert int(user) > 0
    assert int(group) > 0
    # Nothing of the last stage is installed after that.
    words = [word for word, _ in instructions()]
    assert "RUN" not in words[len(words) - 1 - words[::-1].index("USER") :]


def test_it_names_no_registry_and_no_address():
    arguments = dict(rest.split("=", 1) for word, rest in instructions() if word == "ARG" and "=" in rest)
    stages: set[str] = set()
    for word, rest in instructions():
        assert "://" not in rest
        if word == "FROM":
            image, _, name = rest.partition(" AS ")
            for argument, value in arguments.items():
                image = image.replace(f"${{{argument}}}", value)
            if image not in stages:
                host, slash, _ = image.partition("/")
                assert not (slash and re.search(r"[.:]|localhost", host)), image
                assert ":" in image, f"{image} has no tag"
            stages.add(name)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_both_devices_have_a_stage(device):
    assert any(word == "FROM" and rest.endswith(f" AS base-{device}") for word, rest in instructions())


def test_dependencies_are_locked_and_come_before_the_sources():
    steps = [f"{word} {rest}" for word, rest in instructions()]
    locked = next(n for n, step in enumerate(steps) if "--constraint requirements.lock" in step)
    sources = next(n for n, step in enumerate(steps) if step.startswith("COPY pipeline"))
    assert locked < sources


def test_the_entry_point_is_ours():
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    entry = next(rest for word, rest in instructions() if word == "ENTRYPOINT")
    assert any(f'"{script}"' in entry for script in scripts)
