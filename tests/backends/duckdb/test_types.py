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
from ematix_nb.declare.data_types import NESTED_KINDS, DataType, to_arrow
from ematix_nb.declare.spec import Column, TableRef
from ematix_nb.errors import DataError
from tests.conformance.stored_values import VALUES, plain, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ematix_nb.backends.duckdb.io import DuckDBSession

UTC = dt.UTC
T = TableRef(None, "t")

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


def _read(session: DuckDBSession, query: str = "SELECT * FROM t") -> list[Any]:
    columns = session.describe(query)
    batches = list(session.read(query, columns))
    for batch in batches:
        assert batch.schema.types == [to_arrow(column.type) for column in columns]
    return [value for batch in batches for value in batch.column(0).to_pylist()]


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
    ("kind", "values"), [case for case in VALUES["duckdb"] if case[0].kind not in NESTED_KINDS], ids=shown
)
def test_literals_are_exact(session: DuckDBSession, kind: DataType, values: list[Any]) -> None:
    for value in values:
        if not isinstance(value, pa.MonthDayNano) and not (isinstance(value, str) and "\0" in value):
            query = f"SELECT {DIALECT.literal(value, kind)} AS c"
            assert plain(_read(session, query)) == plain([value])
