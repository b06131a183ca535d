"""The runs of a kernel: a handle for each, with a live card in the background; one live run a pipeline."""

from __future__ import annotations

import atexit
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

from ematix_nb.errors import (
    CANCELLED,
    CancelledError,
    FlowError,
    LockedError,
    RunError,
    UnknownNameError,
    UsageError,
    known_names,
)
from ematix_nb.load.cancel import CancelToken
from ematix_nb.verbs.background import GRACE_SECONDS, POLL_SECONDS, Worker
from ematix_nb.verbs.preview_html import escape, framed
from ematix_nb.widgets.frontend import current_shell, has_front_end

from .progress import Progress
from .working import in_cell

if TYPE_CHECKING:
    from collections.abc import Callable

    from ematix_nb.events import Event, Listener
    from ematix_nb.verbs.results import Result
    from ematix_nb.widgets.card import RunCard

EXIT_SECONDS = 2.0


class _Both:
    """Two listeners as one; the second may be missing."""

    def __init__(self, first: Listener, second: Listener | None) -> None:
        self._listeners = [first, second] if second is not None else [first]

    def on_event(self, event: Event) -> None:
        """Pass it on."""
        for listener in self._listeners:
            listener.on_event(event)


class RunHandle:
    """A run that goes on while the notebook stays free.

    Args:
        names: The pipelines that it runs.
        work: Does the run, given a listener and a cancel token.
        listener: Hears the events too.
    """

    def __init__(
        self,
        names: tuple[str, ...],
        work: Callable[[Listener, CancelToken], Result],
        listener: Listener | None = None,
    ) -> None:
        self.names = names
        self.name = ", ".join(names)
        self._listener = listener
        self._token = CancelToken()
        self._progress = Progress(self._update)
        self._display_id = f"ematix-run-{uuid.uuid4()}"
        self._displayed: int | None = None
        self._card: RunCard | None = None
        self._lock = threading.Lock()
        self._error: BaseException | None = None
        self._result: Result | None = None
        self._done = threading.Event()
        self._worker = Worker(in_cell(lambda: self._run(work)))

    def _run(self, work: Callable[[Listener, CancelToken], Result]) -> None:
        try:
            self._result = work(_Both(self._progress, self._listener), self._token)
        except BaseException as error:  # noqa: BLE001 - kept for whoever asks for the result
            self._error = error
        finally:
            self._done.set()
            self._finish()

    @property
    def status(self) -> str:
        """running, cancelling, or how it ended: success, failed, cancelled, partial, already-done."""
        if not self._done.is_set():
            return "cancelling" if self._token.cancelled else "running"
        if self._error is not None:
            return "cancelled" if isinstance(self._error, CancelledError) else "failed"
        return str(getattr(self._result, "status", "success"))

    @property
    def done(self) -> bool:
        """Whether it has ended, one way or the other."""
        return self._done.is_set()

    @property
    def result(self) -> Result:
        """The result of a run that has ended.

        Raises:
            UsageError: It is still running.
            FlowError: Whatever stopped the run before it had a result.
        """
        if not self._done.is_set():
            raise UsageError(f"`{self.name}` is still running", hint="wait() waits for its result")
        if self._error is not None:
            raise self._error
        if self._result is None:
            raise RunError(f"`{self.name}` ended without a result")
        return self._result

    def wait(self, timeout: float | None = None) -> Result:
        """Wait until it has ended; an interrupt stops the waiting, not the run.

        Args:
            timeout: Seconds to wait at most; None waits for ever.

        Raises:
            RunError: It is still running after ``timeout``.
            FlowError: Whatever stopped the run before it had a result.
        """
        end = None if timeout is None else time.monotonic() + timeout
        while not self._done.wait(POLL_SECONDS):
            if end is not None and time.monotonic() >= end:
                raise RunError(f"`{self.name}` is still running after {timeout} s", hint="it goes on; wait again")
        return self.result

    def cancel(self) -> None:
        """Ask it to stop; returns at once. What has not been committed is not written."""
        if not self._done.is_set():
            self._token.cancel()
            self._update(self._progress)

    def text(self) -> str:
        """The state in one line, or the result."""
        if not self._done.is_set():
            return f"{self.name}: {self.status} in the background; .wait() gives the result, .cancel() stops it"
        if self._error is not None:
            return f"{self.name}: {self.status}\n{self._error}" if self._is_user_error() else f"{self.name}: failed"
        return repr(self._result)

    def _is_user_error(self) -> bool:
        return isinstance(self._error, FlowError)

    def __repr__(self) -> str:
        return self.text()

    def _html_text(self) -> str:
        if self._done.is_set():
            body = self._result.to_html() if self._result is not None else ""
            return body or framed(f"<p>{escape(self.text(), 800)}</p>")
        return self._progress.to_html(self.name, self.status)

    def _bundle(self) -> dict[str, Any]:
        bundle: dict[str, Any] = {"text/plain": self.text(), "text/html": self._html_text()}
        return bundle if self._card is None or self._done.is_set() else bundle | self._card.view()

    def show(self) -> None:
        """Display the card here; all cards of one run are kept up to date."""
        from IPython.display import display

        with self._lock:
            self._displayed = getattr(current_shell(), "execution_count", None)
            if has_front_end() and self._card is None and not self._done.is_set():
                from ematix_nb.widgets.card import RunCard

                self._card = RunCard(self._html_text(), self.cancel)
            display(self._bundle(), raw=True, display_id=self._display_id)  # type: ignore[no-untyped-call]

    def _ipython_display_(self) -> None:
        """Show the card, unless the cell that ends with this handle already did."""
        now = getattr(current_shell(), "execution_count", None)
        if self._displayed is None or self._displayed != now:
            self.show()

    def _update(self, _: Progress) -> None:
        if self._card is not None:
            self._card.update(self._html_text())

    def _finish(self) -> None:
        """Leave the final state in every card."""
        from IPython.display import update_display

        with self._lock:
            self._update(self._progress)
            if self._displayed is not None:
                update_display(self._bundle(), raw=True, display_id=self._display_id)  # type: ignore[no-untyped-call]
            if self._card is not None:
                self._card.close()
                self._card = None


class RunManager:
    """The runs of one kernel."""

    def __init__(self) -> None:
        self._handles: dict[str, RunHandle] = {}
        self._at_exit = False

    def live(self, name: str) -> RunHandle | None:
        """The run of a pipeline that has not ended, if there is one."""
        handle = self._handles.get(name)
        return handle if handle is not None and not handle.done else None

    def names(self) -> list[str]:
        """Pipelines with a live run, sorted."""
        return sorted(name for name in self._handles if self.live(name))

    def start(self, name: str, work: Callable[[Listener, CancelToken], Result]) -> RunHandle:
        """Start a run in the background, or give the one that is alive; its card is shown here."""
        handle = self.live(name) or self._begin((name,), work)
        handle.show()
        return handle

    def run(
        self, names: tuple[str, ...], work: Callable[[Listener, CancelToken], Result], listener: Listener
    ) -> tuple[Result, bool]:
        """Run in a worker and wait, the main thread open for Kernel > Interrupt.

        The first interrupt cancels and waits up to two seconds; the second, or the end of that time, leaves the run
        to itself, where `cancel` and a background line of the same pipeline find it.

        Returns:
            The result, and whether it was cancelled.

        Raises:
            LockedError: A run of one of the pipelines is alive in this kernel.
            CancelledError: After an interrupt.
            FlowError: What stopped the run before it had a result.
        """
        for name in names:
            if self.live(name) is not None:
                what = f"`{name}` is running in the background of this notebook"
                raise LockedError(what, hint=f"wait for it, or %flow cancel {name}")
        handle = self._begin(names, work, listener)
        try:
            while not handle._done.wait(POLL_SECONDS):  # noqa: SLF001 - its own manager
                pass
        except KeyboardInterrupt:
            _stop(handle)
        try:
            return handle.result, handle._token.cancelled  # noqa: SLF001
        except CancelledError as error:
            raise CancelledError(CANCELLED) from error

    def _begin(
        self,
        names: tuple[str, ...],
        work: Callable[[Listener, CancelToken], Result],
        listener: Listener | None = None,
    ) -> RunHandle:
        if not self._at_exit:
            self._at_exit = True
            atexit.register(self.stop_all)
        handle = RunHandle(names, work, listener)
        self._handles.update(dict.fromkeys(names, handle))
        return handle

    def cancel(self, name: str) -> RunHandle:
        """Ask the live run of a pipeline to stop.

        Raises:
            UnknownNameError: No run of it is alive here.
        """
        handle = self.live(name)
        if handle is None:
            what = f"no run of `{name}` is alive in this notebook"
            raise UnknownNameError(what, known_names(name, self.names(), "background runs"))
        handle.cancel()
        return handle

    def stop_all(self) -> None:
        """Before the kernel goes: ask every run to stop, so that its history says cancelled."""
        handles = [handle for handle in self._handles.values() if not handle.done]
        for handle in handles:
            handle.cancel()
        end = time.monotonic() + EXIT_SECONDS
        for handle in handles:
            handle._done.wait(max(0.0, end - time.monotonic()))  # noqa: SLF001 - its own manager


RUNS = RunManager()
"""Of this kernel: loading the extension again finds the runs that are alive."""


def _stop(handle: RunHandle) -> None:
    """Cancel a run and wait for it; a second interrupt ends the waiting.

    Raises:
        CancelledError: It goes on alone.
    """
    try:
        end = time.monotonic() + GRACE_SECONDS
        while time.monotonic() < end:
            handle.cancel()
            if handle._done.wait(POLL_SECONDS):  # noqa: SLF001 - its own manager
                return
        why = f"did not stop within {GRACE_SECONDS:g} s"
    except KeyboardInterrupt:
        why = "was interrupted again before it had stopped"
    name = handle.names[0]
    what = f"`{handle.name}` {why}; it is detached, and ends by itself without committing"
    raise CancelledError(what, f"%flow run {name} --bg shows it; %flow runs {name} tells how it ended") from None
