"""Columns of odd values, and how they fare between two systems."""

from __future__ import annotations

import datetime as dt
import math
import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from ematix_nb.declare.data_types import DataType

SQL = ("postgres", "duckdb", "sqlite")
DATABASES = (*SQL, "mysql")
EVERYWHERE = (*DATABASES, "parquet", "delta", "orc")
ANY_YEAR = (*DATABASES, "parquet", "delta")
"""Where times may lie in any year."""
MEGABYTE = "€uro😀" * 110_000


@dataclass(frozen=True)
class Interval:
    """Months, days and nanoseconds, kept apart."""

    months: int
    days: int
    nanoseconds: int


@dataclass(frozen=True)
class Case:
    """A column: its type and odd values, and the systems that have such a type of their own."""

    name: str
    kind: DataType
    values: tuple[Any, ...]
    homes: tuple[str, ...] = EVERYWHERE


def _zone(hours: float) -> dt.timezone:
    return dt.timezone(dt.timedelta(hours=hours))


def _integer(name: str, low: int, high: int, homes: tuple[str, ...]) -> Case:
    return Case(name, DataType(name), (low, high, 0, None), homes)


FIRST, LAST = dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59, 999999)  # noqa: DTZ001
UNSIGNED = ("duckdb", "mysql", "parquet")

CASES = (
    _integer("tinyint", -(2**7), 2**7 - 1, ("duckdb", "sqlite", "mysql", "parquet", "delta", "orc")),
    _integer("smallint", -(2**15), 2**15 - 1, EVERYWHERE),
    _integer("integer", -(2**31), 2**31 - 1, EVERYWHERE),
    _integer("bigint", -(2**63), 2**63 - 1, EVERYWHERE),
    _integer("utinyint", 0, 2**8 - 1, UNSIGNED),
    _integer("usmallint", 0, 2**16 - 1, UNSIGNED),
    _integer("uinteger", 0, 2**32 - 1, UNSIGNED),
    Case("ubigint", DataType("ubigint"), (0, 2**63 - 1, 2**64 - 1, None), UNSIGNED),
    Case(
        "float",
        DataType("float"),
        (1.5, -0.0, math.inf, -math.inf, math.nan, None),
        ("postgres", "duckdb", "parquet", "delta", "orc"),
    ),
    Case(
        "double",
        DataType("double"),
        (0.1, -0.0, 5e-324, 1.7976931348623157e308, math.inf, -math.inf, math.nan, None),
        ("postgres", "duckdb", "parquet", "delta", "orc"),
    ),
    Case("mysql_double", DataType("double"), (0.1, 5e-324, 1.7976931348623157e308, None), ("mysql",)),
    Case("sqlite_double", DataType("double"), (0.1, 5e-324, math.inf, -math.inf, None), ("sqlite",)),
    Case(
        "numeric_38_10",
        DataType("numeric", precision=38, scale=10),
        (Decimal("9999999999999999999999999999.9999999999"), Decimal("-0.0000000001"), Decimal(0), None),
    ),
    Case(
        "numeric_38_0", DataType("numeric", precision=38, scale=0), (Decimal("9" * 38), Decimal("-" + "9" * 38), None)
    ),
    Case("numeric_10_2", DataType("numeric", precision=10, scale=2), (Decimal("-99999999.99"), Decimal("0.10"), None)),
    Case(
        "numeric_76_20",
        DataType("numeric", precision=76, scale=20),
        (Decimal("9" * 56 + "." + "9" * 20), None),
        ("postgres", "parquet"),
    ),
    Case(
        "numeric_65_30",
        DataType("numeric", precision=65, scale=30),
        (Decimal("-" + "9" * 35 + "." + "9" * 30), Decimal("1e-30"), None),
        ("mysql",),
    ),
    Case("numeric", DataType("numeric"), (Decimal("1e100"), Decimal("1e-100"), Decimal("NaN"), None), ("postgres",)),
    Case("boolean", DataType("boolean"), (True, False, None)),
    Case(
        "text",
        DataType("text"),
        (
            "",
            "NULL",
            "null",
            "\\N",
            "é😀\u202e\u202e日本",
            'it\'s "quoted" \\ back\\slash',
            "line\nbreak\r\n\ttab",
            " spaces ",
            "a,b;c|d",
            None,
        ),
    ),
    Case("text_1mb", DataType("text"), (MEGABYTE, None)),
    Case("text_nul", DataType("text"), ("a\0b",), ("duckdb", "sqlite", "mysql", "parquet", "delta", "orc")),
    Case("string", DataType("string", length=5), ("", "12345", "😀é日本語", None), ("postgres", "sqlite", "mysql")),
    Case(
        "json",
        DataType("json"),
        ('{"b": 1, "a": [2, null, "x\\"y"]}', "null", "12345678901234567890.5", None),
        DATABASES,
    ),
    Case("jsonb", DataType("jsonb"), ('{"a": {"b": "😀"}}', "[]", None), ("postgres", "sqlite")),
    Case("uuid", DataType("uuid"), (str(uuid.UUID(int=0)), "6b8e2b2e-8e4f-4e53-9a3a-0d6f5b0c1a2b", None), DATABASES),
    Case("bytes", DataType("bytes"), (b"", b"\x00\xff\\x'\"", bytes(range(256)), None)),
    Case("date", DataType("date"), (dt.date(1, 1, 1), dt.date(9999, 12, 31), dt.date(2024, 2, 29), None)),
    Case("time", DataType("time"), (dt.time(0), dt.time(23, 59, 59, 999999), None), (*DATABASES, "parquet")),
    Case("timestamp", DataType("timestamp"), (FIRST, LAST, dt.datetime(2024, 3, 31, 2, 30), None), ANY_YEAR),  # noqa: DTZ001
    Case(
        "timestamptz",
        DataType("timestamptz"),
        (
            dt.datetime(2024, 10, 27, 2, 30, 0, 1, _zone(2)),
            dt.datetime(2024, 10, 27, 2, 30, 0, 1, _zone(1)),
            dt.datetime(1970, 1, 1, tzinfo=_zone(-9.5)),
            LAST.replace(tzinfo=dt.UTC),
            FIRST.replace(tzinfo=dt.UTC),
            None,
        ),
        ANY_YEAR,
    ),
    Case(
        "timestamptz_ns",
        DataType("timestamptz", precision=9),
        (dt.datetime(1969, 12, 31, 23, 59, 59, 999999, dt.UTC), dt.datetime(2262, 1, 1, tzinfo=dt.UTC), None),
        ("orc",),
    ),
    Case(
        "interval",
        DataType("interval"),
        (Interval(14, -3, 14_706_789_000_000), Interval(0, 30, 0), Interval(0, 0, 0), None),
        SQL,
    ),
    Case(
        "array_integer",
        DataType("array", item=DataType("integer")),
        ([1, None, -3], [], None),
        ("postgres", "duckdb", "parquet", "delta", "orc"),
    ),
    Case(
        "array_text",
        DataType("array", item=DataType("text")),
        (["", 'a"b', "c,d", "{e}", "\\", "NULL", None, "😀\n"], [], None),
        ("postgres", "duckdb", "parquet", "delta", "orc"),
    ),
    Case(
        "struct",
        DataType("struct", fields=(("x", DataType("integer")), ("y z", DataType("text")))),
        ({"x": 1, "y z": "é"}, {"x": None, "y z": None}, None),
        ("duckdb", "parquet", "delta", "orc"),
    ),
    Case(
        "map",
        DataType("map", key=DataType("text"), item=DataType("integer")),
        ([("a", 1), ("b", None)], [], None),
        ("parquet", "delta", "orc"),
    ),
    Case(
        "nanoseconds",
        DataType("timestamp", precision=9),
        (dt.datetime(2024, 1, 1, 0, 0, 0, 1), None),  # noqa: DTZ001
        ("duckdb", "sqlite", "parquet", "orc"),
    ),
)


def cases_of(system: str) -> list[Case]:
    """The columns that a system has types for."""
    return [case for case in CASES if system in case.homes]


NATIVE: dict[str, tuple[tuple[str, str], ...]] = {
    "postgres": (
        ("numeric", "'Infinity'"), ("numeric", "'NaN'"), ("timestamp", "'infinity'"), ("timestamptz", "'-infinity'"),
        ("date", "'infinity'"), ("date", "'0044-03-15 BC'"), ("timestamptz", "'0044-03-15 12:00:00+00 BC'"),
        ("inet", "'10.0.0.1/8'"), ("int4range", "'[1,5)'"), ("timetz", "'04:05:06+02'"), ("point", "'(1,2)'"),
        ("bit(5)", "'10101'"), ("money", "'12.34'"), ("xml", "'<a/>'"), ("char(4)", "'ab'"),
        ("int[][]", "'{{1,2},{3,4}}'"), ("time", "'24:00'"), ("macaddr", "'08:00:2b:01:02:03'"), ("tsvector", "'a b'"),
        ("interval", "'1 mon -1 day 00:00:00.000001'"), ("timestamp(3)", "'2024-01-01 00:00:00.123'"),
        ("daterange", "'[2024-01-01,2024-02-01)'"), ("cidr", "'10.0.0.0/8'"), ("oid", "'4294967295'"), ("name", "'n'"),
    ),
    "mysql": (
        ("tinyint(1)", "1"), ("tinyint(1)", "2"), ("mediumint", "-8388608"), ("mediumint unsigned", "16777215"),
        ("decimal(10,2) unsigned", "12.50"), ("float", "0.1"), ("float", "3.4028234e38"), ("bit(1)", "b'1'"),
        ("bit(64)", "18446744073709551615"), ("enum('a','b''c')", "'b''c'"), ("set('x','y','z')", "'x,z'"),
        ("year", "1999"), ("year", "0"), ("char(4)", "'ab'"), ("binary(4)", "x'00ff'"), ("varbinary(4)", "x'00ff'"),
        ("time", "'838:59:59'"), ("time(3)", "'-00:00:01.500'"), ("time(2)", "'12:30:00.25'"),
        ("datetime(3)", "'2024-01-01 00:00:00.123'"),
        ("timestamp(6) NULL", "'2024-03-31 02:30:00.123456'"), ("date", "'0000-00-00'"), ("date", "'2024-02-00'"),
        ("datetime", "'0000-00-00 00:00:00'"), ("tinytext", "'a '"), ("mediumblob", "x'00'"), ("inet6", "'::1'"),
        ("uuid", "'6b8e2b2e-8e4f-4e53-9a3a-0d6f5b0c1a2b'"), ("varchar(9) CHARACTER SET latin1", "'größe'"),
        ("decimal(65,30)", "0.000000000000000000000000000001"), ("double", "-0e0"), ("text", "'A\0b'"),
    ),
    "duckdb": (
        ("HUGEINT", "'170141183460469231731687303715884105727'"),
        ("UHUGEINT", "'340282366920938463463374607431768211455'"),
        ("ENUM('a', 'b''c')", "'b''c'"), ("BIT", "'10101'"), ("TIME WITH TIME ZONE", "'12:00:00+02'"),
        ("TIMESTAMP_NS", "'2024-01-01 00:00:00.123456789'"), ("TIMESTAMP_S", "'2024-01-01 00:00:00'"),
        ("INTEGER[2]", "[1, 2]"), ("INTEGER[][]", "[[1], []]"), ("MAP(VARCHAR, INTEGER)", "MAP {'a': 1}"),
        ("TIMESTAMP", "'290309-12-22 (BC) 00:00:00'"), ("TIMESTAMP", "'infinity'"), ("DATE", "'infinity'"),
    ),
    "sqlite": (
        ("INTEGER", "9223372036854775807"), ("REAL", "9e999"), ("REAL", "0.1"), ("TEXT", "'12abc'"),
        ("NUMERIC", "'0.1'"),
        ("BLOB", "x'00ff'"), ("DATETIME", "'2024-01-01 12:00:00'"), ("", "'untyped'"), ("VARCHAR(3)", "'abc'"),
        ("DECIMAL(10,2)", "12.5"), ("BOOLEAN", "1"), ("JSON", "'{\"a\": 1}'"),
    ),
}  # fmt: skip
"""Types and values that one system alone has: declared type and literal. From the system to itself nothing changes."""
