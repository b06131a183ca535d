"""Runs at once, released by a barrier: who loses works its load out anew; no row is lost or doubled."""

from __future__ import annotations

import contextlib
import functools
import threading
from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb.backends.registry import open_session
from ematix_nb.declare.data_types import BIGINT, TEXT
from ematix_nb.declare.spec import Column
from ematix_nb.errors import ConflictError, FlowError, LockedError
from ematix_nb.load import failpoints
from ematix_nb.load.targets import thing_state
from tests.conformance.matrix import open_system
from tests.conformance.run import Bench
from tests.support.invariants import open_leases

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from tests.backends.delta.conftest import StoreDelta
    from tests.conformance.matrix import Delta

SMALL = {"id": BIGINT, "name": TEXT}
TRIALS = 20
FEW = 4
STORE_TABLES = 2
TABLES = 10


def at_once(works: Sequence[Callable[[], Any]]) -> list[FlowError]:
    """Do all at the same moment; the errors."""
    barrier = threading.Barrier(len(works))
    errors: list[FlowError] = []

    def one(work: Callable[[], Any]) -> None:
        barrier.wait(60)
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


@contextlib.contextmanager
def meeting_before_commit(runs: int) -> Iterator[list[int]]:
    """Runs of different threads wait for each other before their first commits; the list holds who came, each time."""
    barrier = threading.Barrier(runs)
    came: list[int] = []

    def reached(step: str) -> None:
        if step == "before_commit":
            came.append(threading.get_ident())
            if came.count(threading.get_ident()) == 1:
                barrier.wait(60)

    failpoints.install(reached)
    try:
        yield came
    finally:
        failpoints.install(None)


class Race:
    """Loads into one table, trial after trial, from a source that grows."""

    def __init__(self, bench: Bench, mode: str, names: Sequence[str]) -> None:
        merges = {"keys": ("id",)}, {"incremental": True, "watermark_column": "id"}
        self.bench = bench
        self.rows: list[tuple[int, str]] = []
        bench.give(SMALL, self.rows)
        self.pipelines = {name: bench.pipeline(mode, name=name, **merges[mode != "merge"]) for name in names}
        self.copies = 1 if mode == "merge" else len(self.pipelines)

    def more(self, trial: int) -> None:
        """Two more rows in the source."""
        self.bench.more([(trial * 2, f"a{trial}"), (trial * 2 + 1, f"b{trial}")])
        self.rows += [(trial * 2, f"a{trial}"), (trial * 2 + 1, f"b{trial}")]

    def check(self, trial: int) -> None:
        """The table holds each key once, or each row once for each pipeline."""
        wanted = sorted(self.rows * self.copies, key=repr)
        assert self.bench.rows("id", "name") == wanted, f"trial {trial}"


def race_of_two(bench: Bench, mode: str, trials: int) -> None:
    """Two pipelines stand before their commits at the same moment, on the same version of the table."""
    race = Race(bench, mode, "pq")
    for trial in range(trials):
        race.more(trial)
        with meeting_before_commit(2) as came:
            assert at_once([pipeline.sync for pipeline in race.pipelines.values()]) == []
        loses = mode == "merge" or not trial  # of two makers of a table, and of two merges, one starts over
        assert len(came) == 2 + loses, f"trial {trial}"
        race.check(trial)
    assert open_leases(bench.target.connection, bench.table) == []


def race_of_one(bench: Bench, mode: str, trials: int) -> None:
    """A pipeline that is started twice at the same moment: one run holds the lease, the other says so."""
    race = Race(bench, mode, "p")
    lost = 0
    for trial in range(trials):
        race.more(trial)
        errors = at_once([race.pipelines["p"].sync] * 2)
        assert [type(error) for error in errors] in ([], [LockedError])
        lost += len(errors)
        race.check(trial)
    assert lost
    assert open_leases(bench.target.connection, bench.table) == []


RACES = {"two pipelines": race_of_two, "one pipeline": race_of_one}


@pytest.mark.parametrize("mode", ["merge", "append"])
@pytest.mark.parametrize("race", RACES)
def test_two_runs(bench: Bench, race: str, mode: str) -> None:
    RACES[race](bench, mode, FEW * 2)


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("mode", ["merge", "append"])
@pytest.mark.parametrize("race", RACES)
def test_two_runs_many_times(bench: Bench, race: str, mode: str) -> None:
    for number in range(TABLES):
        bench.table = f"tgt{number}"
        RACES[race](bench, mode, TRIALS)


@pytest.fixture
def store_bench(place: StoreDelta, tmp_path: Path) -> Bench:
    """Rows of a SQLite table into a Delta table in a bucket."""
    return Bench(place, open_system("sqlite", tmp_path / "source", None, label="source"))


@pytest.mark.integration
@pytest.mark.timeout(300)
def test_two_runs_in_a_store(store_bench: Bench) -> None:
    race_of_two(store_bench, "merge", FEW)


@pytest.mark.nightly
@pytest.mark.integration
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("mode", ["merge", "append"])
@pytest.mark.parametrize("race", RACES)
def test_two_runs_in_a_store_many_times(store_bench: Bench, race: str, mode: str) -> None:
    for number in range(STORE_TABLES):
        store_bench.table = f"tgt{number}"
        RACES[race](store_bench, mode, TRIALS)


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
        assert [type(error) for error in errors] == [ConflictError] * 3
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
