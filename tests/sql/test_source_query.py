"""The wrapped source query, run on every engine."""

from __future__ import annotations

import sqlite3
from typing import Any

import pytest

from ematix_nb.backends.duckdb.dialect import DuckDBDialect
from ematix_nb.backends.mysql.dialect import MySQLDialect
from ematix_nb.backends.postgres.dialect import PostgresDialect
from ematix_nb.backends.registry import open_session
from ematix_nb.backends.sqlite.dialect import SQLiteDialect
from ematix_nb.connections.kinds import DuckDBConnection
from ematix_nb.declare import normalizers as n
from ematix_nb.declare.data_types import BIGINT, TEXT
from ematix_nb.declare.spec import Column, PreTransform
from ematix_nb.errors import SqlError
from ematix_nb.query.dialect import DataFusionDialect
from ematix_nb.sql import sqlite_functions
from ematix_nb.sql.source_query import build_source_query
from tests.support.mariadb import arguments

DIALECTS = {
    "postgres": PostgresDialect(),
    "mariadb": MySQLDialect(),
    "duckdb": DuckDBDialect(),
    "sqlite": SQLiteDialect(),
    "datafusion": DataFusionDialect(),
}
SOURCE = """
SELECT 1 AS id, ' A ' AS "Na me", 10 AS seq UNION ALL
SELECT 1, ' B ', 30 UNION ALL
SELECT 1, ' D ', NULL UNION ALL
SELECT 2, ' C ', 20 -- the end"""
AVAILABLE = {"id": BIGINT, "Na me": TEXT, "seq": BIGINT}
NAME = Column("name", TEXT, normalizers=(n.trim(), n.lower()))
ID = Column("id", BIGINT)


def run(engine: str, sql: str, request: pytest.FixtureRequest) -> list[tuple[Any, ...]]:
    if engine == "postgres":
        import psycopg

        with psycopg.connect(request.getfixturevalue("pg_url")) as server:
            return sorted(server.execute(sql.encode()).fetchall())
    if engine == "duckdb":
        session = open_session(DuckDBConnection(name="embedded", path=":memory:"))
        try:
            return sorted(session.fetch(sql))
        finally:
            session.close()
    if engine == "sqlite":
        file = sqlite3.connect(":memory:")
        sqlite_functions.register(file)
        rows = sorted(file.execute(sql).fetchall())
        file.close()
        return rows
    if engine == "mariadb":
        import pymysql

        with pymysql.connect(**arguments(request.getfixturevalue("mysql_url"))) as server, server.cursor() as cursor:
            cursor.execute(sql)
            return sorted(cursor.fetchall())
    import datafusion

    batches = datafusion.SessionContext().sql(sql).collect()
    return sorted(tuple(row.values()) for batch in batches for row in batch.to_pylist())


def build(engine: str, columns: tuple[Column, ...] | None, *steps: PreTransform, **more: Any) -> str:
    dialect = DIALECTS[engine]
    source = SOURCE.replace('"Na me"', dialect.quote("Na me"))
    return build_source_query(dialect, source, columns=columns, transforms_pre=steps, available=AVAILABLE, **more)


@pytest.mark.parametrize("engine", DIALECTS)
def test_steps_on_every_engine(engine: str, request: pytest.FixtureRequest) -> None:
    renamed = {"column_map": (("name", "Na me"),)}
    newest = n.deduplicate_by("id", order_by="seq desc")
    assert run(engine, build(engine, (ID, NAME), newest, **renamed), request) == [(1, "b"), (2, "c")]
    oldest = n.deduplicate_by(keys=("id",), order_by="seq")
    assert run(engine, build(engine, (NAME,), oldest, **renamed), request) == [("a",), ("c",)]
    kept = n.filter_where("name <> 'c' AND seq > 1 -- only these")
    assert run(engine, build(engine, (ID, NAME), kept, **renamed), request) == [(1, "a"), (1, "b")]
    assert len(run(engine, build(engine, None, n.limit(2)), request)) == 2
    assert len(run(engine, build(engine, None, n.sample_pct(1)), request)) == 4
    assert run(engine, build(engine, None, n.deduplicate_by("Na me"), n.filter_where("seq = 20")), request) == [
        (2, " C ", 20)
    ]


def test_nothing_to_do_leaves_the_query_alone() -> None:
    assert build("duckdb", None) == SOURCE


def test_a_value_can_be_made() -> None:
    made = (
        Column("twice", BIGINT, normalizers=(n.derive("seq * 2"),)),
        Column("kind", TEXT, normalizers=(n.default("x"),)),
    )
    sql = build("duckdb", (*made, Column("not_there", TEXT)))
    assert '(seq * 2\n) AS "twice", COALESCE(NULL, \'x\') AS "kind"' in sql
    assert "not_there" not in sql


def test_unknown_columns() -> None:
    with pytest.raises(SqlError, match="column_map names `nme`"):
        build("duckdb", None, column_map=(("name", "nme"),))
    with pytest.raises(SqlError, match="two columns the name `id`"):
        build("duckdb", None, column_map=(("id", "seq"),))
    with pytest.raises(SqlError, match="deduplicate_by names `idd`"):
        build("duckdb", None, n.deduplicate_by("idd"))
    with pytest.raises(SqlError, match="none of the target's columns"):
        build("duckdb", (Column("other", TEXT),))
