"""`make audit`: what pip-audit answers becomes lines and an exit code; an audit that checked nothing is none."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path

import pytest

from deploy.audit import main

CLEAN = {"name": "a", "version": "1", "vulns": []}
UNKNOWN = {"name": "b", "skip_reason": "Dependency not found on PyPI and could not be audited: b (2)"}
KNOWN = {
    "name": "c",
    "version": "3",
    "vulns": [{"id": "PYSEC-1", "fix_versions": ["3.1"], "aliases": ["CVE-1"], "description": ""}],
}


@pytest.fixture
def audit(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    """Runs the audit with a stand-in for pip-audit; by service, what that prints. Anything else ends in a traceback."""

    def run(**answers: list[dict]) -> tuple[int, str, str]:
        printed = {service: json.dumps({"dependencies": found, "fixes": []}) for service, found in answers.items()}
        answers_as = tmp_path / "answers.py"
        answers_as.write_text(
            "import sys\n"
            "service = next(each.partition('=')[2] for each in sys.argv if 'service=' in each)\n"
            f"print({printed!r}[service])\n"
        )
        # Not as the interpreter of a first line: such a path ends at its first blank, and after some 127 characters.
        program = tmp_path / "pip-audit"
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} {shlex.quote(str(answers_as))} "$@"\n')
        program.chmod(0o755)
        code = main(str(program), "some.lock")
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_nothing_known_against_the_packages(audit):
    assert audit(pypi=[CLEAN]) == (0, "some.lock: 1 packages checked with PyPI, 0 vulnerabilities\n", "")


def test_a_vulnerability_is_one_line_and_exit_code_1(audit):
    code, out, _ = audit(pypi=[CLEAN, KNOWN])
    assert code == 1
    assert out.splitlines()[0] == "c 3: PYSEC-1, CVE-1; mended in 3.1"


def test_what_a_service_does_not_know_is_said(audit):
    code, out, _ = audit(pypi=[CLEAN, UNKNOWN])
    assert code == 0
    assert "not known to PyPI, so not checked: 1 packages (b)" in out


def test_a_mirror_that_knows_nothing_is_no_clean_bill(audit):
    code, out, _ = audit(pypi=[UNKNOWN], osv=[KNOWN])
    assert code == 1
    assert "checked with OSV" in out


def test_without_any_service_nothing_is_claimed(audit):
    code, out, err = audit(pypi=[UNKNOWN])
    assert code == 3
    assert out == ""
    lines = err.splitlines()
    assert lines[0] == "some.lock: not checked, no vulnerability service answers from here"
    assert lines[1] == "  PyPI: knows none of 1 packages"
    assert lines[2].startswith("  OSV: KeyError")
    assert len(lines) == 3
