"""Databases that a SQLite or DuckDB connection reads beside its own: in queries and previews, never as targets."""

from __future__ import annotations

import sqlite3
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

from ematix_nb import DuckDBConnection, SQLiteConnection, ematix, register_connection
from ematix_nb.backends.registry import open_session
from ematix_nb.declare import registry
from ematix_nb.errors import ConnectError, DeclarationError, FlowError, SqlError
from ematix_nb.verbs.preview import preview

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CODES = "CREATE TABLE codes (code varchar(3), price decimal(9,2)); INSERT INTO codes VALUES ('a', 1.25), ('b', 2.50)"
KINDS = {"duckdb": DuckDBConnection, "sqlite": SQLiteConnection}


def _fill(kind: str, path: Path, script: str) -> None:
    if kind == "duckdb":
        with duckdb.connect(str(path)) as made:
            made.execute(script)
        return
    database = sqlite3.connect(path)
    database.executescript(script)
    database.close()


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def connection(kind: str, tmp_path: Path) -> Iterator[Any]:
    _fill(kind, tmp_path / "codes.db", CODES)
    _fill(
        kind,
        tmp_path / "own.db",
        "CREATE TABLE sales (code varchar(3), n integer); INSERT INTO sales VALUES ('a', 2), ('b', 3)",
    )
    with registry.scratch():
        made = KINDS[kind](name="shop", path=str(tmp_path / "own.db"), attach=(f"ref={tmp_path / 'codes.db'}",))
        register_connection(made)
        yield made


JOINED = "SELECT s.code, n, price FROM sales AS s JOIN ref.codes AS c ON c.code = s.code"


def test_a_pipeline_reads_both(connection: Any, kind: str) -> None:
    @ematix.pipeline(name="priced", target="shop:priced", source_connection="shop", mode="merge", keys=("code",))
    def priced() -> str:
        return JOINED

    assert priced.preview().sample["price"].to_pylist() == [Decimal("1.25"), Decimal("2.50")]
    assert priced.sync().counts["rows_inserted"] == 2
    assert connection.read_df("SELECT * FROM priced ORDER BY code", "arrow")["price"].to_pylist() == [
        Decimal("1.25"),
        Decimal("2.50"),
    ]
    assert preview("shop:ref.codes").sample.num_rows == 2
    session = open_session(connection, read_only=True)
    try:
        assert "codes" not in [ref.name for ref in session.tables()]
    finally:
        session.close()


def test_it_is_never_written_to(connection: Any, tmp_path: Path) -> None:
    before = (tmp_path / "codes.db").read_bytes()

    @ematix.pipeline(name="back", target="shop:ref.codes", source_connection="shop", mode="append")
    def back() -> str:
        return "SELECT 'c' AS code, 3.00 AS price"

    with pytest.raises(DeclarationError, match="attached to be read"):
        back.sync()
    session = open_session(connection)
    try:
        with pytest.raises(FlowError, match=r"read-?only"):
            session.execute("DELETE FROM ref.codes")
    finally:
        session.close()
    assert (tmp_path / "codes.db").read_bytes() == before


def test_other_files_stay_out_of_reach(connection: Any, kind: str, tmp_path: Path) -> None:
    if kind == "duckdb":
        session = open_session(connection)
        try:
            with pytest.raises(SqlError, match="disabled"):
                session.execute(f"ATTACH '{tmp_path / 'other.db'}' AS other")
        finally:
            session.close()
    assert not (tmp_path / "other.db").exists()


@pytest.mark.parametrize("text", ["codes.db", "=codes.db", "a b=codes.db", "ref=", "main=codes.db"])
def test_what_is_not_a_name_and_a_path(kind: str, text: str) -> None:
    with pytest.raises(DeclarationError, match="attach"):
        KINDS[kind](name="shop", path="own.db", attach=(text,))


def test_a_name_stands_once(kind: str) -> None:
    with pytest.raises(DeclarationError, match="taken"):
        KINDS[kind](name="shop", path="own.db", attach=("ref=a.db", "REF=b.db"))


def test_a_missing_file_is_named(kind: str, tmp_path: Path) -> None:
    made = KINDS[kind](name="shop", path=str(tmp_path / "own.db"), attach=(f"ref={tmp_path / 'nowhere.db'}",))
    with pytest.raises(ConnectError, match=r"nowhere\.db"):
        open_session(made)
    assert not (tmp_path / "nowhere.db").exists()
