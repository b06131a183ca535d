"""`make demo`: from an empty folder to a warehouse, and nothing to do the second time."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def demo(folder: Path) -> str:
    """Run the demo of a copy of the notebooks, so that a `demo/` of the checkout is left alone."""
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, str(folder / "notebooks" / "demo.py")],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.timeout(300)
def test_the_second_call_has_nothing_to_do(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "notebooks", tmp_path / "notebooks", ignore=shutil.ignore_patterns("__pycache__"))
    first = demo(tmp_path)
    assert "flights -> warehouse:analytics.flights: success (936 read, 933 inserted, 3 deduplicated)" in first
    assert first.count("$ flow run-due") == 4
    assert first.count("nothing was due (2 scheduled pipelines checked)") == 1
    state = re.findall(r"^analytics\.\w+: [\d,]+ rows, hash [0-9a-f]{16}$", first, re.MULTILINE)
    assert [line.partition(", hash")[0] for line in state] == [
        "analytics.flights: 6,099 rows",
        "analytics.airlines: 15 rows",
    ]

    files = {path: path.read_bytes() for path in (tmp_path / "demo").rglob("*") if path.is_file()}
    second = demo(tmp_path)
    assert "nothing was due (2 scheduled pipelines checked)" in second
    assert "nothing was changed" in second
    assert [line for line in state if line in second] == state
    assert {path: path.read_bytes() for path in (tmp_path / "demo").rglob("*") if path.is_file()} == files
