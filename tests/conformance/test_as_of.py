"""The versions that held at an instant: their begin belongs to them, their end does not."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb import ematix
from ematix_nb.connections import clear_connections, register_connection
from ematix_nb.declare.data_types import BIGINT, TEXT, TIMESTAMPTZ
from ematix_nb.errors import DeclarationError, FlowError, UsageError
from ematix_nb.verbs.as_of import as_of
from tests.conformance.conftest import pairs
from tests.conformance.test_scd2 import EVENTS, day

if TYPE_CHECKING:
    from tests.conformance.run import Bench

INSTANT = dt.timedelta(microseconds=1)
ROWS = [(1, "a", day(1)), (1, "b", day(3)), (2, "x", day(2))]


@pytest.fixture
def versions(bench: Bench) -> Any:
    """The pipeline of a target with versions: two of key 1, one of key 2."""
    bench.give(EVENTS, ROWS)
    pipeline = bench.pipeline("scd2", keys=("id",), event_timestamp_column="at")
    pipeline.sync()
    return pipeline


def at(pipeline: Any, moment: Any) -> list[tuple[int, str]]:
    """Key and value of the versions at an instant."""
    return sorted((row["id"], row["a"]) for row in pipeline.as_of(moment).to_arrow().to_pylist())


@pytest.mark.parametrize("bench", pairs("scd2", same=False), indirect=True)
def test_what_held_at_an_instant(bench: Bench, versions: Any) -> None:
    assert at(versions, day(1) - INSTANT) == []
    assert at(versions, day(1)) == [(1, "a")]
    assert at(versions, day(3) - INSTANT) == [(1, "a"), (2, "x")]
    assert at(versions, day(3)) == at(versions, dt.datetime(2999, 1, 1, tzinfo=dt.UTC)) == [(1, "b"), (2, "x")]


@pytest.mark.parametrize("bench", pairs("scd2", same=False), indirect=True)
def test_an_instant_without_a_zone_is_utc(bench: Bench, versions: Any) -> None:
    east = dt.timezone(dt.timedelta(hours=5))
    for moment in (
        dt.date(2024, 1, 3), dt.datetime(2024, 1, 3), "2024-01-03", "2024-01-03T00:00", "2024-01-03T05:00+05:00",  # noqa: DTZ001 - taken as UTC
        dt.datetime(2024, 1, 3, 5, tzinfo=east),
    ):  # fmt: skip
        assert at(versions, moment) == [(1, "b"), (2, "x")]
    assert at(versions, dt.datetime(2024, 1, 3, tzinfo=east)) == [(1, "a"), (2, "x")]


@pytest.mark.parametrize("bench", pairs("scd2", same=False), indirect=True)
def test_what_was_closed_held_until_then(bench: Bench) -> None:
    bench.give({"id": BIGINT, "a": TEXT}, [(1, "a"), (2, "x")])
    pipeline = bench.pipeline("scd2", keys=("id",), handle_deletes="soft")
    pipeline.sync()
    bench.give({"id": BIGINT, "a": TEXT}, [(2, "x")])
    closed = pipeline.sync().targets[0]
    history = pipeline.as_of("2999-01-01")
    assert history.to_arrow().column("a").to_pylist() == ["x"]
    ends = [row for row in bench.rows("a", "valid_to") if row[0] == "a"]
    assert len(ends) == 1
    assert closed.counts["rows_closed"] == 1
    assert at(pipeline, "2000-01-01") == []
    assert history.to_arrow(limit=1).num_rows == history.to_polars().height == len(history.to_pandas()) == 1


@pytest.mark.parametrize("bench", pairs("scd2", same=False), indirect=True)
def test_a_preview_of_an_instant_and_of_a_table_by_its_address(bench: Bench, versions: Any) -> None:
    register_connection(bench.target.connection)
    try:
        found = as_of(f"{bench.target.connection.name}:{bench.table}", "2024-01-02")
        assert sorted(found.to_arrow().column("a").to_pylist()) == ["a", "x"]
    finally:
        clear_connections()
    shown = versions.as_of("2024-01-02").preview(1)
    assert (shown.sample.num_rows, shown.complete) == (1, False)
    assert "as of 2024-01-02 00:00:00.000000+00:00" in shown.to_text()


@pytest.mark.parametrize("bench", pairs("append", same=False, sql=True), indirect=True)
def test_what_keeps_no_versions_says_so(bench: Bench) -> None:
    bench.give({"id": BIGINT, "at": TIMESTAMPTZ}, [(1, day(1))])
    pipeline = bench.pipeline("append")
    pipeline.sync()
    with pytest.raises(UsageError, match="pipeline `load` has no target of mode scd2"):
        pipeline.as_of("2024-01-01")
    scd2 = bench.pipeline("scd2", keys=("id",), name="other")
    with pytest.raises(UsageError, match="holds no versions: it has no columns valid_from and valid_to"):
        scd2.as_of("2024-01-01").to_arrow()


def test_what_is_no_instant_is_refused() -> None:
    pipeline = ematix.pipeline(name="p", target="nowhere:t", mode="scd2", keys=("id",))(lambda _: "SELECT 1 AS id")
    with pytest.raises(UsageError, match="`yesterday` is not an ISO 8601 date and time"):
        pipeline.as_of("yesterday")
    with pytest.raises(DeclarationError, match="7 is no instant"):
        pipeline.as_of(7)  # type: ignore[arg-type]
    with pytest.raises(FlowError, match="nowhere"):
        pipeline.as_of("2024-01-01").to_arrow()
