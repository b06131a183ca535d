"""Two runs of one pipeline at once, pair after pair, in two processes that stay.

A pair is of one of two forms. ``met``: the run that got the lease waits past `read_state` until the other one was
refused. ``overtaken``: no heartbeat is heard, the second run takes the lease over, and both wait past `read_state` for
each other before either goes on to its commit.
"""

from __future__ import annotations

import contextlib
import multiprocessing
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ematix_nb.load.heartbeat import Heartbeat
from ematix_nb.verbs import run as verb
from tests.crash.child import work
from tests.crash.world import reports, rows_after

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.connection import Connection
    from pathlib import Path

    from tests.crash.child import Job
    from tests.crash.world import World

PATIENCE_S = 60
SHORT_LEASE_S = 0.05
POLL_S = 0.02
FORMS = (
    *(("sqlite", "met"), ("postgres", "overtaken"), ("sqlite", "overtaken")) * 2,
    *(("postgres", "met"), ("sqlite", "overtaken"), ("duckdb", "met"), ("sqlite", "met")),
)
"""What the pairs go through in turn; a DuckDB file has one process at a time, which nobody can overtake."""
REFUSED = {"met": "LockedError", "overtaken": "TransientError"}
_context = multiprocessing.get_context("forkserver")


def serve(line: Connection) -> None:
    """Do jobs as they come; None ends it."""
    verb.WAIT_STEP = POLL_S
    beat = Heartbeat._beat
    while (found := line.recv()) is not None:
        job, heard = found
        Heartbeat._beat = beat if heard else _unheard  # type: ignore[assignment,method-assign]
        work(job)
        line.send("done")


def _unheard(_: Heartbeat) -> None:
    """Heartbeats that reach nobody."""


@dataclass
class Workers:
    """Two processes."""

    lines: tuple[Connection, ...]

    def do(self, *jobs: Job, heard: bool = True) -> list[dict[str, Any]]:
        """Give each process one of these jobs, at once; what they reported."""
        busy = self.lines[: len(jobs)]
        for line, job in zip(busy, jobs, strict=True):
            line.send((job, heard))
        for line in busy:
            assert line.poll(PATIENCE_S), "a run did not come to its end"
            line.recv()
        return [report for job in jobs for report in reports(job)]


@contextlib.contextmanager
def workers() -> Iterator[Workers]:
    """Two processes, ended afterwards."""
    with contextlib.ExitStack() as stack:
        lines = []
        for _ in range(2):
            ours, theirs = _context.Pipe()
            process = _context.Process(target=serve, args=(theirs,), daemon=True)
            process.start()
            stack.callback(process.join, PATIENCE_S)
            stack.callback(ours.send, None)
            lines.append(ours)
        yield Workers(tuple(lines))


def pair(world: World, form: str, both: Workers, folder: Path) -> tuple[int, int]:
    """Two runs at once of the second load; how many rows were lost, and how many doubled.

    Raises:
        AssertionError: Not exactly one of them loaded, or something of the other one stayed.
    """
    (first,) = both.do(world.job(world.step(1)))
    assert first["status"] == "success", first
    folder.mkdir()
    options: dict[str, Any] = {"lease_seconds": SHORT_LEASE_S} if form == "overtaken" else {"ended": str(folder)}
    step = world.step(2, f"read_state=barrier:{folder}:2", options={"wait": PATIENCE_S if form == "overtaken" else 0})
    jobs = [world.job(step, duckdb_wait_ms=50, **options) for _ in range(2)]
    found = both.do(*jobs, heard=form == "met")
    assert sorted(report["type"] for report in found) == ["", REFUSED[form]], found
    assert (world.leftovers(), world.lease()) == ([], "")
    have, want = Counter(world.rows()), Counter(rows_after(world.mode, 2))
    return (want - have).total(), (have - want).total()
