"""Every value that goes into SQLite comes out the same, or is refused."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from ematix_nb.backends.sqlite import BACKEND
from ematix_nb.backends.sqlite.dialect import DIALECT
from ematix_nb.connections.kinds import SQLiteConnection
from ematix_nb.declare.data_types import DataType, to_arrow
from ematix_nb.declare.spec import Column, TableRef
from ematix_nb.errors import DataError, SchemaDriftError, SqlError
from tests.conformance.stored_values import VALUES, plain, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ematix_nb.backends.sqlite.io import SQLiteSession

T = TableRef(None, "t")


@pytest.fixture
def session() -> Iterator[SQLiteSession]:
    opened = BACKEND.open(SQLiteConnection(name="s", path=":memory:"))
    yield opened
    opened.close()


def _batch(columns: tuple[Column, ...], *values: list[Any]) -> pa.RecordBatch:
    arrays = [pa.array(one, to_arrow(column.type)) for one, column in zip(values, columns, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, names=[column.name for column in columns])


def _read(session: SQLiteSession, query: str = "SELECT * FROM t") -> list[Any]:
    columns = session.describe(query)
    batches = list(session.read(query, columns))
    for batch in batches:
        assert batch.schema.types == [to_arrow(column.type) for column in columns]
    return [value for batch in batches for value in batch.column(0).to_pylist()]


@pytest.mark.parametrize(("kind", "values"), VALUES["sqlite"], ids=shown)
def test_a_literal_equals_the_stored_value(session: SQLiteSession, kind: DataType, values: list[Any]) -> None:
    columns = (Column("c", DIALECT.store(kind).type),)
    session.execute(DIALECT.create_table(T, columns))
    for value in values:
        if isinstance(value, str) and "\0" in value:
            continue
        session.execute("DELETE FROM t")
        session.write(T, columns, [_batch(columns, [value])])
        literal = DIALECT.literal(value, kind)
        assert session.fetch(f"SELECT c IS {literal} AND typeof(c) = typeof({literal}) FROM t") == [(1,)]


def test_times_are_stored_so_that_they_sort(session: SQLiteSession) -> None:
    columns = (Column("c", DataType("timestamptz")),)
    session.execute(DIALECT.create_table(T, columns))
    moments = [dt.datetime(2024, 1, 1, 0, 0, second, micro, dt.UTC) for second, micro in ((0, 0), (0, 500), (1, 0))]
    session.write(T, columns, [_batch(columns, moments)])
    literal = DIALECT.literal(moments[1], columns[0].type)
    assert session.fetch(f"SELECT c FROM t WHERE c >= {literal} ORDER BY c") == [
        ("2024-01-01 00:00:00.000500+00:00",),
        ("2024-01-01 00:00:01.000000+00:00",),
    ]
    assert session.fetch("SELECT count(*) FROM t WHERE c >= ?", [moments[1]]) == [(2,)]


@pytest.mark.parametrize(
    ("kind", "value", "message"),
    [
        (DataType("double"), float("nan"), "column `c`, row 2: `nan`: SQLite turns NaN into NULL"),
        (DataType("ubigint"), 2**63, "column `c`, row 2: `9223372036854775808`: SQLite's whole numbers end"),
        (DataType("string", length=2), "abc", "column `c`, row 2: `abc`: longer than 2 characters"),
    ],
)
def test_a_value_that_cannot_be_stored_is_named(
    session: SQLiteSession, kind: DataType, value: Any, message: str
) -> None:
    columns = (Column("c", kind),)
    session.execute(DIALECT.create_table(T, columns))
    with pytest.raises(DataError, match=message):
        session.write(T, columns, [_batch(columns, [None, value])])
    assert session.fetch("SELECT count(*) FROM t") == [(0,)]


@pytest.mark.parametrize("kind", [DataType("date"), DataType("timestamp")])
def test_days_before_the_year_1_are_refused(session: SQLiteSession, kind: DataType) -> None:
    columns = (Column("c", kind),)
    session.execute(DIALECT.create_table(T, columns))
    size = pa.int32() if kind.kind == "date" else pa.int64()
    early = pa.array([-719_163 * (1 if kind.kind == "date" else 86_400_000_000)], size).cast(to_arrow(kind))
    with pytest.raises(DataError, match=r"column `c`, row 1: .*only the years 0001 to 9999"):
        session.write(T, columns, [pa.RecordBatch.from_arrays([early], names=["c"])])


@pytest.mark.parametrize(
    ("declared", "value", "kind", "read"),
    [
        ("INTEGER", "2", "bigint", 2),
        ("INT", "9223372036854775807", "bigint", 2**63 - 1),
        ("DATETIME", "'2024-01-31 09:30:00'", "timestamp", dt.datetime(2024, 1, 31, 9, 30)),  # noqa: DTZ001
        ("datetime", "'2024-01-31T09:30:00.5'", "timestamp", dt.datetime(2024, 1, 31, 9, 30, 0, 500000)),  # noqa: DTZ001
        ("DATE", "'2024-01-31'", "date", dt.date(2024, 1, 31)),
        ("TIME", "'09:30'", "time", dt.time(9, 30)),
        ("NUMERIC(10,2)", "12.5", "numeric(10,2)", Decimal("12.50")),
        ("DECIMAL", "12.5", "numeric", "12.5"),
        ("NUMERIC(5)", "7", "numeric(5,0)", Decimal(7)),
        ("BOOLEAN", "1", "boolean", True),
        ("NVARCHAR(20)", "'x'", "string(20)", "x"),
        ("VARCHAR", "'x'", "text", "x"),
        ("JSON", "'1'", "json", "1"),
        ("UUID", "x'6b8e2b2e8e4f4e539a3a0d6f5b0c1a2b'", "uuid", "6b8e2b2e-8e4f-4e53-9a3a-0d6f5b0c1a2b"),
        ("FLOAT", "1", "double", 1.0),
        ("", "'x'", "text", "x"),
        ("WHATEVER", "1.5", "double", 1.5),
    ],
)
def test_types_that_other_programs_declare(
    session: SQLiteSession, declared: str, value: str, kind: str, read: Any
) -> None:
    session.execute(f"CREATE TABLE t (c {declared})")
    session.execute(f"INSERT INTO t VALUES ({value})")
    assert str(session.describe("SELECT * FROM t")[0].type) == kind
    assert plain(_read(session)) == plain([read])
    info = session.table(T)
    assert info is not None
    assert str(info.columns[0].type) == kind


@pytest.mark.parametrize(
    ("declared", "value"),
    [
        ("INT", "'abc'"),
        ("INT", "1.5"),
        ("TINYINT", "128"),
        ("DATETIME", "1704067200"),
        ("DATETIME", "'2024-01-31 09:30:00Z'"),
        ("TIMESTAMPTZ", "'2024-01-31 09:30:00'"),
        ("DATE", "'2024-13-01'"),
        ("TIME", "'24:61:00'"),
        ("NUMERIC(10,2)", "0.125"),
        ("NUMERIC(10,2)", "'abc'"),
        ("DECIMAL", "'abc'"),
        ("BOOLEAN", "2"),
        ("VARCHAR(3)", "'abcd'"),
        ("UUID", "'abc'"),
        ("TEXT", "x'00'"),
        ("BLOB", "'abc'"),
        ("REAL32", "0.1"),
        ("DURATION_TEXT", "'P1D'"),
    ],
)
def test_a_value_that_does_not_fit_its_declared_type_is_named(
    session: SQLiteSession, declared: str, value: str
) -> None:
    session.execute(f"CREATE TABLE t (c {declared})")
    session.execute(f"INSERT INTO t VALUES (NULL), ({value})")
    with pytest.raises(DataError, match=r"column `c`, row 2: .* does not fit"):
        _read(session)


@pytest.mark.parametrize(
    ("expression", "kind"),
    [
        ("count(*)", "bigint"),
        ("a * 1.5", "double"),
        ("CASE a WHEN 1 THEN 1 ELSE 1.5 END", "double"),
        ("upper(b)", "text"),
        ("NULL", "null"),
        ("CAST(b AS BLOB)", "bytes"),
        ("coalesce(a, 0)", "bigint"),
    ],
)
def test_expressions_have_the_type_of_their_values(session: SQLiteSession, expression: str, kind: str) -> None:
    session.execute("CREATE TABLE t (a INT32, b TEXT)")
    session.execute("INSERT INTO t VALUES (1, 'x'), (2, NULL)")
    query = f"SELECT {expression} AS e, a AS plain FROM t"
    if "count" in expression:
        query += " GROUP BY a"
    columns = session.describe(query)
    assert [(column.name, str(column.type)) for column in columns] == [("e", kind), ("plain", "integer")]
    assert sum(batch.num_rows for batch in session.read(query, columns)) == 2


def test_an_expression_that_mixes_kinds_is_refused(session: SQLiteSession) -> None:
    with pytest.raises(SqlError, match="column `e` has no declared type, and its values are a mix"):
        session.describe("SELECT 1 AS e UNION ALL SELECT 'x'")


@pytest.mark.parametrize(
    ("declared", "kind", "value"),
    [
        ("INTEGER", DataType("text"), "007"),
        ("NUMERIC", DataType("json"), "1.50"),
    ],
)
def test_text_that_a_column_would_turn_into_a_number_is_refused(
    session: SQLiteSession, declared: str, kind: DataType, value: str
) -> None:
    session.execute(f"CREATE TABLE t (c {declared})")
    columns = (Column("c", kind),)
    with pytest.raises(DataError, match=r"column `c`, row 2: `.*`: a column declared .* into a number"):
        session.write(T, columns, [_batch(columns, ["x", value])])


@pytest.mark.parametrize(
    ("declared", "kind", "value"),
    [
        ("NUMERIC(38,10)", DataType("numeric", precision=38, scale=10), Decimal(1)),
        ("REAL", DataType("bigint"), 1),
        ("TEXT", DataType("double"), 0.1),
    ],
)
def test_a_column_that_would_change_numbers_is_refused(
    session: SQLiteSession, declared: str, kind: DataType, value: Any
) -> None:
    session.execute(f"CREATE TABLE t (c {declared})")
    columns = (Column("c", kind),)
    with pytest.raises(SchemaDriftError, match="which would change values"):
        session.write(T, columns, [_batch(columns, [value])])
