"""The one place that asks for the time, so that tests can move it."""

from __future__ import annotations

import datetime as dt
from typing import Protocol

UTC = dt.UTC


class Clock(Protocol):
    """Something that knows the time."""

    def now(self) -> dt.datetime:
        """The current time, aware, in UTC."""
        ...


class SystemClock:
    """The clock of this machine."""

    def now(self) -> dt.datetime:
        """The current time, aware, in UTC."""
        return dt.datetime.now(UTC)


class FixedClock:
    """A clock for tests, moved by hand.

    Example:
        >>> clock = FixedClock(dt.datetime(2026, 1, 1, tzinfo=UTC))
        >>> clock.advance(dt.timedelta(hours=1))
        >>> clock.now().isoformat()
        '2026-01-01T01:00:00+00:00'
    """

    def __init__(self, start: dt.datetime) -> None:
        self._now = start.astimezone(UTC)

    def now(self) -> dt.datetime:
        """The time it was set to, aware, in UTC."""
        return self._now

    def advance(self, step: dt.timedelta) -> None:
        """Move the clock by ``step`` (backwards when negative)."""
        self._now += step


SYSTEM_CLOCK = SystemClock()
