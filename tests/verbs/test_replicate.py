"""Many tables at once: what is proposed, what is asked, what lands, and what the failure of one leaves of the rest."""

from __future__ import annotations

import decimal
import json
from typing import TYPE_CHECKING, Any

import duckdb
import psycopg
import pytest

from ematix_nb import (
    DuckDBConnection,
    ObjectStoreLocalConnection,
    PostgresConnection,
    SQLiteConnection,
    ematix,
    register_connection,
)
from ematix_nb.declare import registry
from ematix_nb.errors import EXIT_FAILED, EXIT_OK, EXIT_PARTIAL, FlowError, UsageError
from ematix_nb.verbs import grammar

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SOURCE = """
CREATE SCHEMA raw;
CREATE TABLE raw.orders (id BIGINT PRIMARY KEY, amount DECIMAL(10, 2), updated_at TIMESTAMP NOT NULL);
CREATE TABLE raw.maybe (id BIGINT PRIMARY KEY, updated_at TIMESTAMP);
CREATE TABLE raw.log (message VARCHAR);
CREATE TABLE raw."Odd.Name""s" (k INTEGER PRIMARY KEY, "select" VARCHAR);
CREATE TABLE raw.tags (a INTEGER NOT NULL, b INTEGER NOT NULL, UNIQUE (a, b));
CREATE TABLE other (id BIGINT);
CREATE VIEW raw.seen AS SELECT 1 AS one;
INSERT INTO raw.orders VALUES (1, 1.50, '2026-01-01'), (2, 2.50, '2026-01-02');
INSERT INTO raw.log VALUES ('x'), ('x');
INSERT INTO raw."Odd.Name""s" VALUES (1, 'a');
INSERT INTO raw.tags VALUES (1, 1), (1, 2);
"""


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with registry.scratch():
        with duckdb.connect(str(tmp_path / "src.duckdb")) as source:
            source.execute(SOURCE)
        register_connection(DuckDBConnection(name="src", path=str(tmp_path / "src.duckdb")))
        register_connection(DuckDBConnection(name="wh", path=str(tmp_path / "wh.duckdb")))
        register_connection(SQLiteConnection(name="small", path=str(tmp_path / "small.db")))
        register_connection(ObjectStoreLocalConnection(name="lake", path=str(tmp_path / "lake"), format="parquet"))
        yield tmp_path


def query(folder: Path, sql: str, name: str = "wh") -> list[tuple[Any, ...]]:
    with duckdb.connect(str(folder / f"{name}.duckdb"), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def test_what_is_proposed(folder: Path) -> None:
    found = ematix.replicate("src:raw.*", to="wh:copy.{table}", preview_only=True)
    assert {copy.source: (copy.mode, copy.keys, copy.watermark) for copy in found.copies} == {
        "raw.orders": ("merge", ("id",), "updated_at"),
        "raw.maybe": ("merge", ("id",), ""),
        "raw.log": ("truncate", (), ""),
        'raw."Odd.Name""s"': ("merge", ("k",), ""),
        "raw.tags": ("merge", ("a", "b"), ""),
    }
    assert found.exit_code == EXIT_OK
    text = found.to_text()
    assert "5 tables would be copied; nothing was written" in text
    assert "1 view left out (raw.seen)" in text
    assert "updated_at may be NULL, so all rows are read" in text
    assert not (folder / "wh.duckdb").exists()
    assert json.loads(json.dumps(found.to_dict()))["tables"][0]["plan"]["route"]


def test_rows_land_and_later_changes_follow(folder: Path) -> None:
    first = ematix.replicate("src:raw.*", to="wh:copy.{schema}_{table}")
    assert [copy.state for copy in first.copies] == ["success"] * 5
    assert query(folder, "SELECT id, amount FROM copy.raw_orders ORDER BY 1") == query(
        folder, "SELECT id, amount FROM raw.orders ORDER BY 1", "src"
    )
    with duckdb.connect(str(folder / "src.duckdb")) as source:
        source.execute("UPDATE raw.orders SET amount = 9, updated_at = '2026-01-03' WHERE id = 1")
        source.execute("DELETE FROM raw.log WHERE rowid = 0")
    second = {copy.source: copy.result for copy in ematix.replicate("src:raw.*", to="wh:copy.{schema}_{table}").copies}
    assert second["raw.orders"] is not None
    assert second["raw.orders"].counts["rows_updated"] == 1
    assert query(folder, "SELECT count(*) FROM copy.raw_log") == [(1,)]
    names = query(folder, "SELECT count(*) FROM ematix_flow.run_history WHERE status = 'success'")
    assert names == [(10,)]


def test_changed_columns_are_met_by_the_policy(folder: Path) -> None:
    order = {"to": "wh:copy.{table}", "include": "orders"}
    ematix.replicate("src:raw.*", **order)
    with duckdb.connect(str(folder / "src.duckdb")) as source:
        source.execute("ALTER TABLE raw.orders ADD COLUMN note VARCHAR")
        source.execute("INSERT INTO raw.orders VALUES (3, 3, '2026-01-03', 'new'), (4, 4, '2026-01-04', NULL)")
    frozen = ematix.replicate("src:raw.*", on_drift="freeze", preview_only=True, **order)
    assert "column `note` (text) is missing in the target" in str(frozen.copies[0].error)
    shown = ematix.replicate("src:raw.*", on_drift="quarantine", preview_only=True, **order)
    assert "rows go to copy.orders__quarantine when `note` is not in the target" in shown.copies[0].changes()
    done = ematix.replicate("src:raw.*", on_drift="quarantine", **order).copies[0].result
    assert done is not None
    assert (done.counts["rows_inserted"], done.counts["rows_quarantined"]) == (1, 1)
    assert query(folder, "SELECT id FROM copy.orders ORDER BY 1") == [(1,), (2,), (4,)]
    (row,) = query(folder, "SELECT source_row FROM copy.orders__quarantine")
    assert json.loads(row[0]) == {"id": 3, "amount": "3.00", "updated_at": "2026-01-03 00:00:00.000000", "note": "new"}


def test_odd_names_keep_their_names(folder: Path) -> None:
    ematix.replicate('src:raw."Odd*', to="wh:copy.{table}")
    assert query(folder, 'SELECT "select" FROM copy."Odd.Name""s"') == [("a",)]


@pytest.mark.parametrize(("to", "parallel"), [("lake:raw/{table}", 4), ("small:{schema}_{table}", 4)])
def test_into_files_and_sqlite_in_parallel(folder: Path, to: str, parallel: int) -> None:
    result = ematix.replicate("src:raw.*", to=to, parallel=parallel, exclude="Odd*")
    assert [copy.error for copy in result.copies] == [None] * 4
    again = ematix.replicate("src:raw.*", to=to, parallel=parallel, exclude="Odd*")
    assert again.exit_code == EXIT_OK


def test_folders_come_back_as_tables(folder: Path) -> None:
    there = ematix.replicate("src:raw.*", to="lake:raw/{table}", include=("orders", "log"))
    assert [copy.error for copy in there.copies] == [None, None]
    back = ematix.replicate("lake:raw/*", to="wh:back.{table}")
    assert sorted(copy.target for copy in back.copies) == ["wh:back.log", "wh:back.orders"]
    assert [copy.error for copy in back.copies] == [None, None]
    assert query(folder, "SELECT sum(amount) FROM back.orders") == [(decimal.Decimal("4.00"),)]


def test_only_the_tables(folder: Path) -> None:
    result = ematix.replicate("src:raw.*", to="wh:copy.{table}", schema_only=True)
    assert result.exit_code == EXIT_OK
    assert query(folder, "SELECT count(*) FROM copy.orders") == [(0,)]
    assert query(folder, "SELECT column_name FROM duckdb_columns() WHERE table_name = 'log'")[0] == ("message",)
    ematix.replicate("src:raw.*", to="wh:copy.{table}")
    assert query(folder, "SELECT count(*) FROM copy.orders") == [(2,)]


def test_one_refused_table_does_not_stop_the_others(folder: Path) -> None:
    with duckdb.connect(str(folder / "wh.duckdb")) as target:
        target.execute("CREATE SCHEMA copy; CREATE TABLE copy.tags (a INTEGER, b INTEGER, c INTEGER NOT NULL)")
    found = ematix.replicate("src:raw.*", to="wh:copy.{table}")
    states = {copy.source: copy.state for copy in found.copies}
    assert states["raw.tags"] == "failed"
    assert [state for source, state in states.items() if source != "raw.tags"] == ["success"] * 4
    assert found.exit_code == EXIT_PARTIAL
    assert "4 of 5 tables copied" in found.to_text()
    planned = ematix.replicate("src:raw.*", to="wh:copy.{table}", preview_only=True)
    assert (planned.exit_code, "refused: " in planned.to_text()) == (EXIT_PARTIAL, True)


def line(text: str, *, answer: bool | None = None) -> Any:
    parsed = grammar.parse(text.split())
    confirm = None if answer is None else (lambda _: answer)
    return grammar.invoke(parsed, registry_ready=True, confirm=confirm)


def test_rows_of_somebody_else_are_replaced_with_consent_only(folder: Path) -> None:
    with duckdb.connect(str(folder / "wh.duckdb")) as target:
        target.execute("CREATE SCHEMA copy; CREATE TABLE copy.log AS SELECT 'mine' AS message")
    text = "replicate src:raw.* --to wh:copy.{table}"
    with pytest.raises(UsageError, match=r"All rows of wh:copy\.log are replaced\. Nobody can be asked here"):
        line(text)
    with pytest.raises(UsageError, match="the answer was no"):
        line(text, answer=False)
    assert query(folder, "SELECT message FROM copy.log") == [("mine",)]
    assert line(text, answer=True).exit_code == EXIT_OK
    assert line(text).exit_code == EXIT_OK
    assert query(folder, "SELECT message FROM copy.log") == [("x",), ("x",)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("replicate", "SOURCE is missing"),
        ("replicate src:raw.*", "no target is named"),
        ("replicate src:nope.* --to wh:{table}", r"no table of `src` fits `nope\.\*`.*raw\.orders"),
        ("replicate src:raw.* --to wh:one", "would both land in wh:one"),
        ("replicate src:raw.* --to wh:{nope}", r"cannot be filled in.*\{schema\} and \{table\}"),
        ("replicate src:raw.* --to wh:{table", "cannot be filled in"),
        ("replicate src:raw.seen --to wh:{table}", "only views fit"),
        ("replicate src:raw.* --to wh:{table} --mode upsert", "upsert"),
        ("replicate src:raw.* --to wh:{table} --parallel 0", "parallel"),
        ("replicate nowhere:raw.* --to wh:{table}", "nowhere"),
        ("replicate raw.* --to wh:{table}", "names no connection"),
    ],
)
def test_wrong_lines(folder: Path, text: str, message: str) -> None:
    with pytest.raises(FlowError, match=f"(?s){message}"):
        line(text)
    assert not (folder / "wh.duckdb").exists()


def test_views_on_request(folder: Path) -> None:
    assert line("replicate src:raw.seen --to wh:v.{table} --views").exit_code == EXIT_OK
    assert query(folder, "SELECT one FROM v.seen") == [(1,)]


def test_all_fail(folder: Path) -> None:
    found = ematix.replicate("src:raw.log", to="wh:copy.{table}", mode="merge")
    assert found.exit_code == EXIT_FAILED
    assert "keys" in found.to_text()


@pytest.mark.integration
def test_from_postgres_in_parallel(folder: Path, pg_url: str) -> None:
    register_connection(PostgresConnection(name="pg", url=pg_url))
    with psycopg.connect(pg_url, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA shop")
        for number in range(6):
            connection.execute(
                f"CREATE TABLE shop.t{number} AS SELECT g AS id, md5(g::text) AS h FROM generate_series(1, 100) g"
            )
            connection.execute(f"ALTER TABLE shop.t{number} ADD PRIMARY KEY (id)")
    found = ematix.replicate("pg:shop.*", to="pg:copy.{table}", parallel=4)
    assert [copy.state for copy in found.copies] == ["success"] * 6
    assert [copy.result.counts["rows_inserted"] for copy in found.copies if copy.result] == [100] * 6
    assert ematix.replicate("pg:shop.*", to="lake:shop/{table}", parallel=4).exit_code == EXIT_OK
