"""What the engine tells while it works: frozen events, and who listens.

The engine prints nothing. A front end hands it a listener: a progress line, a
notebook card or a log is a function of these events.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, kw_only=True)
class Event:
    """Something that happened in a run."""

    run_id: str
    """The run it belongs to (a UUID as text)."""
    pipeline: str
    """Name of the pipeline."""


@dataclass(frozen=True, kw_only=True)
class RunStarted(Event):
    """A run holds its lease and begins to work."""

    target: str
    mode: str


@dataclass(frozen=True, kw_only=True)
class PhaseStarted(Event):
    """A run enters a phase: ``read``, ``apply``, ``commit``, ``post``; or the words of the chunk that it loads."""

    phase: str


@dataclass(frozen=True, kw_only=True)
class BatchRead(Event):
    """One batch left the source; sums since the start of the run."""

    rows: int
    bytes: int
    expected: int | None = None
    """Rows that the source is going to give, where it can say so; an estimate of a planner may be far off."""


@dataclass(frozen=True, kw_only=True)
class SchemaChanged(Event):
    """A schema change was applied (it commits or rolls back with the run)."""

    change: str


@dataclass(frozen=True, kw_only=True)
class Warned(Event):
    """Something that the user should know and that stops nothing."""

    message: str


@dataclass(frozen=True, kw_only=True)
class RunFinished(Event):
    """A run ended; ``status`` is success, failed or cancelled."""

    status: str
    counts: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0
    error: str = ""


class Listener(Protocol):
    """Somebody who wants to know."""

    def on_event(self, event: Event) -> None:
        """Take one event; must return fast and must not raise."""
        ...


class Silent:
    """Listens to nothing."""

    def on_event(self, event: Event) -> None:
        """Drop the event."""


class Recorder:
    """Keeps every event in order, for tests."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def on_event(self, event: Event) -> None:
        """Remember the event."""
        self.events.append(event)


SILENT = Silent()
