"""Sessions on DuckDB files: transactions, locks, catalogue, streams."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pytest

from ematix_nb.backends.duckdb import BACKEND
from ematix_nb.backends.duckdb.config import Settings
from ematix_nb.backends.duckdb.dialect import DIALECT
from ematix_nb.backends.duckdb.io import DuckDBSession, _switch_off
from ematix_nb.connections.kinds import DuckDBConnection
from ematix_nb.declare.data_types import BIGINT, INTEGER, TEXT, DataType
from ematix_nb.declare.spec import Column, TableRef
from ematix_nb.errors import (
    DataError,
    LockedError,
    RunError,
    SchemaDriftError,
    SqlError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOLD = """
import duckdb, sys
con = duckdb.connect(sys.argv[1])
print("ready", flush=True)
sys.stdin.readline()
"""
NAMES = ["select", "two words", 'quo"te', "MiXed", "größe", "a.b", "x'y", "?", "%s"]


@pytest.fixture
def path(tmp_path: Path) -> str:
    return str(tmp_path / "d.duckdb")


@pytest.fixture
def session(path: str) -> Iterator[DuckDBSession]:
    opened = _open(path)
    yield opened
    opened.close()


def _open(path: str, *, read_only: bool = False) -> DuckDBSession:
    return BACKEND.open(DuckDBConnection(name="d", path=path), read_only=read_only)


def _bytes(path: str) -> str:
    with open(path, "rb") as file:  # noqa: PTH123 - a text path
        return hashlib.sha256(file.read()).hexdigest()


def test_another_process_can_have_the_file_after_the_last_close(path: str) -> None:
    first, second = _open(path), _open(path)
    assert first.identity == second.identity
    first.execute("CREATE TABLE t AS SELECT 1 AS a")
    assert second.fetch("SELECT a FROM t") == [(1,)]
    first.close()
    second.close()
    code = "import duckdb, sys; print(duckdb.connect(sys.argv[1]).sql('SELECT a FROM t').fetchall())"
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)
    assert done.stdout == "[(1,)]\n"


def test_a_file_held_by_another_process_names_the_process(path: str) -> None:
    holder = subprocess.Popen([sys.executable, "-c", HOLD, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdin is not None
    assert holder.stdout is not None
    try:
        assert holder.stdout.readline() == b"ready\n"
        with pytest.raises(LockedError, match=rf"is held by process {holder.pid} \(.*\); waited 60 ms"):
            DuckDBSession(Settings("d", path, busy_timeout_ms=60))
        threading.Timer(0.3, holder.stdin.close).start()
        DuckDBSession(Settings("d", path)).close()
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()


def test_a_failed_transaction_cannot_be_committed(session: DuckDBSession) -> None:
    session.execute("CREATE TABLE t (a INTEGER NOT NULL)")
    session.begin()
    session.execute("INSERT INTO t VALUES (1)")
    with pytest.raises(DataError, match="NOT NULL"):
        session.execute("INSERT INTO t VALUES (NULL)")
    with pytest.raises(RunError, match="aborted"):
        session.commit()
    session.rollback()
    session.rollback()
    assert session.fetch("SELECT count(*) FROM t") == [(0,)]


def test_fetch_gives_times_with_a_zone_in_utc(session: DuckDBSession) -> None:
    [(moment, total, nothing)] = session.fetch("SELECT TIMESTAMPTZ '2024-01-01 02:00:00+02', sum(1), NULL")
    assert moment.isoformat() == "2024-01-01T00:00:00+00:00"
    assert (total, type(total), nothing) == (1, int, None)


def test_the_first_row_of_a_group_is_never_one_without_a_value(session: DuckDBSession) -> None:
    names = [f"SELECT 1 AS id, 'n{number}' AS name, NULL AS seq" for number in range(12)]
    rows = " UNION ALL ".join([*names, "SELECT 1, 'a', 10"])
    numbered = f"SELECT *, row_number() OVER (PARTITION BY id ORDER BY seq NULLS LAST) AS place FROM ({rows})"
    found = [session.fetch(f"SELECT name FROM ({numbered}) WHERE place = 1") for _ in range(20)]
    assert found == [[("a",)]] * 20


def test_optimizers_that_somebody_switched_off_stay_off(tmp_path: Path) -> None:
    path = str(tmp_path / "d.duckdb")
    connection = duckdb.connect(path)
    connection.execute("SET GLOBAL disabled_optimizers = 'column_lifetime'")
    _switch_off(connection, "top_n_window_elimination")
    _switch_off(connection, "no_such_optimizer")
    found = connection.execute("SELECT current_setting('disabled_optimizers')").fetchall()[0][0]
    assert set(found.split(",")) == {"column_lifetime", "top_n_window_elimination"}


def test_the_catalogue(session: DuckDBSession) -> None:
    session.execute("CREATE SEQUENCE q")
    session.execute(
        "CREATE TABLE t (id BIGINT DEFAULT nextval('q'), \"b c\" INTEGER NOT NULL, d VARCHAR DEFAULT 'x', "
        "e INTEGER GENERATED ALWAYS AS (id + 1), PRIMARY KEY (id), UNIQUE (d, id))"
    )
    session.execute('CREATE UNIQUE INDEX i1 ON t ("b c", d)')
    session.execute("CREATE UNIQUE INDEX i2 ON t ((id + 1))")
    session.execute("CREATE INDEX i3 ON t (d)")
    info = session.table(TableRef("main", "T"))
    assert info is not None
    assert info.ref == TableRef("main", "t")
    assert info.primary_key == ("id",)
    assert info.unique_keys == (("id",), ("d", "id"), ("b c", "d"))
    assert (info.generated, info.defaults, info.kind) == (frozenset({"e"}), frozenset({"id", "d"}), "table")
    assert [(column.name, column.nullable) for column in info.columns] == [
        ("id", False),
        ("b c", False),
        ("d", True),
        ("e", True),
    ]
    session.execute("CREATE VIEW v AS SELECT id FROM t")
    view = session.table(TableRef(None, "v"))
    assert view is not None
    assert (view.kind, view.columns) == ("view", (Column("id", BIGINT),))
    assert session.table(TableRef(None, "nothing")) is None
    assert session.tables() == [TableRef("main", "t"), TableRef("main", "v")]


def test_temporary_tables_are_seen_by_their_session_only(session: DuckDBSession, path: str) -> None:
    ref, columns = TableRef(None, "s"), (Column("a", INTEGER),)
    session.execute(DIALECT.create_table(ref, columns, temporary=True))
    session.write(ref, columns, [pa.RecordBatch.from_pydict({"a": pa.array([1], pa.int32())})])
    info = session.table(ref)
    assert info is not None
    assert info.columns == columns
    assert [batch.num_rows for batch in session.read("SELECT * FROM s", columns)] == [1]
    other = _open(path)
    assert other.table(ref) is None
    other.close()


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT * FROM read_csv('/etc/passwd')", "Cannot access file"),
        ("SELECT * FROM '/etc/passwd'", "/etc/passwd"),
        ("SELECT * FROM session", "session does not exist"),
    ],
)
def test_a_query_reads_no_file_and_no_variable_of_python(session: DuckDBSession, query: str, message: str) -> None:
    with pytest.raises(SqlError, match=message):
        session.describe(query)


def test_batches_arrive_one_after_the_other(session: DuckDBSession) -> None:
    query = "SELECT range AS a, repeat('x', 100) AS b FROM range(50000000)"
    rows = session.read(query, session.describe(query), batch_rows=10_000)
    pa_before = pa.total_allocated_bytes()
    first = next(rows)
    assert first.num_rows == 10_000
    assert session.fetch("SELECT 1") == [(1,)]
    assert pa.total_allocated_bytes() - pa_before < 100 << 20
    rows.close()  # type: ignore[attr-defined]


def test_a_stream_inside_a_transaction_sees_it(session: DuckDBSession) -> None:
    session.begin()
    session.execute("CREATE TABLE t AS SELECT range AS a FROM range(100000)")
    rows = session.read("SELECT * FROM t", (Column("a", BIGINT),), batch_rows=1000)
    next(rows)
    session.rollback()
    assert session.tables() == []


def test_a_batch_of_another_type_is_told(session: DuckDBSession) -> None:
    session.execute("CREATE TABLE t (a INTEGER)")
    columns = (Column("a", DataType("bigint")),)
    with pytest.raises(DataError, match="arrived as string, expected int64"):
        session.write(TableRef(None, "t"), columns, [pa.RecordBatch.from_pydict({"a": ["x"]})])


def test_a_type_change_below_an_index_is_explained(session: DuckDBSession) -> None:
    session.execute("CREATE TABLE t (a INTEGER, b INTEGER)")
    session.execute(DIALECT.unique_index(TableRef(None, "t"), "i", ["a"]))
    with pytest.raises(SchemaDriftError, match="drop the indexes"):
        session.execute(DIALECT.alter_type(TableRef(None, "t"), Column("b", BIGINT)))


def test_row_hashes_tell_columns_apart(session: DuckDBSession) -> None:
    columns = [Column("a", TEXT), Column("b", TEXT), Column("c", DataType("bytes"))]
    hashed = DIALECT.row_hash(columns, "t")
    rows = session.fetch(
        f"SELECT {hashed} FROM (VALUES ('a', 'bc', NULL::BLOB), ('ab', 'c', NULL), ('ab', 'c', ''::BLOB)) "
        "AS t (a, b, c)"
    )
    assert len({row[0] for row in rows}) == 3
    assert rows[0][0] == hashlib.sha256(b"1:a2:bc-").digest()


def test_intervals_of_equal_length_are_told_apart(session: DuckDBSession) -> None:
    kind = DataType("interval")
    left, right = (DIALECT.comparable(f"INTERVAL '{text}'", kind) for text in ("1 month", "30 days"))
    assert session.fetch(f"SELECT {DIALECT.distinct(left, right)}") == [(True,)]
