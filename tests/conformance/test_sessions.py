"""The contract of a session, in every SQL system: transactions, names, wrong queries, interrupts, refused files."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from ematix_nb.declare.data_types import BIGINT, INTEGER, TEXT
from ematix_nb.declare.spec import Column, TableRef
from ematix_nb.errors import CancelledError, ConnectError, DataError, RunError, SqlError
from tests.conformance.matrix import url_of
from tests.conformance.sessions import DRIVERS, EMBEDDED, ENDLESS, SQL, Place, embedded

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TableRef(None, "t")
NAMES = ["select", "two words", 'quo"te', "MiXed", "größe", "a.b", "x'y", "?", "%s"]


@pytest.fixture
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty database of the system that the parameter names."""
    if (url := url_of(request.param, request)) is not None:
        return Place(request.param, url)
    return embedded(request.param, tmp_path)


@pytest.fixture
def session(place: Place) -> Iterator[Any]:
    """A session on it."""
    opened = place.open()
    yield opened
    opened.close()


every = pytest.mark.parametrize("place", SQL, indirect=True)
files = pytest.mark.parametrize("place", EMBEDDED, indirect=True)


@pytest.mark.parametrize("system", SQL)
def test_importing_the_backend_imports_no_driver(system: str) -> None:
    wanted = [DRIVERS[system], "pyarrow"]
    code = f"import sys, ematix_nb.backends.{system}; print([name for name in {wanted!r} if name in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@files
def test_the_file_is_the_same_after_a_rollback_and_close(place: Place) -> None:
    session = place.open()
    session.execute("CREATE TABLE t (a BIGINT PRIMARY KEY)")
    session.execute(f"INSERT INTO t SELECT n FROM ({ENDLESS[place.system]} LIMIT 1000) AS r")
    session.close()
    before = _hash(place)
    session = place.open()
    dialect = session.dialect
    session.begin()
    if schema := dialect.create_schema("s"):
        session.execute(schema)
    new, columns = TableRef("s", "u"), (Column("a", BIGINT), Column("b", TEXT))
    session.execute(dialect.create_table(new, (Column("a", INTEGER),)))
    session.execute(dialect.add_column(T, columns[1]))
    assert session.write(T, columns, [pa.RecordBatch.from_pydict({"a": [5000], "b": ["x"]})]) == 1
    assert session.table(new) is not None
    assert session.describe("SELECT * FROM t") == columns
    session.rollback()
    session.rollback()
    assert session.table(new) is None
    assert session.fetch("SELECT count(*) FROM t") == [(1000,)]
    session.begin()
    session.close()
    session.close()
    assert _hash(place) == before


def _hash(place: Place) -> str:
    return hashlib.sha256(Path(place.at).read_bytes()).hexdigest()


@files
@pytest.mark.parametrize(
    ("name", "message"), [("no/such/x.db", "folder of `.*` does not exist"), ("garbage", "is not a (DuckDB )?database")]
)
def test_a_file_that_cannot_be_opened(place: Place, tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "garbage").write_text("hello" * 1000)
    with pytest.raises(ConnectError, match=message):
        embedded(place.system, tmp_path, name).open()


@files
def test_a_missing_file_is_not_made_by_a_reader(place: Place, tmp_path: Path) -> None:
    with pytest.raises(ConnectError, match="does not exist"):
        place.open(read_only=True)
    assert list(tmp_path.iterdir()) == []


@files
def test_a_reader_may_make_temporary_tables_but_not_write(place: Place, session: Any) -> None:
    session.execute(session.dialect.create_table(T, (Column("a", INTEGER),)))
    reader = place.open(read_only=True)
    assert reader.describe("SELECT a FROM t") == (Column("a", INTEGER),)
    reader.begin(read_only=True)
    reader.execute("CREATE TEMP TABLE s (a INTEGER)")
    with pytest.raises(RunError, match=r"read-?only"):
        reader.execute("INSERT INTO t VALUES (1)")
    reader.close()


@files
def test_memory_databases_are_apart(place: Place) -> None:
    first, second = (Place(place.system, ":memory:").open() for _ in range(2))
    assert first.identity != second.identity
    first.execute("CREATE TABLE t (a INTEGER)")
    assert second.tables() == []
    first.close()
    second.close()


@every
def test_execute_counts_rows(session: Any) -> None:
    places = ", ".join(f"({session.dialect.parameter(number)})" for number in (1, 2))
    assert session.execute("CREATE TABLE t (a INTEGER)") == -1
    assert session.execute(f"INSERT INTO t VALUES {places}", [1, 2]) == 2
    assert session.execute("UPDATE t SET a = a + 1") == 2
    assert session.execute("DELETE FROM t WHERE a = 2") == 1


@every
def test_text_with_parameter_characters_is_untouched(session: Any) -> None:
    text = "50% ? $1 :x %s"
    query = f"SELECT '{text}' AS a -- trailing ?"
    assert session.fetch(query) == [(text,)]
    [batch] = session.read(query, session.describe(query))
    assert batch.to_pylist() == [{"a": text}]


@every
@pytest.mark.parametrize("name", NAMES)
def test_odd_names(session: Any, name: str) -> None:
    dialect, columns = session.dialect, (Column(name, INTEGER),)
    schema = dialect.create_schema(name)
    ref = TableRef(name if schema else None, name)
    if schema:
        session.execute(schema)
    session.execute(dialect.create_table(ref, columns, [name]))
    session.execute(dialect.unique_index(ref, name + "_i", [name]))
    session.write(ref, columns, [pa.RecordBatch.from_arrays([pa.array([7], pa.int32())], names=[name])])
    info = session.table(ref)
    assert (info.ref, info.primary_key, [column.name for column in info.columns]) == (ref, (name,), [name])
    query = f"SELECT * FROM {dialect.table(ref)}"
    assert [batch.to_pylist() for batch in session.read(query, session.describe(query))] == [[{name: 7}]]
    assert session.tables(ref.schema) == [ref]


@every
@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("SELECT\n  nope FROM t", r"nope.*line 2, column 3"),
        ("SELEC 1", r"syntax error.*line 1"),
        ("SELECT * FROM missing", r"missing"),
        ("INSERT INTO t VALUES (1)", "syntax error"),
        ("SELECT 1; DROP TABLE t", "syntax error|one statement"),
        ("SELECT 1 AS a, 2 AS b, 3 AS a", "two columns named `a`|gives the column `a` 2 times"),
        ("SELECT {} AS a", "parameter"),
    ],
)
def test_a_query_that_cannot_be_read(session: Any, query: str, message: str) -> None:
    session.execute("CREATE TABLE t (a INTEGER)")
    with pytest.raises(SqlError, match=re.compile(message, re.DOTALL)):
        session.describe(query.format("$1" if session.dialect.name == "postgres" else "?"))
    assert session.fetch("SELECT count(*) FROM t") == [(0,)]


@every
def test_interrupt_stops_a_statement(place: Place, session: Any) -> None:
    query = f"SELECT count(*) AS n FROM ({ENDLESS[place.system]}) AS r WHERE n % 7 = 8"
    for run in (lambda: session.fetch(query), lambda: list(session.read(query, (Column("n", BIGINT),)))):
        threading.Timer(0.2, session.interrupt).start()
        start = time.monotonic()
        with pytest.raises(CancelledError):
            run()
        assert time.monotonic() - start < 2
        session.rollback()
    assert session.fetch("SELECT 1") == [(1,)]


@files
def test_an_interrupt_is_told_in_the_words_of_every_other(place: Place, session: Any) -> None:
    threading.Timer(0.2, session.interrupt).start()
    with pytest.raises(CancelledError, match=r"^FLOW-250 cancelled; nothing was written \("):
        session.fetch(f"SELECT count(*) FROM ({ENDLESS[place.system]}) AS r")


@every
def test_an_error_of_the_batches_passes_through_and_nothing_is_written(session: Any) -> None:
    session.execute("CREATE TABLE t (a INTEGER)")

    def batches() -> Iterator[pa.RecordBatch]:
        for _ in range(6):
            yield pa.RecordBatch.from_pydict({"a": pa.array(range(65_536), pa.int32())})
        raise LookupError("made up")

    with pytest.raises(LookupError, match="made up"):
        session.write(T, (Column("a", INTEGER),), batches())
    session.rollback()
    assert session.fetch("SELECT count(*) FROM t") == [(0,)]
    with pytest.raises(DataError):
        session.write(T, (Column("a", BIGINT),), [pa.RecordBatch.from_pydict({"a": ["x"]})])
    session.rollback()
    assert session.fetch("SELECT count(*) FROM t") == [(0,)]
