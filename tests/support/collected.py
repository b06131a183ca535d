"""A plugin of pytest that writes down which tests there are, with their parameters and expected failures, as JSON."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
VARIABLE = "EMATIX_COLLECTED"


@dataclass(frozen=True)
class Collected:
    """One test with one set of parameters."""

    test: str
    """``tests/folder/test_file.py::test_name``."""
    parameters: dict[str, Any]
    refused: str = ""
    """Why it is expected to fail; strictly, so that it cannot pass unseen."""
    nightly: bool = False


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Write the tests to the file that the environment names."""
    rows = []
    for item in session.items:
        parameters = getattr(getattr(item, "callspec", None), "params", {})
        plain = {name: value for name, value in parameters.items() if isinstance(value, (str, list, tuple))}
        marks = [mark for mark in item.iter_markers("xfail") if mark.kwargs.get("reason")]
        reason = marks[0].kwargs["reason"] if marks else ""
        nightly = item.get_closest_marker("nightly") is not None
        rows.append({"test": item.nodeid.partition("[")[0], "parameters": plain, "refused": reason, "nightly": nightly})
    Path(os.environ[VARIABLE]).write_text(json.dumps(rows, default=str), encoding="utf-8")


def collect(modules: Sequence[str], folder: Path) -> list[Collected]:
    """The tests of some modules, found by pytest itself in a process of its own; none is run."""
    out = folder / "collected.json"
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "tests.support.collected",
               "-p", "no:cacheprovider", "-o", "addopts=", *modules]  # fmt: skip
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, VARIABLE: str(out)}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return [Collected(**row) for row in json.loads(out.read_text(encoding="utf-8"))]
