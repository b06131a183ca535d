"""Errors, requests to stop and clocks that jump at each step of a run, all in one process; then the same run again."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb.clock import SYSTEM_CLOCK
from ematix_nb.errors import ConnectError, DataError, RunError, TransientError
from ematix_nb.load import failpoints
from ematix_nb.load.cancel import CancelToken
from ematix_nb.load.context import RunContext
from ematix_nb.load.failpoints import STEPS
from ematix_nb.load.run import run_target
from tests.crash.places import Ended
from tests.crash.spread import spread
from tests.crash.test_kill import ENGINE_MODES, unreached
from tests.crash.world import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.crash.places import Place, Places
    from tests.support.messages import Line

ERRORS: dict[str, Callable[[], BaseException]] = {
    "run-error": lambda: RunError("made by a test"),
    "passes": lambda: TransientError("made by a test"),
    "unreachable": lambda: ConnectError("made by a test"),
    "data": lambda: DataError("made by a test"),
    "users": lambda: ValueError("made by a test"),
    "memory": MemoryError,
    "disk": lambda: OSError(5, "made by a test"),
    "interrupt": KeyboardInterrupt,
}
JUMPS = {
    "hour-on": dt.timedelta(hours=1),
    "hour-back": dt.timedelta(hours=-1),
    "day-on": dt.timedelta(days=1),
    "day-back": dt.timedelta(days=-1),
}
FAULTS = (*ERRORS, "cancel", *JUMPS)
SHARE = {
    "sqlite": (4, 1),
    "duckdb": (31, 2),
    "postgres": (31, 2),
    "mysql": (31, 4),
    "files": (4, 1),
    "delta": (31, 4),
}
"""One of so many cases is tried daily, one of so many at night."""
ONE_TARGET = ("post_transform",)
"""Not part of the load of a target."""


class Jumping:
    """The clock of this machine, until it jumps."""

    step = dt.timedelta()

    def now(self) -> dt.datetime:
        """The time, aware, in UTC."""
        return SYSTEM_CLOCK.now() + self.step


def cases() -> list[Any]:
    """(kind, mode, load, fault, number of the step)."""
    return spread(
        ((kind, mode, load, fault, number), SHARE[kind])
        for kind in KINDS
        for mode in ENGINE_MODES[kind]
        for load in (1, 2)
        for fault in FAULTS
        for number, step in enumerate(STEPS)
        if step not in unreached(kind, mode, load) and step not in ONE_TARGET
    )


@pytest.fixture(autouse=True)
def _no_failpoints() -> Iterator[None]:
    yield
    failpoints.install(None)


def ended_at(place: Place, step: str, fault: str) -> tuple[Ended, int]:
    """A run with a fault at a step; how often it was made."""
    made, context = 0, RunContext(clock=Jumping(), token=CancelToken())

    def reached(found: str) -> None:
        nonlocal made
        if found != step or made:
            return
        made += 1
        if fault in ERRORS:
            error = ERRORS[fault]()
            raise error
        if fault in JUMPS:
            context.clock.step = JUMPS[fault]  # type: ignore[attr-defined]
        else:
            context.token.cancel()

    failpoints.install(reached)
    try:
        outcome = run_target(place.spec, place.spec.targets[0], context)
    except (Exception, KeyboardInterrupt) as exc:  # noqa: BLE001  whatever it is, it is what is looked at
        return Ended("raised", exc), made
    finally:
        failpoints.install(None)
    return Ended(outcome.status, outcome.error, outcome.warnings), made


@pytest.mark.parametrize(("kind", "mode", "load", "fault", "number"), cases())
def test_a_fault_at_a_step(
    kind: str, mode: str, load: int, fault: str, number: int,
    places: Places, line_of: Callable[[str], tuple[Line, str]],
) -> None:  # fmt: skip
    line, url = line_of(kind) if kind in ("postgres", "mysql") else (None, "")
    place = places.get(kind, mode, load, line.url if line else "", url)
    found, made = ended_at(place, STEPS[number], fault)
    assert made == 1, "the fault did not fire"
    if fault in JUMPS:
        assert found.status == "success", found
    place.try_again(found, raw=True)
