"""Every value that goes into DuckDB comes out the same, or is refused."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from ematix_nb.backends.base import Verdict
from ematix_nb.backends.duckdb import BACKEND
from ematix_nb.backends.duckdb.dialect import DIALECT
from ematix_nb.connections.kinds import DuckDBConnection
from ematix_nb.declare.data_types import DataType, to_arrow
from ematix_nb.declare.spec import Column, TableRef
from ematix_nb.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ematix_nb.backends.duckdb.io import DuckDBSession

UTC = dt.UTC
T = TableRef(None, "t")

VALUES: list[tuple[DataType, list[Any]]] = [
    (DataType("tinyint"), [-128, 127, None]),
    (DataType("smallint"), [-32768, 32767]),
    (DataType("integer"), [-(2**31), 2**31 - 1]),
    (DataType("bigint"), [-(2**63), 2**63 - 1]),
    (DataType("utinyint"), [0, 255]),
    (DataType("usmallint"), [0, 65535]),
    (DataType("uinteger"), [0, 2**32 - 1]),
    (DataType("ubigint"), [0, 2**64 - 1]),
    (DataType("float"), [1.5, float("inf"), -0.0]),
    (DataType("double"), [0.1, float("-inf"), 1e308, 5e-324, -0.0]),
    (DataType("numeric", precision=38, scale=10), [Decimal("1234567890123456789012345678.0123456789"), None]),
    (DataType("numeric", precision=10, scale=2), [Decimal("-99999999.99"), Decimal("0.00")]),
    (DataType("boolean"), [True, False, None]),
    (DataType("text"), ["", "a'b\"c\\d\ne\tf", "😀é", "x" * 1_000_000, "a\0b", None]),
    (DataType("json"), ['{"b":1,  "a":[2,null]}', "12345678901234567890", None]),
    (DataType("uuid"), ["6b8e2b2e-8e4f-4e53-9a3a-0d6f5b0c1a2b", None]),
    (DataType("bytes"), [b"", b"\x00\xff\\", None]),
    (DataType("date"), [dt.date(1, 1, 1), dt.date(9999, 12, 31), None]),
    (DataType("time"), [dt.time(0), dt.time(23, 59, 59, 999999)]),
    (DataType("timestamp"), [dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59, 999999), None]),  # noqa: DTZ001
    (DataType("timestamptz"), [dt.datetime(2024, 3, 31, 1, 30, 0, 123456, UTC), None]),
    (DataType("interval"), [pa.MonthDayNano([14, -3, 14706789000000]), pa.MonthDayNano([0, 30, 0]), None]),
    (DataType("array", item=DataType("integer")), [[1, None, 3], [], None]),
    (DataType("array", item=DataType("array", item=DataType("text"))), [[["a"], []], None]),
    (
        DataType("struct", fields=(("x", DataType("integer")), ("y z", DataType("uuid")))),
        [{"x": 1, "y z": "6b8e2b2e-8e4f-4e53-9a3a-0d6f5b0c1a2b"}, None],
    ),
    (DataType("map", key=DataType("text"), item=DataType("date")), [[("a", dt.date(2024, 1, 1))], [], None]),
]

OWN: list[tuple[str, list[Any]]] = [
    ("HUGEINT", [Decimal(-(2**127) + 1), Decimal(2**127 - 1), None]),
    ("UHUGEINT", [Decimal(2**128 - 1)]),
    ("BIGNUM", ["123456789012345678901234567890123456789012345678901234567890"]),
    ("ENUM('a', 'b''c')", ["a", "b'c", None]),
    ("BIT", ["101010", None]),
    ("TIME WITH TIME ZONE", ["12:00:00.5+02", None]),
    ("TIME_NS", ["12:00:00.123456789"]),
    ("INTEGER[2]", [[1, 2], None]),
    ("TIMESTAMP_S", [dt.datetime(2024, 1, 1, 12)]),  # noqa: DTZ001
    ("TIME WITH TIME ZONE[]", [["12:00:00+02", None]]),
    ("HUGEINT[]", [["170141183460469231731687303715884105727"]]),
]


@pytest.fixture
def session() -> Iterator[DuckDBSession]:
    opened = BACKEND.open(DuckDBConnection(name="d", path=":memory:"))
    yield opened
    opened.close()


def _batch(columns: tuple[Column, ...], *values: list[Any]) -> pa.RecordBatch:
    arrays = [pa.array(one, to_arrow(column.type)) for one, column in zip(values, columns, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, names=[column.name for column in columns])


def _plain(values: list[Any]) -> list[str]:
    """Spelled so that -0.0 and a time zone count, and the zone's class does not."""
    return [value.isoformat() if isinstance(value, dt.datetime) else repr(value) for value in values]


def _read(session: DuckDBSession, query: str = "SELECT * FROM t") -> list[Any]:
    columns = session.describe(query)
    batches = list(session.read(query, columns))
    for batch in batches:
        assert batch.schema.types == [to_arrow(column.type) for column in columns]
    return [value for batch in batches for value in batch.column(0).to_pylist()]


@pytest.mark.parametrize(("kind", "values"), VALUES, ids=lambda value: str(value)[:30])
def test_a_value_comes_back_as_it_went_in(session: DuckDBSession, kind: DataType, values: list[Any]) -> None:
    stored = DIALECT.store(kind)
    assert stored.verdict is Verdict.EXACT
    columns = (Column("c", stored.type),)
    session.execute(DIALECT.create_table(T, columns))
    assert session.write(T, columns, [_batch(columns, values)]) == len(values)
    assert session.describe("SELECT * FROM t") == columns
    info = session.table(T)
    assert info is not None
    assert info.columns == columns
    got = _read(session)
    assert _plain(got) == _plain(values)


@pytest.mark.parametrize(("native", "values"), OWN, ids=lambda value: str(value)[:20])
def test_own_types_survive_a_trip_to_another_duckdb_table(
    session: DuckDBSession, native: str, values: list[Any]
) -> None:
    session.execute(f"CREATE TABLE t (c {native})")
    columns = session.describe("SELECT * FROM t")
    assert DIALECT.store(columns[0].type).verdict is Verdict.EXACT
    assert DIALECT.type_sql(columns[0].type) == native
    assert session.write(T, columns, [_batch(columns, values)]) == len(values)
    assert _read(session) == values
    session.execute(DIALECT.create_table(TableRef(None, "u"), columns))
    assert session.describe("SELECT * FROM u") == columns


def test_nan_is_kept(session: DuckDBSession) -> None:
    columns = (Column("c", DataType("double")),)
    session.execute(DIALECT.create_table(T, columns))
    session.write(T, columns, [_batch(columns, [float("nan")])])
    assert repr(_read(session)) == "[nan]"


def test_nanoseconds_are_kept(session: DuckDBSession) -> None:
    for kind in ("timestamp", "timestamptz"):
        columns = (Column("c", DataType(kind, precision=9)),)
        assert DIALECT.store(columns[0].type).type == columns[0].type
        session.execute(f"DROP TABLE IF EXISTS t; {DIALECT.create_table(T, columns)}")
        array = pa.array([1704067200123456789], pa.int64()).cast(to_arrow(columns[0].type))
        session.write(T, columns, [pa.RecordBatch.from_arrays([array], names=["c"])])
        [batch] = session.read("SELECT * FROM t", session.describe("SELECT * FROM t"))
        assert batch.column(0) == array


def test_union_and_variant_are_read_as_text_and_json(session: DuckDBSession) -> None:
    session.execute("CREATE TABLE t (u UNION(n INTEGER, s VARCHAR), v VARIANT)")
    session.execute("INSERT INTO t VALUES ('x', {'a': 1})")
    first, second = session.describe("SELECT * FROM t")
    assert (first.type.kind, second.type.kind) == ("text", "json")
    assert DIALECT.store(first.type).type == DataType("text")
    assert DIALECT.store(second.type).type == DataType("json")
    [batch] = session.read("SELECT * FROM t", (first, second))
    assert batch.to_pylist() == [{"u": "x", "v": '{"a":1}'}]


@pytest.mark.parametrize("value", ["'infinity'::TIMESTAMP", "'-infinity'::DATE", "['infinity'::TIMESTAMPTZ]"])
def test_infinite_times_are_refused(session: DuckDBSession, value: str) -> None:
    query = f"SELECT {value} AS c FROM range(2)"
    with pytest.raises(DataError, match="column `c`, row 1: `infinity` is no point in time"):
        list(session.read(query, session.describe(query)))


def test_a_sub_microsecond_interval_is_refused(session: DuckDBSession) -> None:
    columns = (Column("c", DataType("interval")),)
    session.execute(DIALECT.create_table(T, columns))
    batch = _batch(columns, [pa.MonthDayNano([0, 0, 1000]), pa.MonthDayNano([0, 0, 1001])])
    with pytest.raises(DataError, match=r"column `c`, row 2: .* has nanoseconds"):
        session.write(T, columns, [batch])
    assert session.fetch("SELECT count(*) FROM t") == [(0,)]


def test_a_value_that_does_not_fit_is_named(session: DuckDBSession) -> None:
    session.execute("CREATE TABLE t (c JSON)")
    columns = (Column("c", DataType("json")),)
    with pytest.raises(DataError, match=r"column `c`, row 2: `\{bad` does not fit JSON"):
        session.write(T, columns, [_batch(columns, ["{}", "{bad"])])


def test_a_value_outside_the_wanted_type_is_refused_on_reading(session: DuckDBSession) -> None:
    with pytest.raises(DataError, match=r"column `c`, row 1: `1\.5` does not fit integer"):
        list(session.read("SELECT 1.5::DOUBLE AS c", (Column("c", DataType("integer")),)))


@pytest.mark.parametrize(
    ("kind", "stored", "verdict"),
    [
        (DataType("string", length=5), "text", Verdict.WIDENED),
        (DataType("numeric"), "text", Verdict.WIDENED),
        (DataType("numeric", precision=50, scale=2), "text", Verdict.WIDENED),
        (DataType("numeric", precision=5, scale=-2), "numeric(7,0)", Verdict.WIDENED),
        (DataType("numeric", precision=2, scale=5), "numeric(5,5)", Verdict.WIDENED),
        (DataType("jsonb"), "json", Verdict.EXACT),
        (DataType("text", native="inet", system="postgres"), "text", Verdict.WIDENED),
        (DataType("array", item=DataType("numeric")), "array(text)", Verdict.WIDENED),
        (DataType("null"), "text", Verdict.WIDENED),
    ],
)
def test_how_other_types_are_stored(kind: DataType, stored: str, verdict: Verdict) -> None:
    assert (str(DIALECT.store(kind).type), DIALECT.store(kind).verdict) == (stored, verdict)


@pytest.mark.parametrize(("kind", "values"), VALUES[:22], ids=lambda value: str(value)[:30])
def test_literals_are_exact(session: DuckDBSession, kind: DataType, values: list[Any]) -> None:
    for value in values:
        if not isinstance(value, pa.MonthDayNano) and not (isinstance(value, str) and "\0" in value):
            query = f"SELECT {DIALECT.literal(value, kind)} AS c"
            assert _plain(_read(session, query)) == _plain([value])
