"""Known vulnerabilities of the versions that the lock files name: `make audit`.

    python deploy/audit.py PIP_AUDIT LOCK...

asks PyPI, then OSV where PyPI does not answer, through the program ``pip-audit``. That program ends with exit code 0
also where an index answers that it knows none of the packages, as mirrors do; what was not looked up is said here.

Exit codes: 0 nothing is known against what was looked up; 1 something is; 3 of a lock file nothing could be looked up.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

SERVICES = {"pypi": "PyPI", "osv": "OSV"}
_NAMED = 10


@dataclass
class Findings:
    """What a service says: packages that it knows, those that it does not, and one line for each vulnerability."""

    known: int = 0
    unknown: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, answer: str) -> Findings:
        """From what pip-audit prints as JSON; without anything known where it printed something else."""
        found = cls()
        try:
            packages: list[dict[str, Any]] = json.loads(answer)["dependencies"]
        except (ValueError, KeyError, TypeError):
            return found
        for package in packages:
            if "skip_reason" in package:
                found.unknown.append(package["name"])
                continue
            found.known += 1
            for each in package["vulns"]:
                mended = ", ".join(each["fix_versions"]) or "no version"
                names = ", ".join([each["id"], *each.get("aliases", [])])
                found.lines.append(f"{package['name']} {package['version']}: {names}; mended in {mended}")
        return found


def ask(program: str, service: str, lock: str) -> tuple[Findings, str]:
    """What a service says about a lock file, and where it knows nothing of it the reason as one line."""
    command = [program, "--require-hashes", "--disable-pip", "--progress-spinner=off", "--format=json", "--aliases=on"]
    command += [f"--vulnerability-service={service}", "--requirement", lock]
    done = subprocess.run(command, capture_output=True, text=True)
    found = Findings.of(done.stdout)
    said = done.stderr.strip().splitlines()
    return found, f"knows none of {len(found.unknown)} packages" if found.unknown else (said[-1] if said else "silent")


def audit(program: str, lock: str) -> int:
    """The exit code for one lock file; prints what was found."""
    reasons = []
    for service, name in SERVICES.items():
        found, reason = ask(program, service, lock)
        if not found.known:
            reasons.append(f"{name}: {reason}")
            continue
        for line in found.lines:
            print(line)
        if found.unknown:
            names = ", ".join(found.unknown[:_NAMED]) + (", ..." if len(found.unknown) > _NAMED else "")
            print(f"not known to {name}, so not checked: {len(found.unknown)} packages ({names})")
        print(f"{lock}: {found.known} packages checked with {name}, {len(found.lines)} vulnerabilities")
        return 1 if found.lines else 0
    print(f"{lock}: not checked, no vulnerability service answers from here", *reasons, sep="\n  ", file=sys.stderr)
    return 3


def main(program: str, *locks: str) -> int:
    """The exit code for all of them: 3 before 1 before 0."""
    return max([audit(program, lock) for lock in locks])


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
