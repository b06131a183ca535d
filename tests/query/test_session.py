"""SQL over files and frames: names, push-down, streaming, stopping, errors."""
# ruff: noqa: DTZ001 - times without a zone are values under test

from __future__ import annotations

import datetime as dt
import decimal
import threading
import time
from typing import TYPE_CHECKING

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ematix_nb.backends.files import BACKEND
from ematix_nb.connections import ObjectStoreLocalConnection
from ematix_nb.declare.data_types import BIGINT, DOUBLE, TEXT, TIMESTAMP, TIMESTAMPTZ, DataType
from ematix_nb.declare.spec import Column
from ematix_nb.errors import CancelledError, DataError, SqlError, UnknownNameError
from ematix_nb.query import FrameSession, open_file_query, open_frames
from ematix_nb.query.dialect import DataFusionDialect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UTC = dt.UTC


@pytest.fixture
def orders(tmp_path: Path) -> Iterator[FrameSession]:
    (tmp_path / "orders").mkdir()
    (tmp_path / "raw").mkdir()
    for part in range(3):
        ids = list(range(part * 1000, part * 1000 + 1000))
        at = [dt.datetime(2024, 1, 1, tzinfo=UTC) + dt.timedelta(minutes=n) for n in ids]
        table = pa.table(
            {
                "id": ids,
                "Order": [f"o{n}" for n in ids],
                "updated_at": pa.array(at, pa.timestamp("us", "UTC")),
                "naive": pa.array([each.replace(tzinfo=None) for each in at], pa.timestamp("us")),
                "amount": pa.array([decimal.Decimal(n) / 100 for n in ids], pa.decimal128(20, 2)),
                "day": pa.array([each.date() for each in at]),
            }
        )
        pq.write_table(table, tmp_path / "orders" / f"{part}.parquet")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "raw" / "Mixed.parquet")
    files = BACKEND.open(ObjectStoreLocalConnection(name="lake", path=str(tmp_path), format="parquet"))
    session = open_file_query(files)
    yield session
    session.close()
    files.close()


@pytest.mark.parametrize("name", ["orders", '"orders"', '"orders/*.parquet"', '"orders/[012].parquet"', "ORDERS"])
def test_names_of_tables(orders: FrameSession, name: str) -> None:
    assert orders.fetch(f"select count(*) as n from {name} as o where o.id < 5") == [(5,)]


def test_a_path_qualifies_columns(orders: FrameSession) -> None:
    assert orders.fetch(
        'select "orders/0.parquet".id from "orders/0.parquet" where "orders/0.parquet"."Order" = \'o7\''
    ) == [(7,)]


def test_a_schema_is_a_folder(orders: FrameSession) -> None:
    assert orders.fetch('select a from raw."Mixed"') == [(1,)]
    assert orders.fetch("select a from raw.Mixed") == [(1,)]


def test_paths_in_subqueries_and_with(orders: FrameSession) -> None:
    sql = """
    with big as (select * from "orders/2.parquet" where id in (select id from "orders/*.parquet" where id > 2990))
    select count(*) from big
    """
    assert orders.fetch(sql) == [(9,)]


def test_an_unknown_table_is_told_with_what_there_is(orders: FrameSession) -> None:
    with pytest.raises(UnknownNameError, match=r"(?s)there is no table `ordres`.*did you mean `orders`"):
        orders.describe("select * from ordres")
    with pytest.raises(UnknownNameError, match="known tables: orders, raw"):
        orders.describe("select * from zzz")


WATERMARKS = [
    ("id", BIGINT, 2990),
    ("updated_at", TIMESTAMPTZ, dt.datetime(2024, 1, 3, 1, 50, tzinfo=UTC)),
    ("naive", TIMESTAMP, dt.datetime(2024, 1, 3, 1, 50)),
    ("amount", DataType("numeric", precision=20, scale=2), decimal.Decimal("29.90")),
    ("day", DataType("date"), dt.date(2024, 1, 3)),
    ("Order", TEXT, "o990"),
]


@pytest.mark.parametrize(("name", "kind", "value"), WATERMARKS)
def test_a_watermark_reaches_the_scan(orders: FrameSession, name: str, kind: DataType, value: object) -> None:
    dialect = orders.dialect
    query = 'SELECT * FROM "orders/*.parquet" -- all of them'
    sql = f"SELECT * FROM {dialect.wrap(query, 'q')} WHERE {dialect.quote(name)} >= {dialect.literal(value, kind)}"
    plan = orders.explain(sql)
    assert "pruning_predicate=" in plan
    assert f"{name}_max" in plan
    assert "CAST" not in plan
    found = [row[0] for row in orders.fetch(sql)]
    expected = {"day": list(range(2880, 3000)), "Order": list(range(990, 1000))}
    assert found == expected.get(name, list(range(2990, 3000)))


def test_rows_come_in_the_order_of_the_files(orders: FrameSession) -> None:
    assert [row[0] for row in orders.fetch("select id from orders")] == list(range(3000))


def test_batches_have_the_size_asked(orders: FrameSession) -> None:
    columns = orders.describe("select id from orders")
    sizes = [batch.num_rows for batch in orders.read("select id from orders", columns, batch_rows=700)]
    assert sizes == [700, 700, 700, 700, 200]


def test_describe_tells_types_without_views(orders: FrameSession) -> None:
    columns = orders.describe('select *, upper("Order") as up, 1.50 as x from orders')
    assert [str(column.type) for column in columns] == [
        "bigint", "text", "timestamptz", "timestamp", "numeric(20,2)", "date", "text", "double",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("select order_ from orders", "there is no column `order_`"),
        ("select o.Order from orders o", "unquoted names are folded to lower case"),
        ("select id, id from orders", "`id` stands twice|same name|unique expression names|are called `id`"),
        ("select * from orders a join orders b using (id)", "two columns of the result are called"),
        ("select nofunction(id) from orders", "nofunction"),
        ("select id from orders where", "syntax error near `where`"),
        ("copy orders to 'x.csv'", "only SELECT"),
        ("create external table x stored as csv location 'x'", "only SELECT"),
        ("select * from generate_series(1, 3)", "table function"),
        ("select * from orders where id = 'x", "never closed"),
    ],
)
def test_wrong_sql(orders: FrameSession, sql: str, message: str) -> None:
    with pytest.raises(SqlError, match=message):
        orders.describe(sql)


def test_data_errors(orders: FrameSession) -> None:
    with pytest.raises(DataError, match="Cannot cast string 'o0'"):
        orders.fetch('select cast("Order" as int) as x from orders')
    with pytest.raises(DataError, match="Divide by zero"):
        orders.fetch("select 1 / (id - id) as x from orders")


def test_text_of_the_user_is_untouched(orders: FrameSession) -> None:
    assert orders.fetch("select '%s ? :x $1 {y}' as t") == [("%s ? :x $1 {y}",)]


def test_frames_of_every_kind() -> None:
    table = pa.table({"a": [1, 2], "b": pa.array(["x", None]).dictionary_encode()})
    frames = {
        "t": table,
        "batch": table.to_batches()[0],
        "reader": table.to_reader(),
        "frame": pl.DataFrame({"a": [1, 2], "b": ["x", None]}),
        "lazy": pl.LazyFrame({"a": [1, 2], "b": ["x", None]}),
        "pandas": pd.DataFrame({"a": [1, 2], "b": ["x", None]}),
        "empty": table.slice(0, 0),
    }
    session = open_frames(frames)
    for name in frames:
        expected = [] if name == "empty" else [(1, "x"), (2, None)]
        assert session.fetch(f"select a, b from {name}") == expected
    with pytest.raises(DataError, match="the reader `reader` was read before"):
        session.fetch("select * from reader")
    with pytest.raises(UnknownNameError, match="did you mean `frame`"):
        session.fetch("select * from fram")


def test_nan_compares_alike_in_frames_and_streams() -> None:
    table = pa.table({"f": [float("nan"), 1.0, None]})
    session = open_frames({"t": table, "r": table.to_reader()})
    assert session.fetch("select count(*) as n from t where f > 0.5") == session.fetch(
        "select count(*) as n from r where f > 0.5"
    )


def test_a_reader_is_streamed() -> None:
    given = []

    def batches() -> Iterator[pa.RecordBatch]:
        for number in range(1000):
            given.append(number)
            yield pa.record_batch({"a": pa.array([number] * 1000, pa.int64())})

    reader = pa.RecordBatchReader.from_batches(pa.schema([("a", pa.int64())]), batches())
    session = open_frames({"r": reader})
    stream = session.read("select a + 1 as b from r", (Column("b", BIGINT),), batch_rows=1000)
    assert next(stream).num_rows == 1000
    assert len(given) < 100
    stream.close()  # type: ignore[attr-defined]


def endless(number: int) -> pa.RecordBatchReader:
    schema = pa.schema([("a", pa.int64())])
    batch = pa.record_batch({"a": pa.array(range(1000), pa.int64())})
    return pa.RecordBatchReader.from_batches(schema, (batch for _ in range(number)))


def test_interrupt_from_another_thread() -> None:
    session = open_frames({"r": endless(100_000_000)})
    timer = threading.Timer(0.3, session.interrupt)
    timer.start()
    begin = time.monotonic()
    with pytest.raises(CancelledError, match="cancelled"):
        session.fetch("select count(*) as n from r where a % 7 = 3")
    assert time.monotonic() - begin < 2.3
    assert session.fetch("select 1 as one") == [(1,)]


def test_closing_twice_is_harmless() -> None:
    session = open_frames({"t": pa.table({"a": [1]})})
    assert session.fetch("select a from t") == [(1,)]
    session.close()
    session.close()


def test_literals_have_the_type_of_their_column() -> None:
    dialect = DataFusionDialect()
    session = open_frames({})
    values = [
        (dt.datetime(2024, 1, 1, 10, tzinfo=UTC), TIMESTAMPTZ),
        (dt.datetime(1, 1, 1, 0, 0, 0, 1), TIMESTAMP),
        (decimal.Decimal("-0.0000000001"), DataType("numeric", precision=38, scale=10)),
        (dt.date(9999, 12, 31), DataType("date")),
        (dt.time(23, 59, 59, 999999), DataType("time")),
        ("it's \\ %s\n😀", TEXT),
        (2**63 - 1, BIGINT),
        (-(2**63), BIGINT),
        (float("inf"), DOUBLE),
        (0.1, DOUBLE),
        (True, DataType("boolean")),
        (b"\x00'\xff", DataType("bytes")),
        (None, TEXT),
    ]
    for value, kind in values:
        sql = f"select {dialect.literal(value, kind)} as v"
        assert session.fetch(sql) == [(value,)], sql
        if value is not None:
            assert session.describe(sql)[0].type == kind


def test_row_hash_tells_rows_apart() -> None:
    dialect = DataFusionDialect()
    session = open_frames({"t": pa.table({"a": ["a", "ab", None, ""], "b": ["bc", "c", "", None]})})
    digest = dialect.row_hash([Column("a", TEXT), Column("b", TEXT)])
    found = [row[0] for row in session.fetch(f"select {digest} as h from t")]
    assert len(set(found)) == 4
    assert {len(each) for each in found} == {32}
