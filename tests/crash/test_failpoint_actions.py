"""Failpoints act only where a test asks for them."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from ematix_nb.errors import UsageError
from ematix_nb.testing import Action, parse_actions

if TYPE_CHECKING:
    from pathlib import Path

MODULE = """
from ematix_nb import ematix

@ematix.pipeline(target="out:t", source_connection="out", name="ones")
def ones(conn):
    return "SELECT 1 AS id"
"""


def flow(folder: Path, program: str) -> subprocess.CompletedProcess[str]:
    (folder / "ones.py").write_text(MODULE)
    environment = {
        **os.environ,
        "FLOW_FAILPOINT": "before_commit=kill",
        "EMATIX_FLOW_DSN_OUT": f"sqlite:///{folder}/out.db",
    }
    command = [sys.executable, "-m", program, "run", "ones", "--module", "ones.py"]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_variable_alone_does_nothing(tmp_path: Path) -> None:
    done = flow(tmp_path, "ematix_nb")
    assert done.returncode == 0, done.stderr


def test_the_entry_for_tests_obeys_it(tmp_path: Path) -> None:
    assert flow(tmp_path, "ematix_nb.testing").returncode == -9
    assert flow(tmp_path, "ematix_nb").returncode == 0


def test_text_of_actions() -> None:
    assert parse_actions("commit=kill; fetch@2=barrier:/tmp/b:2;") == (
        Action("commit", "kill"),
        Action("fetch", "barrier", "/tmp/b:2", 2),
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [("comit=kill", "unknown step `comit`"), ("commit=kil", "unknown action `kil`"), ("commit", "is no failpoint")],
)
def test_wrong_text(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_actions(text)
