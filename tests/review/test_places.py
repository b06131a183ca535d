"""Where source and target meet: one database under two logins, another table, texts with NUL characters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import psycopg

from ematix_nb import DuckDBConnection, PostgresConnection, ematix, register_connection
from ematix_nb.declare import registry

if TYPE_CHECKING:
    from pathlib import Path


def _rows(url: str, sql: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(sql.encode()).fetchall()


def test_a_truncate_that_reads_its_own_table_under_another_search_path_does_not_hang(pg_url: str) -> None:
    with psycopg.connect(pg_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE public.numbers AS SELECT 1 AS n")
    register_connection(PostgresConnection(name="here", url=pg_url))
    other = pg_url + ("&" if "?" in pg_url else "?") + "options=-csearch_path%3Dpg_catalog"
    register_connection(PostgresConnection(name="there", url=other))
    with registry.scratch():

        @ematix.pipeline(target="here:public.numbers", source_connection="there", mode="truncate")
        def again(conn: object) -> str:
            return "SELECT n + 1 AS n FROM public.numbers"

        assert again.sync().status == "success"
    assert _rows(pg_url, "SELECT n FROM public.numbers") == [(2,)]


def test_a_pipeline_pointed_at_another_table_begins_anew_there(pg_url: str) -> None:
    with psycopg.connect(pg_url, autocommit=True) as connection:
        connection.execute("CREATE TABLE public.events AS SELECT n FROM generate_series(1, 5) AS n")
        connection.execute("CREATE TABLE public.second (n integer)")
    register_connection(PostgresConnection(name="here", url=pg_url))
    for table, expected in (("first", 5), ("second", 5)):
        with registry.scratch():

            @ematix.pipeline(
                name="events",
                target=f"here:public.{table}",
                source_connection="here",
                mode="append",
                watermark_column="n",
            )
            def events(conn: object) -> str:
                return "SELECT n FROM public.events"

            assert events.sync().rows_inserted == expected
    assert _rows(pg_url, "SELECT count(*) FROM public.second") == [(5,)]


def test_nul_characters_are_stripped_when_asked(pg_url: str, tmp_path: Path) -> None:
    register_connection(PostgresConnection(name="here", url=pg_url))
    register_connection(DuckDBConnection(name="duck", path=str(tmp_path / "d.duckdb")))
    import duckdb

    duckdb.connect(tmp_path / "d.duckdb").close()
    with registry.scratch():

        @ematix.pipeline(target="here:public.texts", source_connection="duck", mode="append", on_nul="strip")
        def texts(conn: object) -> str:
            return "SELECT 'a' || chr(0) || 'b' AS t"

        result = texts.sync()
    assert _rows(pg_url, "SELECT t FROM public.texts") == [("ab",)]
    assert "1 text lost" in result.to_text()
