"""Questions of a view, answered in a thread: the kernel stays free, and a newer question stops the older one."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from ematix_nb.connections import redact
from ematix_nb.errors import CancelledError, FlowError
from ematix_nb.load.cancel import CancelToken

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager


class Asker:
    """Answers one question at a time.

    Args:
        busy: Called with True when work begins, and with False when nothing is left to do.
        failed: Called with the words of an error, secrets taken out.
    """

    def __init__(self, busy: Callable[[bool], None], failed: Callable[[str], None]) -> None:
        self._busy = busy
        self._failed = failed
        self._token = CancelToken()
        self._thread: threading.Thread | None = None
        self._lock = threading.RLock()

    def ask(self, work: Callable[[Question], None]) -> None:
        """Stop what is being worked on, and work on this; returns at once."""
        with self._lock:
            older = self._thread
            self._token.cancel()
            self._token = token = CancelToken()
            self._busy(True)
            question = Question(token, self._lock)
            self._thread = threading.Thread(
                target=self._work, args=(work, question, older), name="ematix-view", daemon=True
            )
            self._thread.start()

    def now(self, function: Callable[[], None]) -> None:
        """Stop what is being worked on, and call this at once instead."""
        with self._lock:
            self._token.cancel()
            self._token = CancelToken()
            self._busy(False)
            function()

    def stop(self) -> None:
        """Stop what is being worked on; what is shown stays."""
        self._token.cancel()

    def wait(self, seconds: float = 30.0) -> bool:
        """Wait until everything is answered; False when it takes longer."""
        with self._lock:
            thread = self._thread
        if thread is None:
            return True
        thread.join(seconds)
        return not thread.is_alive()

    def _work(self, work: Callable[[Question], None], question: Question, older: threading.Thread | None) -> None:
        if older is not None:
            older.join()
        try:
            question.token.check()
            work(question)
        except CancelledError:
            self._told(question, "stopped")
        except FlowError as error:
            self._told(question, redact(error))
        except Exception as error:  # noqa: BLE001 - whatever a driver raises: it is shown and not lost in a thread
            self._told(question, redact(f"{type(error).__name__}: {error}"))
        finally:
            question.token.noticed()
            with self._lock:
                if self._token is question.token:
                    self._busy(False)

    def _told(self, question: Question, words: str) -> None:
        with self._lock:
            if self._token is question.token:
                self._failed(words)


class Question:
    """One question while it is worked on.

    Args:
        token: Is cancelled when the answer is not wanted any more.
        lock: Held while something is shown.
    """

    def __init__(self, token: CancelToken, lock: AbstractContextManager[Any]) -> None:
        self.token = token
        self._lock = lock

    def show(self, function: Callable[[], None]) -> None:
        """Call a function that shows an answer, unless a newer question was asked.

        Raises:
            CancelledError: One was.
        """
        with self._lock:
            self.token.check()
            function()
