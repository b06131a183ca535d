"""Every value that goes into an embedded system comes out the same; what it has no type for is stored as another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from ematix_nb.backends.base import Verdict
from ematix_nb.declare.data_types import DataType, to_arrow
from ematix_nb.declare.spec import Column, TableRef
from tests.conformance.sessions import EMBEDDED, Place
from tests.conformance.stored_values import VALUES, plain, shown

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TableRef(None, "t")
CASES = [(system, kind, values) for system, found in VALUES.items() for kind, values in found]
STORED = {
    "duckdb": [
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
    "sqlite": [
        (DataType("array", item=DataType("integer")), "json", Verdict.WIDENED),
        (DataType("struct", fields=(("a", DataType("text")),)), "json", Verdict.WIDENED),
        (DataType("text", native="inet", system="postgres"), "text", Verdict.WIDENED),
        (DataType("null"), "text", Verdict.WIDENED),
    ],
}


@pytest.fixture
def session(request: pytest.FixtureRequest) -> Iterator[Any]:
    """A session on an empty database in memory, of the system that the parameter names."""
    opened = Place(request.param, ":memory:").open()
    yield opened
    opened.close()


@pytest.mark.parametrize(("session", "kind", "values"), CASES, ids=shown, indirect=["session"])
def test_a_value_comes_back_as_it_went_in(session: Any, kind: DataType, values: list[Any]) -> None:
    stored = session.dialect.store(kind)
    assert stored.verdict is Verdict.EXACT
    columns = (Column("c", stored.type),)
    session.execute(session.dialect.create_table(T, columns))
    assert session.write(T, columns, [_batch(columns[0], values)]) == len(values)
    assert session.describe("SELECT * FROM t") == columns
    assert session.table(T).columns == columns
    assert plain(_read(session)) == plain(values)


@pytest.mark.parametrize("kind", ["timestamp", "timestamptz"])
@pytest.mark.parametrize("session", EMBEDDED, indirect=True)
def test_nanoseconds_are_kept(session: Any, kind: str) -> None:
    column = Column("c", DataType(kind, precision=9))
    assert session.dialect.store(column.type).type == column.type
    session.execute(session.dialect.create_table(T, (column,)))
    array = pa.array([1704067200123456789], pa.int64()).cast(to_arrow(column.type))
    session.write(T, (column,), [pa.RecordBatch.from_arrays([array], names=["c"])])
    [batch] = session.read("SELECT * FROM t", session.describe("SELECT * FROM t"))
    assert batch.column(0) == array


@pytest.mark.parametrize(
    ("session", "kind", "stored", "verdict"),
    [(system, *case) for system, cases in STORED.items() for case in cases],
    ids=shown,
    indirect=["session"],
)
def test_how_other_types_are_stored(session: Any, kind: DataType, stored: str, verdict: Verdict) -> None:
    found = session.dialect.store(kind)
    assert (str(found.type), found.verdict) == (stored, verdict)


def _batch(column: Column, values: list[Any]) -> pa.RecordBatch:
    return pa.RecordBatch.from_arrays([pa.array(values, to_arrow(column.type))], names=[column.name])


def _read(session: Any) -> list[Any]:
    columns = session.describe("SELECT * FROM t")
    batches = list(session.read("SELECT * FROM t", columns))
    for batch in batches:
        assert batch.schema.types == [to_arrow(column.type) for column in columns]
    return [value for batch in batches for value in batch.column(0).to_pylist()]
