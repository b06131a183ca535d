"""What Spark can hold, without Spark: columns in its types, or refused by name."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest

from ematix_nb.errors import DataError
from ematix_nb.interop.spark import for_spark

FITTED: list[tuple[pa.DataType, Any, pa.DataType]] = [
    (pa.int64(), 2**63 - 1, pa.int64()),
    (pa.uint8(), 255, pa.int16()),
    (pa.uint16(), 65_535, pa.int32()),
    (pa.uint32(), 2**32 - 1, pa.int64()),
    (pa.float16(), 1.5, pa.float32()),
    (pa.large_string(), "é😀", pa.string()),
    (pa.string_view(), "é😀", pa.string()),
    (pa.dictionary(pa.int32(), pa.string()), "a", pa.string()),
    (pa.binary(2), b"\x00\xff", pa.binary()),
    (pa.date64(), dt.date(1582, 10, 10), pa.date32()),
    (pa.time32("s"), dt.time(23, 59, 59), pa.time64("us")),
    (pa.timestamp("s"), dt.datetime(2024, 3, 10, 2, 30), pa.timestamp("us")),  # noqa: DTZ001  without a zone
    (pa.timestamp("ns", "Asia/Tokyo"), dt.datetime(2024, 1, 1, tzinfo=dt.UTC), pa.timestamp("us", "UTC")),
    (pa.decimal256(30, 2), Decimal("1.25"), pa.decimal128(30, 2)),
    (pa.decimal128(5, -2), Decimal(1200), pa.decimal128(7, 0)),
    (pa.large_list(pa.uint8()), [1, None], pa.list_(pa.int16())),
    (pa.map_(pa.string(), pa.uint8()), [("a", 1)], pa.map_(pa.string(), pa.int16())),
    (pa.struct([("x y", pa.timestamp("ms"))]), {"x y": None}, pa.struct([("x y", pa.timestamp("us"))])),
]  # fmt: skip
REFUSED: list[tuple[pa.Array, str]] = [
    (pa.array([Decimal(1)], pa.decimal256(39, 0)), r"column `v` \(decimal256\(39, 0\)\).* at most 38 digits"),
    (pa.array([Decimal("1e12")], pa.decimal128(30, -10)), "at most 38 digits"),
    (pa.array([0, 1], pa.timestamp("ns")), r"`v` \(timestamp\[ns\]\) .* would lose data"),
    (pa.array([1], pa.time64("ns")), "would lose data"),
    (pa.array([[1]], pa.list_(pa.timestamp("ns", "UTC"))), "would lose data"),
    (pa.array([pa.MonthDayNano([1, 2, 3])]), "Spark has no such type"),
]


@pytest.mark.parametrize(("kind", "value", "fitted"), FITTED, ids=str)
def test_columns_in_the_types_of_spark(kind: pa.DataType, value: Any, fitted: pa.DataType) -> None:
    found = for_spark(pa.table({"v": pa.array([value, None], kind)}))
    assert found.schema.field("v").type == fitted
    assert found["v"].to_pylist() == [value, None]


@pytest.mark.parametrize(("values", "message"), REFUSED)
def test_what_spark_cannot_hold_is_refused_by_name(values: pa.Array, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        for_spark(pa.table({"id": [1] * len(values), "v": values}))
    assert "cast `v`" in caught.value.hint


def test_two_columns_of_one_name() -> None:
    with pytest.raises(DataError, match="two columns are named `a`"):
        for_spark(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]))


def test_nothing_is_copied_that_needs_no_change() -> None:
    table = pa.table({"a": [1, 2], "b": ["x", None]})
    found = for_spark(table)
    assert [column.chunk(0).buffers()[1].address for column in found.columns] == [
        column.chunk(0).buffers()[1].address for column in table.columns
    ]
