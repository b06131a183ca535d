"""Every value arrives as it was, or is refused by name."""

# ruff: noqa: DTZ001, DTZ901, E501 - columns without a zone hold naive values; one line a type reads best

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from ematix_nb.declare.data_types import BIGINT, DOUBLE, TEXT, TIMESTAMP, TIMESTAMPTZ, DataType, to_arrow
from ematix_nb.declare.spec import Column, TableRef
from ematix_nb.errors import DataError

if TYPE_CHECKING:
    from ematix_nb.backends.postgres.io import PostgresSession

COPY = TableRef(None, "copy")
UTC = dt.UTC

EDGES: dict[str, tuple[str, list[str], list[Any]]] = {
    "smallint": ("smallint", ["-32768", "32767"], [-32768, 32767]),
    "integer": ("integer", ["-2147483648", "2147483647"], [-(2**31), 2**31 - 1]),
    "bigint": ("bigint", ["-9223372036854775808", "9223372036854775807"], [-(2**63), 2**63 - 1]),
    "real": ("float", ["3.4028235e38", "1e-45", "-Infinity"], [3.4028234663852886e38, 1.401298464324817e-45, float("-inf")]),
    "double precision": ("double", ["5e-324", "1.7976931348623157e308", "0.1"], [5e-324, 1.7976931348623157e308, 0.1]),
    "numeric(38,10)": ("numeric", ["9999999999999999999999999999.9999999999"], [Decimal("9999999999999999999999999999.9999999999")]),
    "numeric(50,2)": ("numeric", ["123456789012345678901234567890123456789012345678.25"], [Decimal("123456789012345678901234567890123456789012345678.25")]),
    "numeric": ("numeric", ["1.500", "NaN", "1e-30"], ["1.500", "NaN", "0.000000000000000000000000000001"]),
    "boolean": ("boolean", ["t", "f"], [True, False]),
    "text": ("text", ["", "\\N", "\\.", 'a"b', "a'b,c", "\ttab", "cr\rlf\r\n", "😀", "\ufeffbom", " ", "NULL"], ["", "\\N", "\\.", 'a"b', "a'b,c", "\ttab", "cr\rlf\r\n", "😀", "\ufeffbom", " ", "NULL"]),
    "varchar(3)": ("string", ["äöü"], ["äöü"]),
    "char(4)": ("string", ["ab"], ["ab  "]),
    "json": ("json", ['{"b":1,  "a":2, "a":3}'], ['{"b":1,  "a":2, "a":3}']),
    "jsonb": ("jsonb", ['{"n": 12345678901234567890.10}'], ['{"n": 12345678901234567890.10}']),
    "uuid": ("uuid", ["6b8e2b2e-8e4f-4e53-9a3a-0d6f5b0c1a2b"], ["6b8e2b2e-8e4f-4e53-9a3a-0d6f5b0c1a2b"]),
    "bytea": ("bytes", ["\\x", "\\x00ff5c0a"], [b"", b"\x00\xff\\\n"]),
    "date": ("date", ["0001-01-01", "9999-12-31"], [dt.date.min, dt.date.max]),
    "time": ("time", ["00:00:00", "23:59:59.999999"], [dt.time(), dt.time.max]),
    "timestamp": ("timestamp", ["0001-01-01", "9999-12-31 23:59:59.999999"], [dt.datetime.min, dt.datetime.max]),
    "timestamptz": ("timestamptz", ["2024-03-31 00:30:00.000001+02"], [dt.datetime(2024, 3, 30, 22, 30, 0, 1, tzinfo=UTC)]),
    "interval": ("interval", ["14 mons -3 days -00:00:00.000001"], [pa.MonthDayNano([14, -3, -1000])]),
    "integer[]": ("array", ["{1,NULL,3}", "{}"], [[1, None, 3], []]),
    "text[]": ("array", ['{"a,b",NULL,"NULL","c\\"\\\\d",""}'], [["a,b", None, "NULL", 'c"\\d', ""]]),
    "char(3)[]": ("array", ["{a}"], [["a  "]]),
    "numeric(10,2)[]": ("array", ["{1.5,NULL}"], [[Decimal("1.50"), None]]),
    "bytea[]": ("array", ['{"\\\\x00ff",NULL}'], [[b"\x00\xff", None]]),
    "timestamptz[]": ("array", ['{"2024-01-01 00:00:00+00"}'], [[dt.datetime(2024, 1, 1, tzinfo=UTC)]]),
    "uuid[]": ("array", ["{6b8e2b2e-8e4f-4e53-9a3a-0d6f5b0c1a2b}"], [["6b8e2b2e-8e4f-4e53-9a3a-0d6f5b0c1a2b"]]),
    "interval[]": ("array", ['{"1 day"}'], [["1 day"]]),
    "inet": ("text", ["10.0.0.1/24"], ["10.0.0.1/24"]),
    "int4range": ("text", ["[1,5)"], ["[1,5)"]),
    "timetz": ("text", ["12:00:00+02"], ["12:00:00+02"]),
    "money": ("text", ["$1,234.50"], ["$1,234.50"]),
    "bit(4)": ("text", ["1010"], ["1010"]),
    "xml": ("text", ["<a>x</a>"], ["<a>x</a>"]),
    "oid": ("text", ["4294967295"], ["4294967295"]),
    "point": ("text", ["(1,2)"], ["(1,2)"]),
}  # fmt: skip


@pytest.mark.parametrize("native", EDGES)
def test_round_trip(session: PostgresSession, native: str) -> None:
    kind, texts, values = EDGES[native]
    session.execute(f"CREATE TABLE source (id serial, v {native})")
    session.execute(f"CREATE TABLE copy (v {native})")
    for text in [*texts, None]:
        session.execute(f"INSERT INTO source (v) VALUES (CAST(CAST($1 AS text) AS {native}))", [text])
    query = "SELECT v FROM source ORDER BY id"
    columns = session.describe(query)
    batches = list(session.read(query, columns))
    assert columns[0].type.kind == kind
    assert [value for batch in batches for value in batch.column(0).to_pylist()] == [*values, None]
    assert {batch.column(0).type for batch in batches} == {to_arrow(columns[0].type)}
    assert session.write(COPY, columns, batches) == len(texts) + 1
    same = "SELECT count(*) FROM (SELECT v::text FROM source EXCEPT ALL SELECT v::text FROM copy) AS x"
    assert session.fetch(same) == [(0,)]
    info = session.table(COPY)
    assert info is not None
    assert info.columns[0].type == columns[0].type
    assert session.dialect.store(columns[0].type).type == columns[0].type
    session.execute(session.dialect.create_table(TableRef(None, "made"), columns))
    made = session.table(TableRef(None, "made"))
    assert made is not None
    assert made.columns == info.columns


def test_binary_route_over_several_batches(session: PostgresSession) -> None:
    query = (
        "SELECT g AS i, g::numeric(12,2) AS n, 'row' || chr(10) || g AS t, gen_random_uuid() AS u,"
        " CASE WHEN g % 3 > 0 THEN interval '1 mon' * g END AS v, CASE WHEN g % 2 = 0 THEN '\\x0102'::bytea END AS b,"
        " CASE WHEN g % 5 > 0 THEN gen_random_uuid() END AS w, array[g, NULL] AS a, jsonb_build_object('g', g) AS j"
        " FROM generate_series(1, 30000) AS g"
    )
    session.execute(f"CREATE TABLE source AS {query}")
    columns = session.describe("SELECT * FROM source")
    session.execute(session.dialect.create_table(COPY, columns))
    assert session.write(COPY, columns, session_batches(session, columns)) == 30_000
    same = "SELECT count(*) FROM (SELECT s::text FROM source s EXCEPT ALL SELECT c::text FROM copy c) AS x"
    assert session.fetch(same) == [(0,)]


def session_batches(session: PostgresSession, columns: tuple[Column, ...]) -> list[pa.RecordBatch]:
    batches = list(session.read("SELECT * FROM source", columns))
    assert len(batches) > 1
    return batches


def test_large_values(session: PostgresSession) -> None:
    query = "SELECT repeat('ä\n\"', 400000) AS t, NULL::text AS n UNION ALL SELECT '', 'x'"
    columns = session.describe(query)
    batches = list(session.read(query, columns))
    assert [len(v) for batch in batches for v in batch.column(0).to_pylist()] == [1_200_000, 0]
    session.execute(session.dialect.create_table(COPY, columns))
    assert session.write(COPY, columns, batches) == 2
    assert session.fetch("SELECT length(t) FROM copy ORDER BY 1") == [(0,), (1_200_000,)]


@pytest.mark.parametrize(
    ("native", "value", "message"),
    [
        ("date", "infinity", "column `v` row 7: `infinity` cannot be read as date"),
        ("date", "12024-01-01", "row 7: `12024-01-01` cannot be read"),
        ("timestamp", "0044-03-15 BC", "row 7: `0044-03-15 00:00:00 BC`"),
        ("numeric(5,2)", "NaN", "row 7: `NaN` cannot be read as numeric"),
        ("numeric(50,2)", "NaN", "row 7: `NaN` cannot be read as numeric"),
        ("time", "24:00", "row 7: `24:00:00` cannot be read as time"),
        ("int[]", "{{1,2},{3,4}}", r"row 7: `\{\{1,2\},\{3,4\}\}` cannot be read"),
        ("int[]", "[0:1]={1,2}", r"row 7: `\[0:1\]=\{1,2\}` cannot be read"),
        ("interval", "2562047788 hours", "row 7: `9223372036800000000 microseconds`"),
    ],
)
def test_unreadable_values_are_named(session: PostgresSession, native: str, value: str, message: str) -> None:
    session.execute(f"CREATE TABLE source (id integer, v {native})")
    session.execute(
        f"INSERT INTO source SELECT g, CASE WHEN g = 7 THEN CAST('{value}' AS {native}) END FROM generate_series(1, 9) AS g"
    )
    query = "SELECT id, v FROM source ORDER BY id"
    with pytest.raises(DataError, match=message) as caught:
        list(session.read(query, session.describe(query)))
    assert 'CAST("v" AS text)' in caught.value.hint


WRONG: list[tuple[str, DataType, list[Any], str]] = [
    ("integer", BIGINT, [1, 2**31], "column `v` row 2: `2147483648` does not fit integer"),
    ("real", DOUBLE, [0.5, 0.1], "row 2: `0.1` does not fit float"),
    ("real", DOUBLE, [1e300], "row 1: `1e\\+300` does not fit float"),
    ("numeric(5,2)", TEXT, ["1.5", "1.567"], "row 2: `1.567` does not fit"),
    ("numeric(5,2)", DOUBLE, [1.5], "binary fraction"),
    ("varchar(3)", TEXT, ["abc", "abc "], "row 2: `abc ` does not fit string.* longer than 3"),
    ("timestamp(3)", TIMESTAMP, [dt.datetime(2020, 1, 1, 0, 0, 0, 1)], "more than 3 digits"),
    ("timestamptz", TIMESTAMP, [dt.datetime(2020, 1, 1)], "has no time zone"),
    ("timestamp", TIMESTAMPTZ, [dt.datetime(2020, 1, 1, tzinfo=UTC)], "has a time zone"),
    ("timestamp", DataType("timestamp", precision=9), [1_000_000_001], "would lose data"),
    ("text", TEXT, ["a", "a\0b"], r"row 2: `a\\x00b` does not fit text: holds a NUL"),
    ("json", TEXT, ["{}", "{"], "column `v` row 2: invalid input syntax for type json"),
    ("inet", TEXT, ["::1", "a\nb"], "column `v` row 2: invalid input syntax for type inet"),
    ("uuid", TEXT, ["x"], "is not a UUID"),
    ("money", TEXT, ["1.234"], "is not an amount of money"),
    ("integer", TEXT, [" 1"], "row 1: ` 1` does not fit integer"),
    ("integer", DataType("boolean"), [True], "bool is not turned into int32"),
    ("integer NOT NULL", BIGINT, [1, None], "column `v` row 2: null value"),
    ("interval", DataType("interval"), [pa.MonthDayNano([0, 0, 1])], "below a microsecond"),
    ("jsonb", TEXT, ['"\\u0000"'], "row 1: unsupported Unicode escape"),
]  # fmt: skip


@pytest.mark.parametrize(("native", "kind", "values", "message"), WRONG)
def test_wrong_values_are_named(
    session: PostgresSession, native: str, kind: DataType, values: list[Any], message: str
) -> None:
    session.execute(f"CREATE TABLE copy (v {native})")
    batch = pa.record_batch([pa.array(values, to_arrow(kind))], names=["v"])
    with pytest.raises(DataError, match=message):
        session.write(COPY, [Column("v", kind)], [batch])
    assert session.fetch("SELECT count(*) FROM copy") == [(0,)]


def test_rows_are_counted_over_batches(session: PostgresSession) -> None:
    session.execute("CREATE TABLE copy (v integer)")
    good = pa.record_batch([pa.array([1] * 1000, pa.int64())], names=["v"])
    bad = pa.record_batch([pa.array([1, 2**40], pa.int64())], names=["v"])
    with pytest.raises(DataError, match="row 2002: `1099511627776`"):
        session.write(COPY, [Column("v", BIGINT)], [good, good, bad])


def test_widening_writes(session: PostgresSession) -> None:
    session.execute("CREATE TABLE copy (v numeric)")
    for kind, value in ((DataType("ubigint"), 2**64 - 1), (BIGINT, -(2**63)), (TEXT, "1.50")):
        batch = pa.record_batch([pa.array([value], to_arrow(kind))], names=["v"])
        assert session.write(COPY, [Column("v", kind)], [batch]) == 1
    assert session.fetch("SELECT v::text FROM copy") == [
        ("18446744073709551615",),
        ("-9223372036854775808",),
        ("1.50",),
    ]
