"""Sessions on SQLite files: transactions, locks, catalogue, streams."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from ematix_nb.backends.sqlite import BACKEND
from ematix_nb.backends.sqlite.dialect import DIALECT
from ematix_nb.connections.kinds import SQLiteConnection
from ematix_nb.declare.data_types import BIGINT, INTEGER, TEXT, DataType
from ematix_nb.declare.spec import Column, TableRef
from ematix_nb.errors import (
    CancelledError,
    DataError,
    SchemaDriftError,
    SqlError,
    TransientError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ematix_nb.backends.sqlite.io import SQLiteSession

ENDLESS = "WITH RECURSIVE r (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT n FROM r"
NAMES = ["select", "two words", 'quo"te', "MiXed", "größe", "a.b", "x'y", "?", "%s"]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "s p?a#ce.db")


@pytest.fixture
def session(path: str) -> Iterator[SQLiteSession]:
    opened = _open(path)
    yield opened
    opened.close()


def _open(path: str, *, read_only: bool = False, wait: int = 50) -> SQLiteSession:
    return BACKEND.open(SQLiteConnection(name="s", path=path, busy_timeout_ms=wait), read_only=read_only)


def _hash(path: str) -> str:
    with open(path, "rb") as file:  # noqa: PTH123 - a text path
        return hashlib.sha256(file.read()).hexdigest()


def test_a_second_writer_waits_and_is_then_told(path: str, session: SQLiteSession) -> None:
    session.execute("CREATE TABLE t (a INTEGER)")
    other = _open(path)
    assert other.identity == session.identity
    session.begin()
    with pytest.raises(TransientError, match=re.compile("database is locked.*another process writes", re.DOTALL)):
        other.begin()
    assert other.fetch("SELECT count(*) FROM t") == [(0,)]
    session.rollback()
    other.begin()
    other.close()


def test_a_parameter_that_cannot_be_stored_is_refused(session: SQLiteSession) -> None:
    session.execute("CREATE TABLE t (a INTEGER)")
    with pytest.raises(DataError, match="NaN cannot be stored"):
        session.execute("INSERT INTO t VALUES (?)", [float("nan")])
    with pytest.raises(DataError, match="whole numbers end"):
        session.execute("INSERT INTO t VALUES (?)", [2**63])


def test_the_catalogue(session: SQLiteSession) -> None:
    session.execute(
        "CREATE TABLE t (id INTEGER PRIMARY KEY, \"b c\" INT32 NOT NULL, d TEXT DEFAULT 'x', "
        "e INTEGER GENERATED ALWAYS AS (id + 1), UNIQUE (d, id))"
    )
    session.execute('CREATE UNIQUE INDEX i1 ON t ("b c", d)')
    session.execute("CREATE UNIQUE INDEX i2 ON t (id + 1)")
    session.execute("CREATE UNIQUE INDEX i3 ON t (d) WHERE id > 1")
    session.execute("CREATE INDEX i4 ON t (d)")
    info = session.table(TableRef(None, "T"))
    assert info is not None
    assert info.ref == TableRef(None, "t")
    assert info.primary_key == ("id",)
    assert set(info.unique_keys) == {("id",), ("d", "id"), ("b c", "d")}
    assert (info.generated, info.defaults, info.kind) == (frozenset({"e"}), frozenset({"id", "d"}), "table")
    assert [column.nullable for column in info.columns] == [False, False, True, True]
    session.execute("CREATE VIEW v AS SELECT id FROM t")
    view = session.table(TableRef(None, "v"))
    assert view is not None
    assert (view.kind, view.columns) == ("view", (Column("id", BIGINT),))
    assert session.table(TableRef(None, "nothing")) is None
    assert session.tables() == [TableRef(None, "t"), TableRef(None, "v")]


def test_a_schema_is_an_attached_database_or_a_prefix(session: SQLiteSession, tmp_path: Path) -> None:
    ref, columns = TableRef("analytics", "orders"), (Column("a", INTEGER),)
    assert DIALECT.table(ref) == '"analytics_orders"'
    session.execute(session.dialect.create_table(ref, columns))
    info = session.table(ref)
    assert info is not None
    assert info.ref == ref
    assert session.tables("analytics") == [ref]
    assert session.tables() == [TableRef(None, "analytics_orders")]
    session.execute("ATTACH ? AS analytics", [str(tmp_path / "a.db")])
    assert session.dialect.table(ref) == '"analytics"."orders"'
    assert session.table(ref) is None
    session.execute(session.dialect.create_table(ref, columns))
    session.execute(session.dialect.unique_index(ref, "i", ["a"]))
    batch = pa.RecordBatch.from_pydict({"a": pa.array([1], pa.int32())})
    assert session.write(ref, columns, [batch]) == 1
    assert session.describe(f"SELECT * FROM {session.dialect.table(ref)}") == columns
    assert session.tables("analytics") == [ref]


def test_describing_leaves_no_view_behind(session: SQLiteSession) -> None:
    session.execute("CREATE TABLE t (a INTEGER)")
    session.describe("SELECT a FROM t")
    with pytest.raises(SqlError, match="no such column: nope"):
        session.describe("SELECT nope FROM t")
    assert session.fetch("SELECT count(*) FROM temp.sqlite_master") == [(0,)]


def test_batches_arrive_one_after_the_other(session: SQLiteSession) -> None:
    rows = session.read(ENDLESS, (Column("n", BIGINT),), batch_rows=10_000)
    sizes = [next(rows).num_rows for _ in range(5)]
    assert sizes == [1024, 8192, 10_000, 10_000, 10_000]
    assert session.fetch("SELECT 1") == [(1,)]
    rows.close()  # type: ignore[attr-defined]


def test_interrupt_stops_a_write_at_the_next_batch(session: SQLiteSession) -> None:
    session.execute("CREATE TABLE t (a BIGINT)")

    def batches() -> Iterator[pa.RecordBatch]:
        for number in range(3):
            if number == 2:
                session.interrupt()
            yield pa.RecordBatch.from_pydict({"a": [number]})

    with pytest.raises(CancelledError, match="cancelled; nothing was written"):
        session.write(TableRef(None, "t"), (Column("a", BIGINT),), batches())
    assert session.fetch("SELECT count(*) FROM t") == [(0,)]


def test_a_refused_row_is_named(session: SQLiteSession) -> None:
    session.execute("CREATE TABLE t (a BIGINT UNIQUE)")
    batches = [pa.RecordBatch.from_pydict({"a": [1, 2]}), pa.RecordBatch.from_pydict({"a": [3, 2]})]
    with pytest.raises(DataError, match=r"row 4: UNIQUE constraint failed: t\.a"):
        session.write(TableRef(None, "t"), (Column("a", BIGINT),), batches)
    assert session.fetch("SELECT count(*) FROM t") == [(0,)]


def test_a_type_cannot_be_changed() -> None:
    with pytest.raises(SchemaDriftError, match="SQLite cannot change a type"):
        DIALECT.alter_type(TableRef(None, "t"), Column("a", BIGINT))


def test_row_hashes_tell_columns_apart(session: SQLiteSession) -> None:
    columns = [Column("a", TEXT), Column("b", DataType("double")), Column("c", DataType("bytes"))]
    hashed = DIALECT.row_hash(columns, "t")
    session.execute("CREATE TABLE t (a, b, c)")
    rows = [("a", 0.1, None), ("a", 0.1, b""), ("a", 0.10000000000000002, None), (None, None, None)]
    for row in rows:
        session.execute("INSERT INTO t VALUES (?, ?, ?)", row)
    hashes = [row[0] for row in session.fetch(f"SELECT {hashed} FROM t ORDER BY rowid")]
    assert len(set(hashes)) == 4
    assert hashes[3] == hashlib.sha256(b"---").digest()


def test_null_is_equal_to_null(session: SQLiteSession) -> None:
    query = f"SELECT {DIALECT.distinct('NULL', 'NULL')}, {DIALECT.distinct('NULL', '1')}"
    assert session.fetch(query) == [(0, 1)]


def test_the_engines_tables_have_a_prefix() -> None:
    assert DIALECT.table(DIALECT.state_table("watermarks")) == '"ematix_flow_watermarks"'
