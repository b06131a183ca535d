"""Work in a thread whose output belongs to the cell that started it."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, TypeVar

from ematix_nb.errors import CANCELLED, CancelledError
from ematix_nb.verbs.background import run_in_worker
from ematix_nb.widgets.frontend import current_shell

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ematix_nb.load.cancel import CancelToken

ResultT = TypeVar("ResultT")


def in_cell(function: Callable[[], ResultT]) -> Callable[[], ResultT]:
    """The same function, with its output going to the present cell whichever thread calls it."""
    shell = current_shell()
    parent = shell.get_parent() if hasattr(shell, "get_parent") else None

    def call() -> ResultT:
        with _output_of(shell, parent):
            return function()

    return call


@contextlib.contextmanager
def _output_of(shell: Any, parent: Any) -> Iterator[None]:
    if not parent:
        yield
    elif hasattr(shell, "set_thread_parent"):
        token = shell.set_thread_parent(parent)
        try:
            yield
        finally:
            shell.reset_thread_parent(token)
    else:  # kernels before 7: one parent for all threads
        shell.set_parent(parent)
        yield


def wait_for(function: Callable[[], ResultT], token: CancelToken) -> ResultT:
    """Call in a worker while the main thread stays open for Kernel > Interrupt.

    Raises:
        CancelledError: After an interrupt, when the work has stopped (at most 2 s later).
    """
    try:
        return run_in_worker(in_cell(function), token)
    except CancelledError as error:
        if not token.cancelled or error.what.startswith("interrupted"):  # it could not be stopped in time
            raise
        raise CancelledError(CANCELLED) from error
