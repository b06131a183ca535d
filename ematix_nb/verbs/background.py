"""Running something long in a worker thread, so that Ctrl-C and a kernel interrupt always get through.

A C call of a database on the main thread keeps the interpreter from handling a
signal; waiting for a worker does not.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, TypeVar

from ematix_nb.errors import CancelledError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ematix_nb.load.cancel import CancelToken

ResultT = TypeVar("ResultT")

POLL_SECONDS = 0.1
GRACE_SECONDS = 2.0


class Worker:
    """One call in a thread; ``result`` gives its value or raises its error."""

    def __init__(self, function: Callable[[], ResultT]) -> None:
        self._function = function
        self._value: object = None
        self._error: BaseException | None = None
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._run, name="ematix-run", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self._value = self._function()
        except BaseException as exc:  # noqa: BLE001  handed to whoever asks for the result
            self._error = exc
        finally:
            self.done.set()

    def result(self) -> object:
        """The value of the call, once it is done.

        Raises:
            BaseException: What the call raised.
        """
        self.done.wait()
        if self._error is not None:
            raise self._error
        return self._value


def run_in_worker(function: Callable[[], ResultT], token: CancelToken) -> ResultT:
    """Call ``function`` in a worker and wait; an interrupt asks it to stop and waits 2 s at most.

    Raises:
        CancelledError: After an interrupt; says so when the work could not be stopped in time and goes on alone.
    """
    worker = Worker(function)
    try:
        while not worker.done.wait(POLL_SECONDS):
            pass
    except KeyboardInterrupt:
        _stop(worker, token)
    return worker.result()  # type: ignore[return-value]  # the value of function


def _cancel_until(worker: Worker, token: CancelToken) -> bool:
    """Ask again and again: an interrupt that meets an engine between two statements is lost."""
    deadline = time.monotonic() + GRACE_SECONDS
    while time.monotonic() < deadline:
        token.cancel()
        if worker.done.wait(POLL_SECONDS):
            return True
    return False


def _stop(worker: Worker, token: CancelToken) -> None:
    """Ask to stop; a second interrupt (some engines raise it twice) must not kill the wait."""
    for _ in range(2):
        try:
            stopped = _cancel_until(worker, token)
            break
        except KeyboardInterrupt:
            continue
    else:
        stopped = False
    if not stopped:
        message = "interrupted; the run did not stop within 2 s and ends by itself without committing"
        raise CancelledError(message, "see `flow runs` for how it ended")
