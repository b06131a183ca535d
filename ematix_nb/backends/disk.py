"""What a disk refuses, as one error that says what was done, where, and why it failed."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING

from ematix_nb.errors import ConnectError, RunError, TransientError

if TYPE_CHECKING:
    from collections.abc import Iterator

NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NO_RIGHT = (errno.EACCES, errno.EPERM, errno.EROFS)


@contextlib.contextmanager
def on_disk(doing: str, place: object) -> Iterator[None]:
    """Turn what the system refuses into an error of ours; that a file is there, or is not, is no refusal.

    Args:
        doing: What is tried, as in "cannot write `place`: ...".
        place: The path.

    Raises:
        TransientError: No space is left.
        ConnectError: The right is missing.
        RunError: The disk fails otherwise.

    Example:
        >>> with on_disk("write", "/data/a.json"):
        ...     raise OSError(errno.ENOSPC, "No space left on device")
        Traceback (most recent call last):
        ematix_nb.errors.TransientError: FLOW-220 cannot write `/data/a.json`: No space left on device
        hint: make room on that disk, and run again
    """
    try:
        yield
    except (FileExistsError, FileNotFoundError):
        raise
    except OSError as exc:
        reason = os.strerror(exc.errno) if exc.errno else str(exc)
        message = f"cannot {doing} `{place}`: {reason}"
        if exc.errno in NO_SPACE:
            raise TransientError(message, "make room on that disk, and run again") from exc
        if exc.errno in NO_RIGHT:
            raise ConnectError(message, "give this user the right to do so, and run again") from exc
        raise RunError(message, "look after that disk, and run again") from exc
