"""Each call of the driver fails in turn, in each way in which it can; then the same run again."""

from __future__ import annotations

import functools
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb.backends.duckdb import io as duckdb_io
from ematix_nb.backends.sqlite import io as sqlite_io
from tests.crash.places import Fault, Trap, ended
from tests.crash.spread import SLACK, spread
from tests.crash.world import MODES

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.crash.places import Places


def sqlite_error(code: int, text: str) -> Callable[[], BaseException]:
    """An error as the driver makes it."""

    def make() -> BaseException:
        error = sqlite3.OperationalError(text)
        error.sqlite_errorcode = code
        return error

    return make


def duckdb_error(kind: str, text: str) -> Callable[[], BaseException]:
    """As `sqlite_error`."""

    def make() -> BaseException:
        import duckdb

        error: BaseException = getattr(duckdb, kind)(text)
        return error

    return make


IO = sqlite_error(sqlite3.SQLITE_IOERR, "disk I/O error")
DUCK_IO = duckdb_error("IOException", "IO Error: Could not write all bytes to file")
FAULTS: dict[str, tuple[Fault, ...]] = {
    "sqlite": (
        Fault("full", sqlite_error(sqlite3.SQLITE_FULL, "database or disk is full")),
        Fault("busy", sqlite_error(sqlite3.SQLITE_BUSY, "database is locked")),
        Fault("denied", sqlite_error(sqlite3.SQLITE_PERM, "access permission denied"), lasting=True),
        Fault("io", IO),
        Fault("io-lasting", IO, lasting=True),
        Fault("io-after", IO, late=True),
        Fault("memory", MemoryError, raw=True),
        Fault("interrupt", KeyboardInterrupt, raw=True),
    ),
    "duckdb": (
        Fault("full", duckdb_error("IOException", "IO Error: No space left on device")),
        Fault("memory-limit", duckdb_error("OutOfMemoryException", "Out of Memory Error: could not allocate block")),
        Fault("io", DUCK_IO),
        Fault("io-lasting", DUCK_IO, lasting=True),
        Fault("io-after", DUCK_IO, late=True),
        Fault("interrupt", KeyboardInterrupt, raw=True),
    ),
}  # fmt: skip
CALLS = {
    ("sqlite", "append", 1): 77,
    ("sqlite", "append", 2): 89,
    ("sqlite", "truncate", 1): 77,
    ("sqlite", "truncate", 2): 67,
    ("sqlite", "merge", 1): 85,
    ("sqlite", "merge", 2): 87,
    ("sqlite", "scd2", 1): 87,
    ("sqlite", "scd2", 2): 78,
    ("duckdb", "append", 1): 62,
    ("duckdb", "append", 2): 71,
    ("duckdb", "truncate", 1): 50,
    ("duckdb", "truncate", 2): 57,
    ("duckdb", "merge", 1): 60,
    ("duckdb", "merge", 2): 67,
    ("duckdb", "scd2", 1): 61,
    ("duckdb", "scd2", 2): 68,
}
"""The calls of a run without a fault; `test_each_call_has_a_case` keeps them right."""
SHARE = {"sqlite": (5, 1), "duckdb": (19, 2)}
"""One of so many cases is tried daily, one of so many at night."""


class Watched:
    """A connection or cursor whose calls go through a trap."""

    def __init__(self, inner: Any, trap: Trap) -> None:
        self._inner, self._trap = inner, trap

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if name == "cursor":
            return lambda: Watched(found(), self._trap)
        return functools.partial(self._trap.call, found) if name in ("execute", "executemany", "sql") else found


def watch(kind: str, monkeypatch: pytest.MonkeyPatch) -> Trap:
    """The sessions of a kind that are opened from here on go through a trap."""
    trap = Trap()
    connect, acquire = sqlite_io._connect, duckdb_io._acquire

    def acquired(settings: Any) -> tuple[str, Any]:
        key, cursor = acquire(settings)
        return key, Watched(cursor, trap)

    if kind == "sqlite":
        monkeypatch.setattr(sqlite_io, "_connect", lambda settings: Watched(connect(settings), trap))
    else:
        monkeypatch.setattr(duckdb_io, "_acquire", acquired)
    return trap


def cases() -> list[Any]:
    """(kind, mode, load, fault, number of the call)."""
    return spread(
        ((*place, fault.name, number), SHARE[place[0]])
        for place, calls in CALLS.items()
        for fault in FAULTS[place[0]]
        for number in range(1, calls + 1)
    )


@pytest.mark.parametrize(("kind", "mode", "load", "fault", "number"), cases())
def test_a_call_that_fails(
    kind: str, mode: str, load: int, fault: str, number: int, places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = places.get(kind, mode, load)
    trap = watch(kind, monkeypatch)
    made = next(one for one in FAULTS[kind] if one.name == fault)
    trap.set(number, made)
    found = ended(place.spec)
    trap.mend()
    assert trap.fired, "the fault did not fire"
    place.try_again(found, raw=made.raw, deaf=made.lasting)


@pytest.mark.parametrize("load", [1, 2])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", ["sqlite", "duckdb"])
def test_each_call_has_a_case(kind: str, mode: str, load: int, places: Places, monkeypatch: pytest.MonkeyPatch) -> None:
    place = places.get(kind, mode, load)
    trap = watch(kind, monkeypatch)
    assert ended(place.spec).status == "success"
    known = CALLS.get((kind, mode, load), 0)
    assert known <= trap.calls <= known + SLACK, f"correct the number in CALLS: {trap.calls}"
