"""Runs at once, released by a barrier: whoever loses says so and may run again; no row is lost or doubled."""

from __future__ import annotations

import functools
import threading
from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb.backends.registry import open_session
from ematix_nb.declare.data_types import BIGINT, TEXT
from ematix_nb.declare.spec import Column
from ematix_nb.errors import FlowError, LockedError, TransientError
from ematix_nb.load.targets import thing_state
from tests.support.invariants import open_leases

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.conformance.matrix import Delta
    from tests.conformance.run import Bench

SMALL = {"id": BIGINT, "name": TEXT}
TRIALS, MANY_TRIALS = 20, 200


def at_once(works: Sequence[Callable[[], Any]]) -> list[FlowError]:
    """Do all at the same moment; the errors."""
    barrier = threading.Barrier(len(works))
    errors: list[FlowError] = []

    def one(work: Callable[[], Any]) -> None:
        barrier.wait()
        try:
            work()
        except FlowError as error:
            errors.append(error)

    threads = [threading.Thread(target=one, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def race(bench: Bench, mode: str, names: Sequence[str], trials: int) -> None:
    """Pipelines into one table, trial after trial; the table holds each key once, or each row once a pipeline."""
    options: dict[str, Any] = {"keys": ("id",)} if mode == "merge" else {"incremental": True, "watermark_column": "id"}
    rows: list[tuple[int, str]] = []
    bench.give(SMALL, rows)
    pipelines = {name: bench.pipeline(mode, name=name, **options) for name in names}
    lost = 0
    for trial in range(trials):
        bench.more([(trial * 2, f"a{trial}"), (trial * 2 + 1, f"b{trial}")])
        rows += [(trial * 2, f"a{trial}"), (trial * 2 + 1, f"b{trial}")]
        errors = at_once([pipelines[name].sync for name in names])
        assert {type(error) for error in errors} <= {LockedError, TransientError}
        assert len(errors) < len(names)
        lost += len(errors)
        for pipeline in pipelines.values():  # what lost runs again
            pipeline.sync()
        copies = 1 if mode == "merge" else len(set(names))
        assert bench.rows("id", "name") == sorted(rows * copies, key=repr), f"trial {trial}"
    assert lost or mode == "append"
    assert open_leases(bench.target.connection, bench.table) == []


CASES = [("merge", ("p", "q")), ("append", ("p", "p")), ("append", ("p", "q")), ("merge", ("p", "p"))]


@pytest.mark.parametrize(("mode", "names"), CASES)
def test_two_runs(bench: Bench, mode: str, names: Sequence[str]) -> None:
    race(bench, mode, names, TRIALS)


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("mode", "names"), CASES)
def test_two_runs_many_times(bench: Bench, mode: str, names: Sequence[str]) -> None:
    race(bench, mode, names, MANY_TRIALS)


def test_makers_of_one_table(lake: Delta) -> None:
    """The library lets both in when two make a table and a commit may be tried again."""
    import pyarrow as pa

    columns = [Column("id", BIGINT)]
    for trial in range(TRIALS):
        table = f"t{trial}"
        sessions = [open_session(lake.connection) for _ in range(4)]
        staged = [
            session.stage(table, columns, [pa.record_batch({"id": [number]})], f"run{number}")
            for number, session in enumerate(sessions)
        ]

        def make(number: int, table: str = table, sessions: Any = sessions, staged: Any = staged) -> None:
            sessions[number].commit_files(
                table, None, staged[number], ((f"p{number}", 1),), columns=columns, mode="append", alone=False
            )

        errors = at_once([functools.partial(make, number) for number in range(4)])
        assert [type(error) for error in errors] == [TransientError] * 3
        assert len(lake.rows(table, ["id"])) == 1


def test_takers_of_one_lease(lake: Delta) -> None:
    from ematix_nb.state.model import Claim, RunRecord

    for trial in range(TRIALS):
        won: list[Any] = []

        def take(number: int, trial: int = trial, won: list[Any] = won) -> None:
            session = open_session(lake.connection)
            state = thing_state(session, f"t{trial}")
            claim = Claim("p", f"r{number}", "elsewhere", "1:1")
            won.append(state.acquire(claim, RunRecord(run_id=f"r{number}", pipeline="p")))

        errors = at_once([functools.partial(take, number) for number in range(4)])
        assert [type(error) for error in errors] == [LockedError] * 3
        assert [lease.epoch for lease in won] == [1]
