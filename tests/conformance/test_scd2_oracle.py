"""Random histories against a plain list of events: the chain of versions must be what the list says."""

from __future__ import annotations

import datetime as dt
import itertools
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ematix_nb.declare.data_types import BIGINT, TEXT, TIMESTAMPTZ
from tests.conformance.matrix import SYSTEMS, open_system, url_of
from tests.conformance.run import Bench, counts
from tests.conformance.test_scd2 import chain, check_chain

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
COLUMNS = {"id": BIGINT, "a": TEXT, "at": TIMESTAMPTZ}
GONE = object()
Event = tuple[int, str | None, int]

events = st.tuples(st.integers(1, 2), st.sampled_from(["x", "y", None]), st.integers(0, 6))
batches = st.lists(st.lists(events, min_size=1, max_size=5), min_size=1, max_size=4)
snapshots = st.lists(st.dictionaries(st.integers(1, 3), st.sampled_from(["x", "y", None])), min_size=1, max_size=5)


class Oracle:
    """The entries of each key by their time; `GONE` where a version ended and none began."""

    def __init__(self) -> None:
        self.entries: dict[int, dict[Any, Any]] = {}

    def load(self, batch: list[Event]) -> None:
        """Put events in; of two for one key and time the later one counts; equal neighbours are one version."""
        for key, value, minute in batch:
            self.entries.setdefault(key, {})[START + dt.timedelta(minutes=minute)] = value
        for key in {event[0] for event in batch}:
            kept: dict[Any, Any] = {}
            before: Any = GONE
            for moment, value in sorted(self.entries[key].items(), key=lambda item: item[0]):
                if value != before or value is GONE:
                    kept[moment] = value
                before = value
            self.entries[key] = kept

    def versions(self) -> list[tuple[Any, ...]]:
        """``(id, a, from, to, current)`` of all versions."""
        found = []
        for key, entries in self.entries.items():
            ordered = [*sorted(entries.items(), key=lambda item: item[0]), (None, GONE)]
            for (begins, value), (ends, _) in itertools.pairwise(ordered):
                if value is not GONE:
                    found.append((key, value, begins, ends, ends is None))
        return sorted(found, key=lambda row: (row[0], row[2]))


@pytest.fixture
def benches(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Bench]:
    """A fresh target table at each call, in one place; the source is the same place."""
    made: dict[str, Any] = {}
    numbers = itertools.count()

    def bench(name: str) -> Bench:
        if name not in made:
            made[name] = open_system(name, tmp_path / name, url_of(name, request), label="place")
        return Bench(made[name], made[name], table=f"t{next(numbers)}")

    return bench


def follow(bench: Bench, history: list[list[Event]]) -> None:
    """Load batch after batch; after each the target is what the oracle says, and loading it again adds nothing."""
    oracle = Oracle()
    pipeline = bench.pipeline("scd2", keys=("id",), event_timestamp_column="at", name=f"load_{bench.table}")
    for batch in history:
        bench.give(COLUMNS, [(key, value, START + dt.timedelta(minutes=minute)) for key, value, minute in batch])
        pipeline.sync()
        oracle.load(batch)
        found = chain(bench, "a")
        check_chain(found)
        assert found == oracle.versions()
    assert "inserted" not in counts(pipeline.sync())
    assert chain(bench, "a") == oracle.versions()


def follow_snapshots(bench: Bench, history: list[dict[int, str | None]]) -> None:
    """Whole extracts with soft deletes: what is current is what the newest extract that had rows holds."""
    pipeline = bench.pipeline("scd2", keys=("id",), handle_deletes="soft", name=f"load_{bench.table}")
    current: dict[int, str | None] = {}
    closed = opened = 0
    for snapshot in history:
        bench.give({"id": BIGINT, "a": TEXT}, list(snapshot.items()))
        pipeline.sync()
        if snapshot:
            ended = [key for key, value in current.items() if key not in snapshot or snapshot[key] != value]
            begun = [key for key, value in snapshot.items() if key not in current or current[key] != value]
            closed, opened, current = closed + len(ended), opened + len(begun), dict(snapshot)
        if not bench.target.has(bench.table):
            continue
        found = chain(bench, "a")
        check_chain(found)
        assert {row[0]: row[1] for row in found if row[-1]} == current
        assert (len(found), sum(not row[-1] for row in found)) == (opened, closed)


VERSIONED = tuple(name for name, system in SYSTEMS.items() if "scd2" in system.modes)
QUICK = {"duckdb": 6, "sqlite": 10, "postgres": 6, "mysql": 4, "delta": 4}
SLOW = {"duckdb": 100, "sqlite": 50, "postgres": 50, "mysql": 30, "delta": 30}


def check(name: str, benches: Callable[[str], Bench], examples: int) -> None:
    """Both properties on one system."""
    quiet = settings(
        max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck), derandomize=True
    )
    quiet(given(batches)(lambda history: follow(benches(name), history)))()
    quiet(given(snapshots)(lambda history: follow_snapshots(benches(name), history)))()


@pytest.mark.parametrize("name", VERSIONED)
def test_chains_are_what_a_list_of_events_says(name: str, benches: Callable[[str], Bench]) -> None:
    check(name, benches, QUICK[name])


@pytest.mark.nightly
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", VERSIONED)
def test_many_chains_are_what_a_list_of_events_says(name: str, benches: Callable[[str], Bench]) -> None:
    check(name, benches, SLOW[name])
