"""Values that a system stores exactly, by type: those that all systems hold, and those of one alone."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import pyarrow as pa

from ematix_nb.declare.data_types import DataType

Values = list[tuple[DataType, list[Any]]]

COMMON: Values = [
    (DataType("tinyint"), [-128, 127, None]),
    (DataType("smallint"), [-32768, 32767]),
    (DataType("integer"), [-(2**31), 2**31 - 1]),
    (DataType("bigint"), [-(2**63), 2**63 - 1]),
    (DataType("utinyint"), [0, 255]),
    (DataType("usmallint"), [0, 65535]),
    (DataType("uinteger"), [0, 2**32 - 1]),
    (DataType("ubigint"), [0, 2**63 - 1]),
    (DataType("float"), [1.5, float("inf"), 0.10000000149011612]),
    (DataType("double"), [0.1, 1.0, float("-inf"), 1e308, 5e-324]),
    (DataType("numeric", precision=38, scale=10), [Decimal("1234567890123456789012345678.0123456789"), None]),
    (DataType("numeric", precision=10, scale=2), [Decimal("-99999999.99"), Decimal("0.00")]),
    (DataType("numeric", precision=20, scale=12), [Decimal("0.000000000000"), Decimal("-0.000000000001")]),
    (DataType("numeric", precision=18, scale=0), [Decimal(-(10**18) + 1), Decimal(0)]),
    (DataType("numeric", precision=38, scale=0), [Decimal(10**38 - 1)]),
    (DataType("boolean"), [True, False, None]),
    (DataType("text"), ["", "a'b\"c\\d\ne\tf", "😀é", "x" * 1_000_000, "a\0b", "007", "1e5", None]),
    (DataType("json"), ['{"b":1,  "a":[2,null]}', "12345678901234567890", "1.50", None]),
    (DataType("uuid"), ["6b8e2b2e-8e4f-4e53-9a3a-0d6f5b0c1a2b", None]),
    (DataType("bytes"), [b"", b"\x00\xff\\", b"abc", None]),
    (DataType("date"), [dt.date(1, 1, 1), dt.date(9999, 12, 31), None]),
    (DataType("time"), [dt.time(0), dt.time(23, 59, 59, 999999)]),
    (DataType("timestamp"), [dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59, 999999), None]),  # noqa: DTZ001
    (DataType("timestamptz"), [dt.datetime(2024, 3, 31, 1, 30, 0, 123456, dt.UTC), None]),
]

DUCKDB: Values = [
    (DataType("ubigint"), [2**64 - 1]),
    (DataType("float"), [-0.0]),
    (DataType("double"), [-0.0]),
    (DataType("interval"), [pa.MonthDayNano([14, -3, 14706789000000]), pa.MonthDayNano([0, 30, 0]), None]),
    (DataType("array", item=DataType("integer")), [[1, None, 3], [], None]),
    (DataType("array", item=DataType("array", item=DataType("text"))), [[["a"], []], None]),
    (
        DataType("struct", fields=(("x", DataType("integer")), ("y z", DataType("uuid")))),
        [{"x": 1, "y z": "6b8e2b2e-8e4f-4e53-9a3a-0d6f5b0c1a2b"}, None],
    ),
    (DataType("map", key=DataType("text"), item=DataType("date")), [[("a", dt.date(2024, 1, 1))], [], None]),
]

SQLITE: Values = [
    (DataType("numeric", precision=50, scale=2), [Decimal("123456789012345678901234567890123456789012345678.25")]),
    (DataType("numeric"), ["12345678901234567890.10", "NaN", None]),
    (DataType("string", length=5), ["abcde", "😀😀😀😀😀"]),
    (DataType("jsonb"), ["1", None]),
    (DataType("interval"), [pa.MonthDayNano([14, -3, 14706789000001]), pa.MonthDayNano([-1, 30, -1]), None]),
]

VALUES: dict[str, Values] = {"duckdb": [*COMMON, *DUCKDB], "sqlite": [*COMMON, *SQLITE]}


def plain(values: list[Any]) -> list[str]:
    """Spelled so that the type, -0.0 and a time zone count, and the zone's class does not."""
    return [value.isoformat() if isinstance(value, dt.datetime) else repr(value) for value in values]


def shown(value: Any) -> str:
    """A short name for a case."""
    return str(value)[:30]
