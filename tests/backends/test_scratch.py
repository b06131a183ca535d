"""Working folders: what a killed process left goes, what a living one uses stays."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from ematix_nb.backends.scratch import scratch_folder

if TYPE_CHECKING:
    import pytest


def test_left_folders_go_and_others_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()
    left = tmp_path / f"ematix-nb-test-{gone.pid}-abc"
    left.mkdir()
    (left / "data").write_bytes(b"x")
    living = tmp_path / f"ematix-nb-test-{os.getppid()}-abc"
    other = tmp_path / f"ematix-nb-other-{gone.pid}-abc"
    strange = tmp_path / "ematix-nb-test-mine-abc"
    link = tmp_path / f"ematix-nb-test-{gone.pid}-link"
    for folder in (living, other, strange):
        folder.mkdir()
    link.symlink_to(other)
    made = scratch_folder("test")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [living.name, other.name, strange.name, link.name, made.rpartition("/")[2]]
    )
    assert Path(made).stat().st_mode & 0o077 == 0
