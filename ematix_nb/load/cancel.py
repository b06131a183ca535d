"""Asking a run to stop: a flag that is checked at every batch, and hooks that stop what blocks longer."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ematix_nb.errors import CANCELLED, CancelledError

if TYPE_CHECKING:
    from collections.abc import Callable

REPEAT_S = 0.2
"""Seconds after which what is running is interrupted again: a request that falls between two statements is lost."""


class CancelToken:
    """One request to stop; may be given from any thread, any number of times.

    Example:
        >>> token = CancelToken()
        >>> token.check()
        >>> token.cancel()
        >>> token.cancelled
        True
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._hooks: list[Callable[[], None]] = []
        self._lock = threading.RLock()
        self._insists = False

    @property
    def cancelled(self) -> bool:
        """Whether somebody asked to stop."""
        return self._event.is_set()

    def cancel(self) -> None:
        """Ask to stop and interrupt what is running now, and again until the run has noticed."""
        self._event.set()
        self._interrupt()
        self._insist()

    def _interrupt(self) -> bool:
        with self._lock:
            for hook in self._hooks:
                hook()
            return bool(self._hooks)

    def _insist(self) -> None:
        """Have a thread interrupt whatever there is to interrupt, as long as there is something."""
        with self._lock:
            if self._insists or not self._hooks:
                return
            self._insists = True
            threading.Thread(target=self._repeat, name="ematix-cancel", daemon=True).start()

    def _repeat(self) -> None:
        pause = threading.Event()
        while True:
            pause.wait(REPEAT_S)
            with self._lock:
                if not self._interrupt():
                    self._insists = False
                    return

    def noticed(self) -> None:
        """The run stops: from here on nothing of it is interrupted, so that it can tidy up."""
        with self._lock:
            self._hooks.clear()

    def on_cancel(self, hook: Callable[[], None]) -> None:
        """Call ``hook`` when asked to stop: when that was already, at once and again until the run has noticed."""
        with self._lock:
            self._hooks.append(hook)
        if self.cancelled:
            hook()
            self._insist()

    def remove(self, hook: Callable[[], None]) -> None:
        """Forget a hook, before what it interrupts is closed."""
        with self._lock:
            if hook in self._hooks:
                self._hooks.remove(hook)

    def wait(self, seconds: float) -> bool:
        """Pause for so long, or until somebody asks to stop; True when somebody did."""
        return self._event.wait(seconds)

    def check(self) -> None:
        """Raise when somebody asked to stop.

        Raises:
            CancelledError: Always the same words, so that a history row can be told from a failure.
        """
        if self.cancelled:
            raise CancelledError(CANCELLED)
