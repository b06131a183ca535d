"""Folders for the work of one process in the system's temporary folder; what a killed process left is removed."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path


def scratch_folder(purpose: str) -> str:
    """A new, private folder; removes those of the same purpose whose process is gone.

    Args:
        purpose: A word for the name: ``delta``, ``scan``.

    Returns:
        The folder's path; the caller removes it.
    """
    prefix = f"ematix-nb-{purpose}-"
    for left in Path(tempfile.gettempdir()).glob(f"{prefix}*-*"):
        pid = left.name.removeprefix(prefix).partition("-")[0]
        if pid.isdigit() and _is_ours(left) and not _is_alive(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
    return tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-")


def _is_ours(folder: Path) -> bool:
    try:
        return folder.is_dir() and not folder.is_symlink() and folder.stat().st_uid == os.getuid()
    except (OSError, AttributeError):  # gone meanwhile; no users on this system
        return False


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
