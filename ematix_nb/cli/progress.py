"""Progress on the standard error: one moving line on a terminal, one line a phase elsewhere."""

from __future__ import annotations

import io
import time
from typing import TYPE_CHECKING, Any, TextIO

from ematix_nb.words import counted, pace

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from ematix_nb.events import Event

_ROWS_STEP = 0.1


class Progress:
    """A listener that shows the events of runs; used by one thread at a time.

    Nothing is imported or shown before the first event.
    """

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream or io.StringIO()
        self._status: Any = None
        self._console: Any = None
        self._last = 0.0
        self._live = not self._stream.closed and self._stream.isatty()
        self._line = ""
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop()

    def on_event(self, event: Event) -> None:
        """Show one event; whatever goes wrong with the terminal must not stop a run."""
        try:
            self._show(event)
        except (OSError, ValueError):
            # the terminal is gone
            self._live = False

    def _show(self, event: Event) -> None:
        name = type(event).__name__
        show = getattr(self, f"_on_{name}", None)
        if show is not None:
            show(event)

    def _on_RunStarted(self, event: Any) -> None:  # noqa: N802 - named after the event
        self._line = f"{event.pipeline} -> {event.target} ({event.mode})"
        self._started = time.monotonic()
        self._say(f"{self._line}: started, run {event.run_id[:8]}", moving=self._line)

    def _on_PhaseStarted(self, event: Any) -> None:  # noqa: N802
        self._say(f"{event.pipeline}: {event.phase}", moving=f"{self._line or event.pipeline}: {event.phase}")

    def _on_BatchRead(self, event: Any) -> None:  # noqa: N802
        now = time.monotonic()
        if self._live and now - self._last >= _ROWS_STEP:
            self._last = now
            self._move(f"{self._line}: {pace(event.rows, event.bytes, now - self._started, event.expected)}")

    def _on_SchemaChanged(self, event: Any) -> None:  # noqa: N802
        self._say(f"{event.pipeline}: {event.change}")

    def _on_Warned(self, event: Any) -> None:  # noqa: N802
        self._say(f"{event.pipeline}: warning: {event.message}")

    def _on_RunFinished(self, event: Any) -> None:  # noqa: N802
        self._stop()
        rows = event.counts.get("rows_read", 0) if event.counts else 0
        self._say(f"{event.pipeline}: {event.status}, {counted(rows, 'row')} read, {event.seconds:.1f} s")

    def _say(self, text: str, moving: str = "") -> None:
        """A line that stays; on a terminal, ``moving`` (when given) takes its place in the moving line."""
        from ematix_nb.verbs.text import neutral

        if self._live and moving:
            self._move(moving)
            return
        line = neutral(text, newlines=False)
        if self._status is not None:
            self._console.print(line, markup=False, highlight=False)
        else:
            self._stream.write(f"{line}\n")
            self._stream.flush()

    def _move(self, text: str) -> None:
        from rich.text import Text

        from ematix_nb.verbs.text import neutral

        line = Text(neutral(text, newlines=False), no_wrap=True, overflow="ellipsis")
        if self._status is not None:
            self._status.update(line)
            return
        from rich.console import Console

        self._console = Console(file=self._stream)
        self._status = self._console.status(line)
        self._status.start()

    def _stop(self) -> None:
        if self._status is not None:
            status, self._status = self._status, None
            status.stop()
