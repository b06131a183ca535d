"""Types and values: read exactly or refused by column and row, written exactly or refused before they are changed."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb.backends.mysql import BACKEND
from ematix_nb.connections.kinds import MySQLConnection
from ematix_nb.declare.data_types import BOOLEAN, BYTES, DOUBLE, TEXT, TIMESTAMP, TIMESTAMPTZ, UUID, DataType, to_arrow
from ematix_nb.declare.spec import Column, TableRef
from ematix_nb.errors import DataError, SqlError

if TYPE_CHECKING:
    from ematix_nb.backends.mysql.io import MySQLSession

T = TableRef(None, "t")


def read(session: MySQLSession, sql: str) -> list[dict[str, Any]]:
    """The rows of a query, through Arrow."""
    return [row for batch in session.read(sql, session.describe(sql)) for row in batch.to_pylist()]


def kinds(session: MySQLSession, sql: str) -> dict[str, str]:
    """The types of a query's columns."""
    return {column.name: str(column.type) for column in session.describe(sql)}


def write(session: MySQLSession, kind: DataType, values: list[Any]) -> int:
    """Write one column `v` of the table `t`."""
    import pyarrow as pa

    batch = pa.record_batch([pa.array(values, to_arrow(kind))], names=["v"])
    return session.write(T, [Column("v", kind)], [batch])


@pytest.mark.parametrize(
    ("declared", "literal", "value", "kind"),
    [
        ("tinyint(1)", "1", True, "tinyint(1)"),
        ("tinyint unsigned", "255", 255, "utinyint"),
        ("mediumint", "-8388608", -8388608, "mediumint"),
        ("bigint unsigned", "18446744073709551615", 2**64 - 1, "ubigint"),
        ("decimal(65,30)", "-0.000000000000000000000000000001", Decimal("-1e-30"), "numeric(65,30)"),
        ("decimal(10,2) unsigned", "99999999.99", Decimal("99999999.99"), "decimal(10,2) unsigned"),
        ("float", "0.1", 0.10000000149011612, "float"),
        ("double", "5e-324", 5e-324, "double"),
        ("bit(64)", "b'1000000000000000000000000000000000000000000000000000000000000001'", 2**63 + 1, "bit(64)"),
        ("year", "2155", 2155, "year"),
        ("date", "'0001-01-01'", dt.date(1, 1, 1), "date"),
        ("time(3)", "'23:59:59.999'", dt.time(23, 59, 59, 999000), "time(3)"),
        ("datetime", "'9999-12-31 23:59:59'", dt.datetime(9999, 12, 31, 23, 59, 59), "timestamp(0)"),  # noqa: DTZ001
        (
            "timestamp(6) null",
            "'2038-01-19 03:14:07.9'",
            dt.datetime(2038, 1, 19, 3, 14, 7, 900000, dt.UTC),
            "timestamptz",
        ),
        ("enum('a','b''c')", "'b''c'", "b'c", "enum('a','b''c')"),
        ("set('x','y')", "'y,x'", "x,y", "set('x','y')"),
        ("char(5)", "'ab'", "ab", "char(5)"),
        ("varchar(5) character set latin1", "'größe'", "größe", "string(5)"),
        ("binary(3)", "x'00ff'", b"\x00\xff\x00", "binary(3)"),
        ("varbinary(3)", "x'00ff'", b"\x00\xff", "bytes"),
        ("json", "'{\"a\": 1.10}'", '{"a": 1.10}', "json"),
        ("uuid", "'6B8E2b2e-8e4f-4e53-9a3a-0d6f5b0c1a2b'", "6b8e2b2e-8e4f-4e53-9a3a-0d6f5b0c1a2b", "uuid"),
        ("inet6", "'::1'", "::1", "inet6"),
        ("text", "'😀\\0'", "😀\0", "text"),
    ],
)
def test_columns_are_read_as_what_they_are(
    session: MySQLSession, declared: str, literal: str, value: Any, kind: str
) -> None:
    session.execute(f"CREATE TABLE t (v {declared}) DEFAULT CHARACTER SET utf8mb4")
    session.execute(f"INSERT INTO t VALUES ({literal}), (NULL)")
    assert kinds(session, "SELECT v FROM t") == {"v": kind}
    assert [row["v"] for row in read(session, "SELECT v FROM t")] == [value, None]


@pytest.mark.parametrize(
    ("declared", "literal", "message", "hint"),
    [
        ("date", "'0000-00-00'", "column `v` row 2: `0000-00-00` cannot be read as date", "a zero date is no date"),
        ("date", "'2024-02-00'", "`2024-02-00` cannot be read as date", "NULLIF"),
        ("datetime", "'0000-00-00'", "cannot be read as timestamp", "a zero date is no date"),
        ("time", "'24:00:00'", "`24:00:00` cannot be read as time", "TIME_TO_SEC"),
        ("time", "'-00:00:01'", "`-00:00:01` cannot be read as time", "TIME_TO_SEC"),
        ("time", "'838:59:59'", "`838:59:59` cannot be read as time", "TIME_TO_SEC"),
        ("tinyint(1)", "2", "`2` cannot be read as boolean", "AS SIGNED"),
        ("tinyint(1)", "-1", "`-1` cannot be read as boolean", "AS SIGNED"),
    ],
)
def test_values_that_no_type_holds_are_refused(
    session: MySQLSession, declared: str, literal: str, message: str, hint: str
) -> None:
    session.execute(f"CREATE TABLE t (v {declared})")
    session.execute(f"INSERT INTO t VALUES (NULL), ({literal}), (NULL)")
    with pytest.raises(DataError, match=message) as caught:
        read(session, "SELECT v FROM t")
    assert hint in caught.value.hint
    assert session.fetch("SELECT 1") == [(1,)]


def test_zero_dates_are_null_when_asked(session: MySQLSession, mysql_url: str) -> None:
    session.execute("CREATE TABLE t (d DATE, t DATETIME(6), v VARCHAR(20))")
    session.execute("INSERT INTO t VALUES ('0000-00-00', '0000-00-00', '0000-00-00'), ('2024-01-01', NULL, NULL)")
    lenient = BACKEND.open(MySQLConnection(name="l", url=mysql_url, zero_dates="null"), read_only=True)
    assert read(lenient, "SELECT * FROM t") == [
        {"d": None, "t": None, "v": "0000-00-00"},
        {"d": dt.date(2024, 1, 1), "t": None, "v": None},
    ]
    lenient.close()
    assert read(session, "SELECT NULLIF(d, 0) AS d FROM t") == [{"d": None}, {"d": dt.date(2024, 1, 1)}]


def test_a_geometry_is_refused_by_name(session: MySQLSession) -> None:
    session.execute("CREATE TABLE t (g POINT)")
    with pytest.raises(SqlError, match="column `g` is a geometry") as caught:
        session.describe("SELECT g FROM t")
    assert "ST_AsText(`g`)" in caught.value.hint
    assert kinds(session, "SELECT ST_AsText(g) AS g FROM t") == {"g": "text"}


def test_types_are_followed_to_the_table_they_come_from(session: MySQLSession) -> None:
    columns = [Column("id", UUID), Column("at", TIMESTAMPTZ), Column("ok", BOOLEAN), Column("j", DataType("json"))]
    session.execute(session.dialect.create_table(T, columns))
    session.execute("CREATE TABLE at (at DATETIME(6))")
    session.execute("CREATE VIEW v AS SELECT * FROM t")
    full = {"id": "uuid", "at": "timestamptz", "ok": "boolean", "j": "json"}
    assert kinds(session, "SELECT * FROM t") == full
    assert kinds(session, "SELECT * FROM (SELECT * FROM t WHERE ok) AS q") == full
    nested = (
        "WITH a AS (SELECT * FROM t), b AS (SELECT id, at AS moment FROM a) SELECT x.moment FROM (SELECT * FROM b) AS x"
    )
    assert kinds(session, nested) == {"moment": "timestamptz"}
    ranked = "SELECT at FROM (SELECT t.*, row_number() OVER (PARTITION BY id ORDER BY at) AS r FROM t) AS q WHERE r = 1"
    assert kinds(session, ranked) == {"at": "timestamptz"}
    # an alias with the name of another table is not that table
    assert kinds(session, "SELECT at.at FROM (SELECT * FROM t) AS at") == {"at": "timestamptz"}
    assert kinds(session, "SELECT at FROM t UNION SELECT at FROM at") == {"at": "timestamp"}
    assert kinds(session, "SELECT CONCAT(id, 'x') AS id, NOT ok AS n, MAX(at) AS at FROM t") == {
        "id": "text", "n": "integer", "at": "timestamp",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("declared", "kind", "value", "message"),
    [
        ("double", DOUBLE, float("nan"), "neither NaN nor infinity"),
        ("double", DOUBLE, float("-inf"), "neither NaN nor infinity"),
        ("datetime(3)", DataType("timestamp", precision=3), dt.datetime(2024, 1, 1, 0, 0, 0, 1), "3 digits"),  # noqa: DTZ001
        ("char(4)", DataType("string", length=4, native="char(4)", system="mysql"), "ab ", "drops blanks"),
        ("enum('a','b')", DataType("text", native="enum('a','b')", system="mysql"), "A", "letter for letter"),
        ("enum('a','b')", DataType("text", native="enum('a','b')", system="mysql"), "", "letter for letter"),
        ("set('a','b')", DataType("text", native="set('a','b')", system="mysql"), "b,a", "in its own order"),
        ("year", DataType("smallint", native="year", system="mysql"), 70, "1901 to 2155"),
        ("varchar(3)", DataType("string", length=3), "abc ", "longer than 3 characters"),
        ("varbinary(3)", DataType("bytes", length=3), b"abcd", "longer than 3 bytes"),
        ("text character set latin1", TEXT, "日本", "Incorrect string value"),
        ("json", DataType("json"), "{", "CONSTRAINT"),
        ("timestamp(6) null", TIMESTAMPTZ, dt.datetime(2100, 1, 1, tzinfo=dt.UTC), "[Oo]ut of range|Incorrect"),
        ("text not null", TEXT, None, "NULL supplied to NOT NULL column|cannot be null"),
        ("tinyint", DataType("bigint"), 128, "Out of range value"),
    ],
)
@pytest.mark.parametrize("local", [True, False])
def test_values_that_the_column_would_change_are_refused(
    session: MySQLSession,
    declared: str,
    kind: DataType,
    value: Any,
    message: str,
    local: bool,  # noqa: FBT001
) -> None:
    session.loads_local = local
    session.execute(f"CREATE TABLE t (v {declared}) DEFAULT CHARACTER SET utf8mb4")
    session.begin()
    good = {"text": "a", "string": "b", "bytes": b"b", "json": "1"}.get(kind.kind)
    with pytest.raises(DataError, match=message) as caught:
        write(session, kind, ([good] if good and not kind.native else []) + [value])
    assert "`v`" in str(caught.value) or "t.v" in str(caught.value) or "'v'" in str(caught.value)
    session.rollback()
    assert session.fetch("SELECT count(*) FROM t") == [(0,)]


ODD = ["", "\\N", "NULL", "\\", "\\\\", "a\tb", "line\nbreak\r\n", "\0", "'", '"', "é😀", " ", "x" * 2_000_000, None]


@pytest.mark.parametrize("local", [True, False])
def test_odd_texts_and_bytes_arrive_as_they_are(session: MySQLSession, local: bool) -> None:  # noqa: FBT001
    session.loads_local = local
    for kind, values in ((TEXT, ODD), (BYTES, [b"", b"\x00\xff\\N\t\n'", bytes(range(256)), None])):
        session.execute("DROP TABLE IF EXISTS t")
        session.execute(session.dialect.create_table(T, [Column("v", kind)]))
        session.begin()
        assert write(session, kind, values) == len(values)
        session.commit()
        assert [row["v"] for row in read(session, "SELECT v FROM t")] == values


@pytest.mark.parametrize("local", [True, False])
def test_bits_years_and_sets_can_be_written(session: MySQLSession, local: bool) -> None:  # noqa: FBT001
    session.loads_local = local
    for declared, kind, values in (
        ("bit(9)", DataType("ubigint", native="bit(9)", system="mysql"), [0, 511, None]),
        ("year", DataType("smallint", native="year", system="mysql"), [0, 1901, 2155, None]),
        ("set('a','b')", DataType("text", native="set('a','b')", system="mysql"), ["", "a", "a,b", None]),
        ("float", DataType("float", native="float", system="mysql"), [0.5, None]),
    ):
        session.execute("DROP TABLE IF EXISTS t")
        session.execute(f"CREATE TABLE t (v {declared})")
        assert write(session, kind, values) == len(values)
        assert [row["v"] for row in read(session, "SELECT v FROM t")] == values


def test_literals_mean_the_same_under_every_sql_mode(session: MySQLSession) -> None:
    texts = ["it's", "a\\b", "tab\t", "\0", "é😀", "%s ?1", '"', "`"]
    for mode in ("STRICT_ALL_TABLES", "STRICT_ALL_TABLES,NO_BACKSLASH_ESCAPES", "ANSI"):
        session.execute(f"SET sql_mode = '{mode}'")
        for text in texts:
            assert session.fetch(f"SELECT {session.dialect.literal(text, TEXT)}") == [(text,)]
    moment = dt.datetime(2024, 3, 31, 2, 30, tzinfo=dt.timezone(dt.timedelta(hours=2)))
    naive = dt.datetime(2024, 3, 31, 0, 30)  # noqa: DTZ001
    assert session.fetch(f"SELECT {session.dialect.literal(moment, TIMESTAMPTZ)}") == [(naive,)]
    assert session.fetch(f"SELECT {session.dialect.literal(naive, TIMESTAMP)}") == [(naive,)]
