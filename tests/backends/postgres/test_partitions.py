"""Reading in ranges by several sessions: every row once, all of one moment, and what cannot be cut is refused."""

from __future__ import annotations

import datetime as dt
import threading
import time
from typing import TYPE_CHECKING, Any

import psycopg
import pytest

from ematix_nb import DuckDBConnection, MySQLConnection, PostgresConnection, ematix, register_connection
from ematix_nb.declare import registry
from ematix_nb.declare.data_types import BIGINT, TIMESTAMPTZ, DataType
from ematix_nb.declare.pipelines import build_pipeline
from ematix_nb.errors import CancelledError, DataError, DeclarationError
from ematix_nb.load.cancel import CancelToken
from ematix_nb.load.partitions import conditions
from ematix_nb.sql.dialect import Dialect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ematix_nb.api import Pipeline

ROWS = 20_000


@pytest.fixture
def url(pg_url: str, tmp_path: Path) -> Iterator[str]:
    with registry.scratch():
        register_connection(PostgresConnection(name="pg", url=pg_url))
        register_connection(DuckDBConnection(name="wh", path=str(tmp_path / "wh.duckdb")))
        with psycopg.connect(pg_url, autocommit=True) as connection:
            connection.execute(
                f"CREATE TABLE src AS SELECT g AS id, 'n' || g AS name, CASE WHEN g % 100 > 0 THEN g END AS maybe,"
                f" timestamptz '2026-01-01' + g * interval '1 minute' AS at, date '2026-01-01' + g % 40 AS day,"
                f" g / 3.0 AS amount FROM generate_series(1, {ROWS}) AS g"
            )
        yield pg_url


def load(column: str, partitions: int = 4, *, target: str = "wh:main.out", **options: Any) -> Pipeline:
    options = {"mode": "truncate", **options}

    @ematix.pipeline(
        target=target, source_connection="pg", name="ranged", partition_column=column, partitions=partitions, **options
    )
    def ranged() -> str:
        return "SELECT id, name, maybe, at, day FROM src"

    return ranged


@pytest.mark.integration
@pytest.mark.parametrize("column", ["id", "maybe", "at", "day"])
@pytest.mark.parametrize("partitions", [2, 7])
def test_every_row_once(url: str, column: str, partitions: int) -> None:
    result = load(column, partitions).sync()
    assert result.counts["rows_read"] == ROWS
    ids = result.to_arrow()["id"].to_pylist()
    assert sorted(ids) == list(range(1, ROWS + 1))
    plan = result.targets[0].plan
    assert plan is not None
    assert (plan.partitions, plan.route) == (partitions, "arrow")
    assert plan.route_reason == f"{partitions} sessions read ranges of {column} in one snapshot"


@pytest.mark.integration
def test_one_snapshot_for_all(url: str) -> None:
    """Rows that are added while the sessions read are not seen by any of them."""
    added: list[int] = []

    def add(_: Any) -> None:
        if not added:
            with psycopg.connect(url, autocommit=True) as connection:
                connection.execute("INSERT INTO src (id, name) SELECT g, 'late' FROM generate_series(1, 20000, 7) AS g")
            added.append(1)

    class Listener:
        def on_event(self, event: Any) -> None:
            if type(event).__name__ == "BatchRead":
                add(event)

    result = load("id").sync(listener=Listener())
    assert (added, result.counts["rows_read"]) == ([1], ROWS)


@pytest.mark.integration
@pytest.mark.parametrize("mode", ["append", "merge", "scd2"])
def test_with_modes_and_postgres_as_target(url: str, mode: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE other_{url.rpartition('/')[2]}")
    other = url.rpartition("/")[0] + "/other_" + url.rpartition("/")[2]
    register_connection(PostgresConnection(name="other", url=other))
    options = {} if mode == "append" else {"keys": ("id",)}
    try:
        result = load("id", 3, target="other:public.out", mode=mode, **options).sync()
        assert result.counts["rows_inserted"] == ROWS
    finally:
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(f"DROP DATABASE other_{url.rpartition('/')[2]} WITH (FORCE)")


@pytest.mark.integration
def test_one_database_needs_no_partitions(url: str) -> None:
    plan = load("id", target="pg:public.out").sync().targets[0].plan
    assert plan is not None
    assert (plan.route, plan.partitions, plan.partition_column) == ("insert-select", 1, "")


@pytest.mark.integration
def test_empty_and_single_values(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DELETE FROM src WHERE id > 1")
    assert load("id").sync().counts["rows_read"] == 1
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE src SET maybe = NULL")
    assert load("maybe").sync().counts["rows_read"] == 1
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DELETE FROM src")
    assert load("id", empty_source="apply").sync().counts["rows_read"] == 0


@pytest.mark.integration
def test_a_bad_value_in_one_range_stops_all(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("UPDATE src SET day = 'infinity' WHERE id = 15000")
    with pytest.raises(DataError, match="`infinity` cannot be read as date"):
        load("id").sync()
    with psycopg.connect(url) as connection:
        left = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        deadline = time.monotonic() + 5
        while connection.execute(left).fetchone() != (0,) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert connection.execute(left).fetchone() == (0,)


@pytest.mark.integration
def test_it_can_be_stopped(url: str) -> None:
    token = CancelToken()
    pipeline = load("id")

    class Listener:
        def on_event(self, event: Any) -> None:
            if type(event).__name__ == "BatchRead" and not token.cancelled:
                threading.Thread(target=token.cancel).start()
                time.sleep(0.2)

    started = time.monotonic()
    with pytest.raises(CancelledError):
        pipeline.sync(token=token, listener=Listener())
    assert time.monotonic() - started < 5


@pytest.mark.integration
@pytest.mark.parametrize(
    ("column", "message"),
    [("name", "ranges are made of whole numbers, dates and times"), ("nope", "`nope` is not a loaded column")],
)
def test_columns_that_cannot_be_cut(url: str, column: str, message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        load(column).sync()


@pytest.mark.integration
def test_a_source_that_shares_no_snapshot(url: str) -> None:
    load("id").sync()

    @ematix.pipeline(target="pg:public.back", source_connection="wh", mode="append", partition_column="id")
    def back() -> str:
        return "SELECT id FROM out"

    with pytest.raises(DeclarationError, match="`wh` cannot be read in partitions"):
        back.sync()


@pytest.mark.integration
def test_mariadb_has_no_snapshot_for_several_sessions(mysql_url: str, tmp_path: Path) -> None:
    """A plain user cannot have one there; sessions of different moments would miss rows."""
    with registry.scratch():
        register_connection(MySQLConnection(name="my", url=mysql_url))
        register_connection(DuckDBConnection(name="wh", path=str(tmp_path / "wh.duckdb")))

        @ematix.pipeline(target="wh:main.out", source_connection="my", mode="append", partition_column="id")
        def ranged() -> str:
            return "SELECT 1 AS id"

        with pytest.raises(DeclarationError, match="`my` cannot be read in partitions: its sessions do not share"):
            ranged.sync()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"partitions": 4}, "partitions needs partition_column"),
        ({"partition_column": "id", "partitions": 0}, "a whole number from 1 to 64"),
        ({"partition_column": "id", "partitions": True}, "a whole number from 1 to 64"),
        ({"partition_column": ""}, "partition_column is a text"),
    ],
)
def test_wrong_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(DeclarationError, match=message):
        build_pipeline(sql="SELECT 1 AS id", name="one", target="pg:t", **options)


class Plain(Dialect):
    def literal(self, value: object, kind: object = None) -> str:  # noqa: ARG002 - the contract's
        return str(value)


def test_ranges_follow_one_another() -> None:
    dialect = Plain()
    for low, high, count in ((-5, 17, 4), (0, 1, 8), (2**62, 2**63 - 1, 3)):
        found = conditions(dialect, "c", BIGINT, low, high, count)
        for value in {low, high, (low + high) // 2, *range(low, min(low + 40, high))}:
            hits = [each for each in found if eval(_python(each), {"c": value})]
            assert len(hits) == 1, (value, found)
    assert conditions(dialect, "c", BIGINT, None, None, 4) == ["1 = 1"]
    assert conditions(dialect, "c", BIGINT, 3, 3, 4) == ["1 = 1"]
    days = conditions(dialect, "c", DataType("date"), dt.date(9999, 12, 1), dt.date(9999, 12, 31), 3)
    assert days[-1] == '"c" >= 9999-12-21'
    moments = conditions(dialect, "c", TIMESTAMPTZ, dt.datetime(2026, 1, 1), dt.datetime(2026, 1, 3), 2)  # noqa: DTZ001
    assert moments == ['("c" < 2026-01-02 00:00:00 OR "c" IS NULL)', '"c" >= 2026-01-02 00:00:00']


def _python(condition: str) -> str:
    return condition.replace('"', "").replace("IS NULL", "is None").replace("AND", "and").replace("OR", "or")
