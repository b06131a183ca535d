"""What a run shows while it works: one display that is updated, or, where nobody looks on, now and then a line."""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

from ematix_nb.events import BatchRead, PhaseStarted, RunFinished, RunStarted
from ematix_nb.verbs.charts import POINTS
from ematix_nb.widgets.frontend import has_front_end
from ematix_nb.words import pace

if TYPE_CHECKING:
    from collections.abc import Callable

    from ematix_nb.events import Event

INTERVAL = 0.25
"""Seconds between two updates at least: four a second."""
UNATTENDED = 10.0
"""Seconds between two lines at least, and before the first one, in an execution that nobody watches.

A saved notebook keeps every line, so a run of seconds leaves its result alone.
"""


class Progress:
    """A listener of one run; safe to call from the worker.

    Args:
        show: Called with the state now and then, and at the end.
        clock: Seconds, monotonic.
        interval: Seconds between two calls of ``show`` at least.
        quiet: Seconds before the first one; a run that ends sooner is not shown at all.
    """

    def __init__(
        self,
        show: Callable[[Progress], None],
        clock: Callable[[], float] = time.monotonic,
        *,
        interval: float = INTERVAL,
        quiet: float = 0.0,
    ) -> None:
        self._show = show
        self._clock = clock
        self._interval = interval
        self._quiet = quiet
        self._started = clock()
        self._shown = float("-inf")
        self.pipeline = ""
        self.target = ""
        self.phase = ""
        self.status = "running"
        self.rows = 0
        self.bytes = 0
        self.expected: int | None = None
        self.seconds = 0.0
        self.rates: deque[float] = deque(maxlen=POINTS)
        """Rows a second between one call of ``show`` and the next, the newest last."""
        self._measured = (self._started, 0)

    def on_event(self, event: Event) -> None:
        """Take over what an event says, and show it when it is time."""
        self.pipeline = event.pipeline
        if isinstance(event, RunStarted):
            self.target, self.phase, self.rows, self.bytes, self.status = event.target, "", 0, 0, "running"
            self._measured = (self._clock(), 0)
        elif isinstance(event, PhaseStarted):
            self.phase = event.phase
        elif isinstance(event, BatchRead):
            self.rows, self.bytes, self.expected = event.rows, event.bytes, event.expected
        elif isinstance(event, RunFinished):
            self.status, self.phase, self.expected = event.status, "", None
        now = self._clock()
        self.seconds = now - self._started
        due = isinstance(event, RunFinished) or now - self._shown >= self._interval
        if due and self.seconds >= self._quiet:
            self._shown = now
            self._measure(now)
            self._show(self)

    def _measure(self, now: float) -> None:
        """Note the rate since the last time, as long as rows are read."""
        before, rows = self._measured
        if self.rows > rows and now > before:
            self.rates.append((self.rows - rows) / (now - before))
            self._measured = (now, self.rows)

    def text(self) -> str:
        """The state in one line; times and rates stand last, in one pattern.

        Example:
            >>> Progress(print, clock=lambda: 0.0).text()
            'running: 0 rows in 0.0 s'
        """
        phase = f", {self.phase}" if self.phase else ""
        head = self.head()
        return f"{head}{': ' if head else ''}{self.status}{phase}: {self.pace()}"

    def head(self) -> str:
        """The pipeline and its target, once that is known."""
        return f"{self.pipeline} -> {self.target}" if self.target else ""

    def pace(self) -> str:
        """Rows, rate, time left and time so far."""
        return f"{pace(self.rows, self.bytes, self.seconds, self.expected)} in {self.seconds:.1f} s"

    def share(self) -> float | None:
        """Of the rows that are expected; None when nobody knows, or more came."""
        return self.rows / self.expected if self.expected and self.rows <= self.expected else None

    def to_html(self, name: str = "", status: str = "") -> str:
        """The state as a card.

        Args:
            name: Of the pipeline, until an event tells it.
            status: In place of what the events say.
        """
        from ematix_nb.widgets.card import run_html

        said = status or self.status
        return run_html(self.head() or name, said, self.phase, self.pace(), tuple(self.rates), self.share())

    def bundle(self) -> dict[str, str]:
        """The state as a display."""
        return {"text/plain": self.text(), "text/html": self.to_html()}


class Card:
    """Shows a `Progress` in one place of the cell that started it."""

    def __init__(self) -> None:
        self._handle: Any = None

    def __call__(self, progress: Progress) -> None:
        """Display it, or update what is displayed."""
        from IPython.display import display

        if self._handle is None:
            self._handle = display(progress.bundle(), raw=True, display_id=True)  # type: ignore[no-untyped-call]
        else:
            self._handle.update(progress.bundle(), raw=True)


def _print(progress: Progress) -> None:
    print(progress.text(), flush=True)  # noqa: T201 - the cell's output


def listener() -> Progress:
    """The listener for a run in the foreground, fit for who looks on."""
    return Progress(Card()) if has_front_end() else Progress(_print, interval=UNATTENDED, quiet=UNATTENDED)
