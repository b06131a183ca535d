"""run-due over real targets: several targets, scheduled transforms, each slot once."""

from __future__ import annotations

import datetime as dt
import sqlite3
from typing import TYPE_CHECKING

import duckdb
import pytest

from ematix_nb import DuckDBConnection, SQLiteConnection, Target, ematix, register_connection
from ematix_nb.declare import registry
from ematix_nb.errors import DataError
from ematix_nb.verbs.due import run_due

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NOON = dt.datetime(2026, 11, 23, 12, 0, 20, tzinfo=dt.UTC)


@pytest.fixture(autouse=True)
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    with registry.scratch():
        register_connection(DuckDBConnection(name="duck", path=str(tmp_path / "w.duckdb")))
        duckdb.connect(tmp_path / "w.duckdb").close()
        register_connection(SQLiteConnection(name="lite", path=str(tmp_path / "w.sqlite")))
        yield


def test_each_target_of_a_slot_is_loaded_once() -> None:
    targets = [Target(table="lite:one"), Target(table="duck:main.one")]

    @ematix.pipeline(targets=targets, source_connection="duck", mode="append", schedule="*/5 * * * *")
    def both(conn: object) -> str:
        return "SELECT 1 AS n"

    first, again = run_due(now=NOON), run_due(now=NOON)
    assert [run.status for run in first.ran] == ["success"]
    assert again.ran == ()
    assert "nothing was due" in again.to_text()


def test_a_scheduled_transform_fires_once_a_slot(tmp_path: Path) -> None:
    @ematix.transform(target_connection="duck", schedule="*/5 * * * *")
    def count_up(conn: object) -> str:
        return "CREATE TABLE IF NOT EXISTS main.fired AS SELECT 1 AS n"

    assert [run.status for run in run_due(now=NOON).ran] == ["success"]
    assert run_due(now=NOON).ran == ()
    assert len(run_due(now=NOON + dt.timedelta(minutes=5)).ran) == 1
    with duckdb.connect(tmp_path / "w.duckdb") as connection:
        runs = connection.execute("SELECT count(*) FROM ematix_flow.run_history WHERE status = 'success'").fetchone()
    assert runs == (2,)


def test_a_failing_transform_leaves_its_slot_open() -> None:
    fail = [True]

    @ematix.transform(target_connection="duck", schedule="*/5 * * * *")
    def fragile(conn: object) -> str:
        if fail[0]:
            message = "not yet"
            raise DataError(message)
        return "SELECT 1"

    first = run_due(now=NOON)
    assert [run.status for run in first.ran] == ["failed"]
    assert first.exit_code == 1
    fail[0] = False
    assert [run.status for run in run_due(now=NOON).ran] == ["success"]
    assert run_due(now=NOON).ran == ()


def test_a_warehouse_made_anew_is_loaded_again(tmp_path: Path) -> None:
    @ematix.pipeline(target="duck:main.daily", source_connection="lite", mode="append", schedule="*/5 * * * *")
    def daily(conn: object) -> str:
        return "SELECT 1 AS n"

    sqlite3.connect(tmp_path / "w.sqlite").close()
    assert len(run_due(now=NOON).ran) == 1
    assert run_due(now=NOON).ran == ()
    (tmp_path / "w.duckdb").unlink()
    assert len(run_due(now=NOON).ran) == 1
