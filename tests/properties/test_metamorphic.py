"""Two ways to load the same rows that have to end in the same target, whatever the rows are."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ematix_nb.verbs.run import run
from tests.crash.child import declared
from tests.properties.machine import LONG_AGO, MINUTE, WATERMARK, bag, source_rows
from tests.properties.oracle import LOADED, Row
from tests.properties.places import SOURCE, TARGET

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Callable, Sequence

    from tests.properties.places import Place

COLUMNS = ("id", "v", "at")
EXAMPLES = {"sqlite": 12, "duckdb": 2, "postgres": 4, "delta": 2}
rows = st.lists(source_rows.map(lambda row: {name: row[name] for name in COLUMNS}), min_size=1, max_size=6)
dated = st.integers(0, 9).map(lambda minutes: LONG_AGO + minutes * MINUTE)
events = st.lists(
    st.fixed_dictionaries({"id": st.integers(1, 2), "v": st.sampled_from(["x", "y", None]), "at": dated}),
    min_size=1,
    max_size=6,
    unique_by=lambda row: (row["id"], row["at"]),
)


def loaded(place: Place, batches: Sequence[Sequence[Row]], mode: str, **options: Any) -> Counter[Any]:
    """What a new target holds after these batches, one run each; without the times of the runs."""
    place.fresh()
    declaration = {"name": "load", "target": f"target:{TARGET}", "source_connection": "source", "mode": mode, **options}
    spec = declared({"sql": f"SELECT * FROM {SOURCE}", **declaration}, place.target_url, place.source_url)
    for batch in batches:
        place.tables.give(COLUMNS, batch)
        run(spec).raise_for_status()
    return bag([{name: value for name, value in row.items() if name != LOADED} for row in place.rows()])


def merge_in_one_or_in_two(place: Place, one: list[Row], two: list[Row]) -> None:
    """The rows of the second batch are newer in both."""
    options: dict[str, Any] = {"keys": ("id",)}
    assert loaded(place, [[*one, *two]], "merge", **options) == loaded(place, [one, two], "merge", **options)


def append_in_any_order(place: Place, one: list[Row], two: list[Row]) -> None:
    """The order of rows does not matter, nor do batches that bring earlier ones again."""
    whole = [*one, *two]
    wide: dict[str, Any] = {**WATERMARK, "overlap": dt.timedelta(days=1)}
    found = loaded(place, [whole], "append", **wide)
    assert found == loaded(place, [list(reversed(whole))], "append", **wide)
    assert found == loaded(place, [one, whole], "append", **wide)
    assert found == loaded(place, [one, two], "append")


def truncate_once_or_twice(place: Place, one: list[Row], two: list[Row]) -> None:
    """Only the last batch counts."""
    assert loaded(place, [one, two, two], "truncate") == loaded(place, [two], "truncate")


def versions_at_once_or_one_by_one(place: Place, one: list[Row], two: list[Row]) -> None:
    """All events in one batch, in the other order, in two batches, and each in a batch of its own."""
    known = {(row["id"], row["at"]) for row in one}
    whole = [*one, *(row for row in two if (row["id"], row["at"]) not in known)]
    options: dict[str, Any] = {"keys": ("id",), "event_timestamp_column": "at"}
    found = loaded(place, [whole], "scd2", **options)
    assert found == loaded(place, [list(reversed(whole))], "scd2", **options)
    grown = [whole[: number + 1] for number in range(len(whole))]
    assert found == loaded(place, grown, "scd2", **options)


RELATIONS: dict[str, tuple[st.SearchStrategy[list[Row]], Callable[[Place, list[Row], list[Row]], None]]] = {
    "merge": (rows, merge_in_one_or_in_two),
    "append": (rows, append_in_any_order),
    "truncate": (rows, truncate_once_or_twice),
    "scd2": (events, versions_at_once_or_one_by_one),
}


def check(place: Place, relation: str, examples: int) -> None:
    """One relation on one backend."""
    batch, holds = RELATIONS[relation]
    quiet = settings(
        max_examples=examples, deadline=None, database=None, suppress_health_check=list(HealthCheck), derandomize=True
    )
    quiet(given(batch, batch)(lambda one, two: holds(place, one, two)))()


@pytest.mark.parametrize("relation", RELATIONS)
@pytest.mark.parametrize("place", EXAMPLES, indirect=True)
def test_two_ways_to_one_target(place: Place, relation: str) -> None:
    check(place, relation, EXAMPLES[place.name])


@pytest.mark.nightly
@pytest.mark.timeout(600)
@pytest.mark.parametrize("relation", RELATIONS)
@pytest.mark.parametrize("place", EXAMPLES, indirect=True)
def test_two_ways_to_one_target_often(place: Place, relation: str) -> None:
    check(place, relation, 10 * EXAMPLES[place.name])
