"""The lock files: exact versions, every file by its SHA-256, no registry named, nothing installed beside them."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ("requirements.lock", "requirements-bootstrap.lock", "requirements-audit.lock")


def locked(name: str) -> dict[str, tuple[Requirement, list[str]]]:
    """By canonical name, every requirement of a lock file with the digests of its files.

    A package that has one version on one system and another elsewhere is there once for each: the last stands for all.
    """
    lines = [line for line in (ROOT / name).read_text().splitlines() if not line.lstrip().startswith("#")]
    found = {}
    for line in re.sub(r" \\\n", " ", "\n".join(lines)).splitlines():
        requirement, *hashes = line.split(" --hash=")
        parsed = Requirement(requirement)
        found[canonicalize_name(parsed.name)] = (parsed, [digest.strip() for digest in hashes])
    return found


@pytest.mark.parametrize("name", LOCKS)
def test_versions_are_exact_and_every_file_has_a_digest(name: str) -> None:
    found = locked(name)
    assert found
    for requirement, digests in found.values():
        (version,) = requirement.specifier
        assert version.operator == "==", requirement
        assert "*" not in version.version, requirement
        assert requirement.url is None, requirement
        assert digests, f"{requirement} has no digest"
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", digest) for digest in digests), requirement


@pytest.mark.parametrize("name", LOCKS)
def test_no_registry_is_named(name: str) -> None:
    text = (ROOT / name).read_text()
    assert "://" not in text
    assert "index-url" not in text


def test_what_the_project_needs_is_locked_in_a_version_that_it_takes() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [text for each in project["optional-dependencies"].values() for text in each]
    found = locked("requirements.lock")
    for text in [*project["dependencies"], *extras]:
        wanted = Requirement(text)
        requirement, _ = found[canonicalize_name(wanted.name)]
        (version,) = requirement.specifier
        assert wanted.specifier.contains(version.version), f"{text}, locked is {requirement}"


def installs(text: str) -> list[str]:
    """Every command of a Makefile or Dockerfile that installs Python packages, continued lines joined."""
    joined = re.sub(r"\\\n\s*", " ", text)
    return re.findall(r"pip (?:install|sync)\b[^\n&;]*", joined)


def test_make_installs_nothing_without_a_digest_but_this_project() -> None:
    commands = installs((ROOT / "Makefile").read_text())
    assert len(commands) == 4
    for command in commands:
        own = "--no-deps" in command and command.endswith("--editable .")
        assert own or ("--require-hashes" in command and ".lock" in command), command


def test_the_image_checks_digests_but_of_pytorchs_wheels_for_a_cpu() -> None:
    commands = installs((ROOT / "deploy" / "Dockerfile").read_text())
    unchecked = [command for command in commands if "--no-verify-hashes" in command]
    assert len(unchecked) == 1
    assert "--no-deps" in unchecked[0]
    assert unchecked[0].split("requirements.lock")[1].split() == ["torch", "torchvision"]
    for command in commands:
        assert ".lock" in command or command.split() == ["pip", "install", "--no-deps", "."], command
