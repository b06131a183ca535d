"""Runs work in a thread, so that Ctrl-C and SIGTERM always get through, and the process always ends."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING, Any, TypeVar, cast

from ematix_nb.errors import CancelledError
from ematix_nb.verbs.background import GRACE_SECONDS, POLL_SECONDS, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ematix_nb.load.cancel import CancelToken

ResultT = TypeVar("ResultT")
_left_behind: list[Worker] = []


def run_stoppable(function: Callable[[], ResultT], token: CancelToken) -> ResultT:
    """Call ``function`` in a worker; Ctrl-C and SIGTERM (systemd, Kubernetes, ``timeout``) ask it to stop.

    Raises:
        CancelledError: It did not stop within 2 s; `leave` then ends the process.
    """
    worker = Worker(function)
    with _terminable():
        try:
            while not worker.done.wait(POLL_SECONDS):
                pass
        except KeyboardInterrupt:
            _stop(worker, token)
    return cast("ResultT", worker.result())


def _stop(worker: Worker, token: CancelToken) -> None:
    """Ask again and again: a driver forgets an interrupt that comes between two statements."""
    deadline = time.monotonic() + GRACE_SECONDS
    while time.monotonic() < deadline:
        try:
            token.cancel()
            if worker.done.wait(POLL_SECONDS):
                return
        except KeyboardInterrupt:
            # the user presses Ctrl-C again; the deadline stays
            continue
    _left_behind.append(worker)
    message = "interrupted; the run did not stop within 2 s, so the process ends with it"
    raise CancelledError(message, hint="`flow runs` tells how it ended; what had not committed is rolled back")


def leave(code: int) -> int:
    """The exit code; when a worker is still inside a driver, end the process here and now.

    The interpreter cannot be taken down in order around a thread that does not return.
    """
    if any(not worker.done.is_set() for worker in _left_behind):
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError, AttributeError):
                stream.flush()
        os._exit(code)
    return code


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """While it holds, SIGTERM does what Ctrl-C does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt
