"""Sessions on DuckDB files: transactions, locks, catalogue, streams."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from ematix_nb.backends.duckdb import BACKEND
from ematix_nb.backends.duckdb.config import Settings
from ematix_nb.backends.duckdb.dialect import DIALECT
from ematix_nb.backends.duckdb.io import DuckDBSession
from ematix_nb.connections.kinds import DuckDBConnection
from ematix_nb.declare.data_types import BIGINT, INTEGER, TEXT, DataType
from ematix_nb.declare.spec import Column, TableRef
from ematix_nb.errors import (
    CancelledError,
    ConnectError,
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


def test_importing_the_backend_imports_no_driver() -> None:
    code = "import sys, ematix_nb.backends.duckdb; print('duckdb' in sys.modules, 'pyarrow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == (
        "False False\n"
    )


def test_the_file_is_the_same_after_a_rollback_and_close(path: str) -> None:
    session = _open(path)
    session.execute("CREATE TABLE t (a INTEGER PRIMARY KEY)")
    session.execute("INSERT INTO t SELECT range FROM range(1000)")
    session.close()
    before = _bytes(path)
    session = _open(path)
    session.begin()
    session.execute(DIALECT.create_schema("s"))
    session.execute(DIALECT.create_table(TableRef("s", "u"), (Column("a", INTEGER),)))
    session.execute(DIALECT.add_column(TableRef(None, "t"), Column("b", TEXT)))
    columns = (Column("a", INTEGER), Column("b", TEXT))
    batch = pa.RecordBatch.from_pydict({"a": pa.array([5000], pa.int32()), "b": ["x"]})
    assert session.write(TableRef(None, "t"), columns, [batch]) == 1
    assert session.table(TableRef("s", "u")) is not None
    session.rollback()
    assert session.table(TableRef("s", "u")) is None
    assert session.fetch("SELECT count(*) FROM t") == [(1000,)]
    session.close()
    session.close()
    assert _bytes(path) == before


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


@pytest.mark.parametrize(
    ("name", "message"),
    [("no/such/x.duckdb", "folder of `.*` does not exist"), ("garbage", "is not a DuckDB database")],
)
def test_a_file_that_cannot_be_opened(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "garbage").write_text("hello" * 1000)
    with pytest.raises(ConnectError, match=message):
        _open(str(tmp_path / name))


def test_a_missing_file_is_not_made_by_a_reader(tmp_path: Path) -> None:
    with pytest.raises(ConnectError, match="does not exist"):
        _open(str(tmp_path / "none.duckdb"), read_only=True)
    assert list(tmp_path.iterdir()) == []


def test_read_only_sessions_share_a_writers_file_and_cannot_write(path: str, session: DuckDBSession) -> None:
    session.execute("CREATE TABLE t (a INTEGER)")
    reader = _open(path, read_only=True)
    reader.begin()
    reader.execute("CREATE TEMP TABLE s AS SELECT 1 AS a")
    with pytest.raises(RunError, match="read-only"):
        reader.execute("INSERT INTO t VALUES (1)")
    reader.close()


def test_memory_databases_are_apart() -> None:
    first, second = _open(":memory:"), _open(":memory:")
    assert first.identity != second.identity
    first.execute("CREATE TABLE t (a INTEGER)")
    assert second.tables() == []
    first.close()
    second.close()


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


def test_execute_counts_rows(session: DuckDBSession) -> None:
    assert session.execute("CREATE TABLE t (a INTEGER)") == -1
    assert session.execute("INSERT INTO t VALUES (?), (?)", [1, 2]) == 2
    assert session.execute("UPDATE t SET a = a + 1") == 2
    assert session.execute("DELETE FROM t WHERE a = 2") == 1


def test_fetch_gives_times_with_a_zone_in_utc(session: DuckDBSession) -> None:
    [(moment, total, nothing)] = session.fetch("SELECT TIMESTAMPTZ '2024-01-01 02:00:00+02', sum(1), NULL")
    assert moment.isoformat() == "2024-01-01T00:00:00+00:00"
    assert (total, type(total), nothing) == (1, int, None)


def test_text_with_parameter_characters_is_untouched(session: DuckDBSession) -> None:
    text = "50% ? $1 :x %s"
    query = f"SELECT '{text}' AS a -- trailing ?"
    assert session.fetch(query) == [(text,)]
    [batch] = session.read(query, session.describe(query))
    assert batch.to_pylist() == [{"a": text}]


@pytest.mark.parametrize("name", NAMES)
def test_odd_names(session: DuckDBSession, name: str) -> None:
    ref = TableRef(name, name)
    columns = (Column(name, INTEGER),)
    session.execute(DIALECT.create_schema(name))
    session.execute(DIALECT.create_table(ref, columns, [name]))
    session.write(ref, columns, [pa.RecordBatch.from_arrays([pa.array([7], pa.int32())], names=[name])])
    info = session.table(ref)
    assert info is not None
    assert (info.ref, info.primary_key, [column.name for column in info.columns]) == (ref, (name,), [name])
    query = f"SELECT * FROM {DIALECT.table(ref)}"
    assert [batch.to_pylist() for batch in session.read(query, session.describe(query))] == [[{name: 7}]]
    assert session.tables(name) == [ref]


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
        ("SELECT\n  nope FROM range(1)", r"nope.*line 2, column 3"),
        ("SELEC 1", r"syntax error.*line 1"),
        ("SELECT * FROM missing", r"missing does not exist"),
        ("INSERT INTO t VALUES (1)", "syntax error"),
        ("SELECT 1; DROP TABLE t", "syntax error"),
        ("SELECT 1 AS a, 2 AS b, 3 AS a", "two columns named `a`"),
        ("SELECT ? AS a", "has a parameter"),
        ("SELECT * FROM read_csv('/etc/passwd')", "Cannot access file"),
        ("SELECT * FROM '/etc/passwd'", "/etc/passwd"),
        ("SELECT * FROM session", "session does not exist"),
    ],
)
def test_a_query_that_cannot_be_read(session: DuckDBSession, query: str, message: str) -> None:
    session.execute("CREATE TABLE t (a INTEGER)")
    with pytest.raises(SqlError, match=re.compile(message, re.DOTALL)):
        session.describe(query)
    assert session.fetch("SELECT count(*) FROM t") == [(0,)]


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


def test_interrupt_stops_a_statement(session: DuckDBSession) -> None:
    query = "SELECT count(*) AS n FROM range(100000000000) AS t WHERE range % 7 = 3"
    for run in (lambda: session.fetch(query), lambda: list(session.read(query, (Column("n", BIGINT),)))):
        threading.Timer(0.2, session.interrupt).start()
        start = time.monotonic()
        with pytest.raises(CancelledError, match="cancelled; nothing was written"):
            run()
        assert time.monotonic() - start < 2
    assert session.fetch("SELECT 1") == [(1,)]


def test_an_error_of_the_batches_passes_through_and_nothing_is_written(session: DuckDBSession) -> None:
    session.execute("CREATE TABLE t (a INTEGER)")
    columns = (Column("a", INTEGER),)

    def batches() -> Iterator[pa.RecordBatch]:
        for _ in range(6):
            yield pa.RecordBatch.from_pydict({"a": pa.array(range(65_536), pa.int32())})
        raise LookupError("made up")

    with pytest.raises(LookupError, match="made up"):
        session.write(TableRef(None, "t"), columns, batches())
    assert session.fetch("SELECT count(*) FROM t") == [(0,)]
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
