"""One writer at a time for a settings file: a lock file beside it, gone when nobody writes."""

from __future__ import annotations

import contextlib
import os
import sys
import time
from typing import TYPE_CHECKING

from ematix_nb.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

WAIT_S = 10.0
"""Seconds to wait for another writer."""
_STEP_S = 0.01
_OWNER_ONLY = 0o600


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file; the lock of a process that died is free.

    Raises:
        ConfigError: Somebody else holds it for too long, or no file can be made beside it.
    """
    place = path.with_name(f".{path.name}.lock")
    deadline = time.monotonic() + WAIT_S
    while (handle := _taken(place, path)) is None:
        if time.monotonic() >= deadline:
            what = f"{path} is being written by another process for {WAIT_S:.0f} s"
            raise ConfigError(what, hint="nothing was changed; try again when it has ended", where=str(path))
        time.sleep(_STEP_S)
    try:
        yield
    finally:
        _free(place, handle)


def _taken(place: Path, path: Path) -> int | None:
    """The open lock file, locked; None when another holds it, or took it away between the two steps."""
    try:
        handle = os.open(place, os.O_RDWR | os.O_CREAT, _OWNER_ONLY)
        try:
            if _try_lock(handle) and _is_there(place, handle):
                return handle
        except BaseException:
            os.close(handle)
            raise
    except OSError as error:
        what = f"{path} cannot be written: {error.strerror}"
        raise ConfigError(what, hint="nothing was changed; check the folder's permissions", where=str(path)) from None
    os.close(handle)
    return None


def _is_there(place: Path, handle: int) -> bool:
    try:
        return os.path.samestat(place.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


if sys.platform == "win32":

    def _try_lock(handle: int) -> bool:
        import msvcrt

        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _free(place: Path, handle: int) -> None:
        os.close(handle)
        with contextlib.suppress(OSError):  # another writer has it open already
            place.unlink()

else:

    def _try_lock(handle: int) -> bool:
        import fcntl

        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _free(place: Path, handle: int) -> None:
        """Take the file away while it is still locked: who opened it meanwhile sees that it is gone."""
        with contextlib.suppress(FileNotFoundError):
            place.unlink()
        os.close(handle)
