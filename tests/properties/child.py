"""What the state machine runs in a process of its own, and the clock of its runs; imports nothing that takes long."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any, ClassVar

from ematix_nb.clock import SystemClock
from ematix_nb.testing import install_from
from ematix_nb.verbs.run import run
from tests.crash.child import declared

if TYPE_CHECKING:
    from collections.abc import Callable

FAILED = 3
"""Exit code of a run that failed before its failpoint was reached."""


class Time(SystemClock):
    """Stands still, but for one second at each run."""

    current: ClassVar[dt.datetime] = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)

    @classmethod
    def next(cls) -> dt.datetime:
        """The time at which the next run starts."""
        cls.current += dt.timedelta(seconds=1)
        return cls.current


def stop_clock() -> Callable[[], None]:
    """Runs start at `Time.current` from now on; the function that gives the time back to them."""
    usual = SystemClock.now
    SystemClock.now = lambda self: Time.current  # type: ignore[method-assign]  # noqa: ARG005

    def restore() -> None:
        SystemClock.now = usual  # type: ignore[method-assign]

    return restore


def killed(options: dict[str, Any], urls: tuple[str, str], failpoint: str, now: dt.datetime) -> None:
    """One run in a process of its own, which ends at a failpoint; exits with `FAILED` when the run failed before it."""
    Time.current = now
    stop_clock()
    install_from(failpoint)
    result = run(declared(options, *urls))
    raise SystemExit(0 if result.status == "success" else FAILED)
