"""Looks up every pinned dependency in an advisory database, with pip-audit.

A database is first asked about a release that is known to be vulnerable. Only one that knows it is believed; when none
does, the audit is reported as skipped, with the reason, and not as passed. Exit code: 0 clean or skipped, 1 something
was found or could not be looked up.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

CONSTRAINTS = Path(__file__).parent.parent / "constraints.txt"
KNOWN_VULNERABLE = "jinja2==2.4.1"
SERVICES = ("pypi", "osv")
TIMEOUT_S = 300


def audit(service: str, requirements: Path, *extra: str) -> subprocess.CompletedProcess[str]:
    """Runs pip-audit over a file of exact versions; nothing is installed or resolved."""
    command = [sys.executable, "-m", "pip_audit", "--strict", "--no-deps", "--disable-pip", "--progress-spinner", "off"]
    command += ["--vulnerability-service", service, "--timeout", "15", "--requirement", str(requirements), *extra]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 1, "", f"no answer within {TIMEOUT_S} s")


def reason(result: subprocess.CompletedProcess[str]) -> str:
    """The last thing that pip-audit wrote, as one line."""
    lines = [line.strip() for line in (result.stderr or result.stdout).splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it wrote nothing"


def knows_the_vulnerable(service: str) -> str | None:
    """None when the database names an advisory for `KNOWN_VULNERABLE`, else what went wrong."""
    with tempfile.TemporaryDirectory() as folder:
        requirements = Path(folder) / "requirements.txt"
        requirements.write_text(KNOWN_VULNERABLE + "\n")
        result = audit(service, requirements, "--format", "json")
    return None if '"fix_versions"' in result.stdout else reason(result)


def main() -> int:
    """Audits with the first database that can be believed."""
    problems = []
    for service in SERVICES:
        problem = knows_the_vulnerable(service)
        if problem is None:
            result = audit(service, CONSTRAINTS)
            print(result.stdout + result.stderr)
            return result.returncode
        problems.append(f"{service}: {problem}")
    print("pip-audit SKIPPED, nothing was checked: no advisory database can be reached")
    for problem in problems:
        print(f"  {problem}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
