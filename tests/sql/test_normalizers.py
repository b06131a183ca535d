"""Cleaning steps give the same values on PostgreSQL, MariaDB, DuckDB, SQLite and DataFusion.

MySQL's own spelling is by its manual: no server of it is here.
"""

from __future__ import annotations

import datetime as dt
import decimal
import math
import re
import sqlite3
from collections.abc import Callable
from typing import Any

import pytest

from ematix_nb.declare import normalizers as n
from ematix_nb.declare.data_types import BIGINT, BOOLEAN, DOUBLE, TEXT, TIMESTAMP, TIMESTAMPTZ, DataType
from ematix_nb.declare.spec import Column, Normalizer
from ematix_nb.errors import DeclarationError, FlowError
from ematix_nb.sql import sqlite_functions
from ematix_nb.sql.normalizers import ENGINES, compile_normalizers, substitute

NUMERIC = DataType("numeric", precision=10, scale=2)
DATE = DataType("date")
Run = Callable[[str, list[Any], str], list[Any]]
"""Runs an expression over the values of column `v`, of a type of the engine; the results in order."""
TYPES = {
    "text": {"mariadb": "CHAR CHARACTER SET utf8mb4", "duckdb": "VARCHAR", "datafusion": "VARCHAR"},
    "double": {"postgres": "double precision", "sqlite": "REAL"},
    "bigint": {"mariadb": "SIGNED"},
    "timestamp": {"sqlite": "TEXT", "mariadb": "DATETIME(6)"},
    "timestamptz": {"sqlite": "TEXT", "mariadb": "DATETIME(6)"},
}


def _type(engine: str, kind: str) -> str:
    return TYPES.get(kind, {}).get(engine, kind)


def _plain(value: Any) -> Any:
    """A result as every engine gives it: numbers as they are, times as text in UTC."""
    if isinstance(value, dt.datetime):
        value = value.replace(tzinfo=None) if value.tzinfo is None else value.astimezone(dt.UTC)
        return value.isoformat(sep=" ")
    if isinstance(value, dt.date):
        return value.isoformat()
    return format(value, "f") if isinstance(value, decimal.Decimal) else value


def _values(values: list[Any]) -> str:
    rows = ", ".join(f"({number}, {_literal(value)})" for number, value in enumerate(values))
    return f"(VALUES {rows}) AS t(k, w)"


def _select(expression: str, cast: str, values: list[Any]) -> str:
    return f"SELECT {expression} AS r FROM (SELECT k, {cast} AS v FROM {_values(values)}) q ORDER BY k"


def _literal(value: Any) -> str:
    if value is None:
        return "NULL"
    return "'" + str(value).replace("'", "''") + "'"


def _postgres(url: str) -> Run:
    import psycopg

    def run(expression: str, values: list[Any], kind: str) -> list[Any]:
        sql = _select(expression, f"CAST(w AS {_type('postgres', kind)})", values)
        with psycopg.connect(url) as connection:
            connection.execute("SET TimeZone = 'Asia/Tokyo'")
            return [_plain(row[0]) for row in connection.execute(sql.encode())]

    return run


def _duckdb() -> Run:
    import duckdb

    def run(expression: str, values: list[Any], kind: str) -> list[Any]:
        sql = _select(expression, f"CAST(w AS {_type('duckdb', kind)})", values)
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'Asia/Tokyo'")
            return [_plain(value) for value in connection.sql(sql).to_arrow_table().column(0).to_pylist()]

    return run


def _mariadb(url: str) -> Run:
    from ematix_nb.backends.registry import open_session
    from ematix_nb.connections import MySQLConnection

    def run(expression: str, values: list[Any], kind: str) -> list[Any]:
        rows = " UNION ALL ".join(
            f"SELECT {number} AS k, CAST({_mariadb_literal(value, kind)} AS {_type('mariadb', kind)}) AS v"
            for number, value in enumerate(values)
        )
        session = open_session(MySQLConnection(name="my", url=url), read_only=True)
        try:
            return [_plain(row[0]) for row in session.fetch(f"SELECT {expression} FROM ({rows}) q ORDER BY k")]
        finally:
            session.close()

    return run


def _mariadb_literal(value: Any, kind: str) -> str:
    """Its texts know backslashes, and its times no offsets."""
    text = str(value).removesuffix("+00:00") if kind == "timestamptz" else str(value)
    return "NULL" if value is None else _literal(text.replace("\\", "\\\\"))


def _sqlite() -> Run:
    def run(expression: str, values: list[Any], kind: str) -> list[Any]:
        rows = " UNION ALL ".join(
            f"SELECT {number} AS k, CAST({_literal(value)} AS {_type('sqlite', kind)}) AS v"
            for number, value in enumerate(values)
        )
        connection = sqlite3.connect(":memory:")
        sqlite_functions.register(connection)
        found = [row[0] for row in connection.execute(f"SELECT {expression} FROM ({rows}) ORDER BY k")]
        connection.close()
        return found

    return run


def _datafusion() -> Run:
    import datafusion

    arrow = {
        "timestamptz": """arrow_cast(w, 'Timestamp(Microsecond, Some("UTC"))')""",
        "timestamp": "arrow_cast(w, 'Timestamp(Microsecond, None)')",
    }

    def run(expression: str, values: list[Any], kind: str) -> list[Any]:
        cast = arrow.get(kind) or f"CAST(w AS {_type('datafusion', kind)})"
        sql = _select(expression, cast, values)
        batches = datafusion.SessionContext().sql(sql).collect()
        return [_plain(value) for batch in batches for value in batch.column(0).to_pylist()]

    return run


@pytest.fixture(params=sorted(set(ENGINES) - {"mysql"}))
def engine(request: pytest.FixtureRequest) -> tuple[str, Run]:
    makers: dict[str, Callable[[], Run]] = {"duckdb": _duckdb, "sqlite": _sqlite, "datafusion": _datafusion}
    name = request.param
    if name == "mariadb":
        return name, _mariadb(request.getfixturevalue("mysql_url"))
    return (name, makers[name]() if name in makers else _postgres(request.getfixturevalue("pg_url")))


def _same(found: Any, expected: Any) -> bool:
    if isinstance(expected, float) and isinstance(found, float):
        return found == expected or (math.isnan(found) and math.isnan(expected))
    if isinstance(expected, str) and isinstance(found, str) and re.match(r"\d{4}-\d\d-\d\d ", found):
        return found.replace(".000000", "") == expected
    if isinstance(expected, tuple):
        return found in expected
    if isinstance(expected, bool):
        return found is not None and {"true": True, "false": False}.get(found, bool(found)) is expected
    return bool(found == expected)


CASES: list[tuple[str, DataType, list[Normalizer], str, list[Any], list[Any]]] = [
    ("trim", TEXT, [n.trim()], "text", ["  a b ", "\ta", "", None], ["a b", "\ta", "", None]),
    ("lower", TEXT, [n.lower()], "text", ["AbC", "", None], ["abc", "", None]),
    ("upper", TEXT, [n.upper()], "text", ["abC", "日本", None], ["ABC", "日本", None]),
    ("empty_to_null", TEXT, [n.empty_to_null()], "text", ["", " ", "a", None], [None, " ", "a", None]),
    (
        "whitespace_to_null", TEXT, [n.whitespace_to_null()], "text",
        ["", " \t\r\n", " a\n", None], [None, None, "a", None],
    ),
    ("replace", TEXT, [n.replace("'a", "$1")], "text", ["x'a'ay", "", None], ["x$1$1y", "", None]),
    (
        "regex_replace", TEXT, [n.regex_replace("([a-z])([0-9])", r"\2-\1")], "text",
        ["a1b2", "A1", "", None], ["1-a2-b", "A1", "", None],
    ),
    (
        "regex_replace first, no case", TEXT, [n.regex_replace("a", "$&", flags="i")], "text",
        ["xAa", None], ["x$&a", None],
    ),
    ("truncate", TEXT, [n.truncate(2)], "text", ["añb", "a", "", "😀😀😀", None], ["añ", "a", "", "😀😀", None]),
    ("email", TEXT, [n.email_normalize()], "text", [" A@B.Com ", None], ["a@b.com", None]),
    ("phone", TEXT, [n.phone_normalize()], "text", ["+49 (0)30-12", "abc", None], ["+4903012", "", None]),
    (
        "parse_timestamp", TIMESTAMPTZ, [n.parse_timestamp()], "text",
        ["2024-02-29 10:11:12.5", "2024-01-01T10:00:00+05", "2024-01-01T10:00:00+0530", "2024-01-01 10:00:00Z",
         "2024-01-01T10:00:00.123456-08:00", "2024-01-01", "12/31/1999", "2023-02-29", "2024-13-01", "24:00", "", "x",
         "2024-01-01 24:00:00", "0000-01-01", "9999-12-30 23:59:59.999999", "1900-02-29", "1600-02-29", None],
        ["2024-02-29 10:11:12.500000+00:00", "2024-01-01 05:00:00+00:00", "2024-01-01 04:30:00+00:00",
         "2024-01-01 10:00:00+00:00", "2024-01-01 18:00:00.123456+00:00", "2024-01-01 00:00:00+00:00",
         "1999-12-31 00:00:00+00:00", None, None, None, None, None, None, None,
         "9999-12-30 23:59:59.999999+00:00", None,
         "1600-02-29 00:00:00+00:00", None],
    ),
    (
        "parse_timestamp without a zone", TIMESTAMP, [n.parse_timestamp()], "text",
        ["2024-02-29 10:11:12", "2024-01-01T10:00:00+05", None], ["2024-02-29 10:11:12", "2024-01-01 05:00:00", None],
    ),
    (
        "the first format that fits", TIMESTAMPTZ,
        [n.parse_timestamp(formats=["DD.MM.YYYY HH24:MI", "YYYY-DD-MM HH24:MI:SSOF"])], "text",
        ["03.02.2024 10:11", "2024-03-02 00:00:00+00"], ["2024-02-03 10:11:00+00:00", "2024-02-03 00:00:00+00:00"],
    ),
    (
        "parse_timestamp with a default", TIMESTAMPTZ,
        [n.parse_timestamp(on_failure="default", default=dt.datetime(2000, 1, 1, tzinfo=dt.UTC))], "text",
        ["x", None, "2024-01-01"],
        ["2000-01-01 00:00:00+00:00", "2000-01-01 00:00:00+00:00", "2024-01-01 00:00:00+00:00"],
    ),
    (
        "parse_timestamp of a moment", TIMESTAMPTZ, [n.parse_timestamp()], "timestamptz",
        ["2024-01-01 10:00:00+00:00", None], ["2024-01-01 10:00:00+00:00", None],
    ),
    (
        "parse_date", DATE, [n.parse_date()], "text",
        ["2024-02-29", "20231231", "12/31/1999", "2023-02-29", "", None],
        ["2024-02-29", "2023-12-31", "1999-12-31", None, None, None],
    ),
    (
        "strict texts pass", TIMESTAMPTZ, [n.parse_timestamp("YYYY-MM-DD", on_failure="error")], "text",
        ["2024-02-29", None], ["2024-02-29 00:00:00+00:00", None],
    ),
    (
        "to a wall clock", TIMESTAMP, [n.to_timezone("Europe/Berlin")], "timestamptz",
        ["2024-07-01 10:00:00+00:00", "2024-01-01 23:30:00+00:00", None],
        ["2024-07-01 12:00:00", "2024-01-02 00:30:00", None],
    ),
    (
        "text to a wall clock", TIMESTAMP, [n.parse_timestamp(), n.to_timezone("Europe/Berlin")], "text",
        ["2024-07-01T10:00:00Z", None], ["2024-07-01 12:00:00", None],
    ),
    (
        "from a wall clock", TIMESTAMPTZ, [n.to_timezone("Europe/Berlin")], "timestamp",
        ["2024-07-01 12:00:00", None], ["2024-07-01 10:00:00+00:00", None],
    ),
    (
        "a moment stays", TIMESTAMPTZ, [n.to_timezone("Europe/Berlin")], "timestamptz",
        ["2024-07-01 12:00:00+00:00", None], ["2024-07-01 12:00:00+00:00", None],
    ),
    (
        "date_trunc day", TIMESTAMPTZ, [n.date_trunc("day")], "timestamptz",
        ["2024-07-11 23:10:00+00:00", None], ["2024-07-11 00:00:00+00:00", None],
    ),
    (
        "date_trunc week", TIMESTAMP, [n.date_trunc("week")], "timestamp",
        ["2024-07-14 23:10:00", None], ["2024-07-08 00:00:00", None],
    ),
    (
        "date_trunc quarter", TIMESTAMP, [n.date_trunc("quarter")], "timestamp",
        ["2024-08-14 23:10:00", None], ["2024-07-01 00:00:00", None],
    ),
    (
        "date_trunc hour", TIMESTAMP, [n.date_trunc("hour")], "timestamp",
        ["2024-08-14 23:10:00.5", None], ["2024-08-14 23:00:00", None],
    ),
    (
        "date_trunc millisecond", TIMESTAMP, [n.date_trunc("millisecond")], "timestamp",
        ["2024-08-14 23:10:00.123999", None], ["2024-08-14 23:10:00.123000", None],
    ),
    (
        "date_trunc year", TIMESTAMPTZ, [n.date_trunc("year")], "timestamptz",
        ["2024-08-14 23:10:00+00:00", "1969-08-14 23:10:00+00:00"],
        ["2024-01-01 00:00:00+00:00", "1969-01-01 00:00:00+00:00"],
    ),
    (
        "to a wall clock when it changes", TIMESTAMP, [n.to_timezone("Europe/Berlin")], "timestamptz",
        ["2024-03-31 00:59:59.999999+00:00", "2024-03-31 01:00:00+00:00", "2024-10-27 00:30:00+00:00",
         "2024-10-27 01:30:00+00:00", "1969-12-31 23:59:59.5+00:00", "2090-07-01 00:00:00+00:00"],
        ["2024-03-31 01:59:59.999999", "2024-03-31 03:00:00", "2024-10-27 02:30:00",
         "2024-10-27 02:30:00", "1970-01-01 00:59:59.500000", ("2090-07-01 02:00:00", "2090-07-01 02:00:00.000000")],
    ),
    (
        "from a wall clock near its changes", TIMESTAMPTZ, [n.to_timezone("America/New_York")], "timestamp",
        ["2024-03-10 01:59:59", "2024-03-10 03:00:00", "2024-11-03 00:59:59", "2024-11-03 02:00:00"],
        ["2024-03-10 06:59:59+00:00", "2024-03-10 07:00:00+00:00", "2024-11-03 04:59:59+00:00",
         "2024-11-03 07:00:00+00:00"],
    ),
    (
        "date_trunc month of text", DATE, [n.parse_date(), n.date_trunc("month")], "text",
        ["2024-08-14", None], ["2024-08-01", None],
    ),
    (
        "parse_int", BIGINT, [n.parse_int()], "text",
        ["5", "-0", "007", "+5", "5.0", "", " 5", "5\n", "9223372036854775807",
         "-9223372036854775808", "9223372036854775808", "1" * 60, None],
        [5, 0, 7, None, None, None, None, None, 9223372036854775807, -9223372036854775808, None, None, None],
    ),
    (
        "parse_numeric", NUMERIC, [n.parse_numeric()], "text",
        ["1", "-12.345", "0.005", "-2.675", "99999999.99", "99999999.995", "1e5", ".5", "abc", "0." + "1" * 50, None],
        ["1.00", "-12.35", "0.01", "-2.68", "99999999.99", None, None, None, None, "0.11", None],
    ),
    (
        "round a double", DOUBLE, [n.round(2)], "double",
        ["2.675", "-2.675", "1e20", "0.1", "nan", None], [2.68, -2.68, 1e20, 0.1, math.nan, None],
    ),
    ("round a number", NUMERIC, [n.round(1)], "text", ["2.25", "-2.25", "3", None], ["2.3", "-2.3", "3.0", None]),
    (
        "clamp numbers", NUMERIC, [n.parse_numeric(), n.clamp(decimal.Decimal("0.50"), 10)], "text",
        ["9.99", "0.4", "11", None],
        ["9.99", "0.50", ("10", "10.00"), None],
    ),
    ("clamp", BIGINT, [n.clamp(0, 10)], "bigint", [-1, 5, 11, None], [0, 5, 10, None]),
    (
        "parse_bool", BOOLEAN, [n.parse_bool()], "text",
        ["TRUE", "1", "y", "No", "0", "maybe", "", None], [True, True, True, False, False, None, None, None],
    ),
    ("default", BIGINT, [n.default(7)], "bigint", [1, None], [1, 7]),
    ("not_null_or", TEXT, [n.not_null_or("it's")], "text", ["", None], ["", "it's"]),
    (
        "nullif", TEXT, [n.nullif("n/a")], "text",
        ["n/a", "N/A", "n/a ", "a", None], [None, "N/A", "n/a ", "a", None],
    ),
    ("backslashes and quotes", TEXT, [n.replace("\\", "\\'")], "text", ["a\\b", "'", None], ["a\\'b", "'", None]),
    ("replace looks at the case", TEXT, [n.replace("a", "x")], "text", ["aA", None], ["xA", None]),
    ("regex_replace looks at the case", TEXT, [n.regex_replace("a", "x")], "text", ["aAa", None], ["xAx", None]),
    ("regex_replace first", TEXT, [n.regex_replace("[0-9]+", "#", flags="")], "text", ["a12\nb3"], ["a#\nb3"]),
    ("sql", TEXT, [n.sql("upper(col) || ' col'")], "text", ["a", None], ["A col", None]),
    ("derive", BIGINT, [n.derive("v + 1 -- more")], "bigint", [1, None], [2, None]),
    (
        "left to right", TEXT, [n.trim(), n.lower(), n.empty_to_null(), n.default("none")], "text",
        ["  ", " A ", None], ["none", "a", "none"],
    ),
]  # fmt: skip

IN_MARIADB = {n.sql("upper(col) || ' col'"): n.sql("CONCAT(upper(col), ' col')")}
"""What is the system's own SQL."""


@pytest.mark.parametrize(
    ("column", "steps", "kind", "values", "expected"), [case[1:] for case in CASES], ids=[c[0] for c in CASES]
)
def test_same_on_every_engine(
    engine: tuple[str, Run],
    column: DataType,
    steps: list[Normalizer],
    kind: str,
    values: list[Any],
    expected: list[Any],
) -> None:
    name, run = engine
    if name == "mariadb":
        steps = [IN_MARIADB.get(step, step) for step in steps]
    if name in ("sqlite", "mariadb") and kind == "double":
        values = [value if value != "nan" else None for value in values]
        expected = [None if isinstance(one, float) and math.isnan(one) else one for one in expected]
    named = Column("v", column, normalizers=tuple(steps))
    expression = compile_normalizers(name, named, "v", source=DataType(kind))
    found = run(expression, values, kind)
    assert len(found) == len(expected)
    wrong = [
        (value, got, want) for value, got, want in zip(values, found, expected, strict=True) if not _same(got, want)
    ]
    assert wrong == []


def test_a_strict_format_fails_the_query(engine: tuple[str, Run]) -> None:
    name, run = engine
    column = Column("v", TIMESTAMPTZ, normalizers=(n.parse_timestamp("YYYY-MM-DD", on_failure="error"),))
    with pytest.raises(Exception, match=r"cannot read a time|user-defined function raised"):
        run(compile_normalizers(name, column, "v"), ["2024-01-01", "tomorrow"], "text")


def test_mariadb_refuses_what_it_would_change(mysql_url: str) -> None:
    run = _mariadb(mysql_url)
    rounded = compile_normalizers("mariadb", Column("v", NUMERIC, normalizers=(n.round(1),)), "v")
    assert run(rounded, ["1.25"], "text") == ["1.3"]
    for value in ("abc", "1" * 65):
        with pytest.raises(FlowError, match=f"cannot round {value[:20]}"):
            run(rounded, ["1.25", value], "text")
    moved = compile_normalizers("mariadb", Column("v", TIMESTAMP, normalizers=(n.to_timezone("Asia/Tokyo"),)), "v")
    with pytest.raises(FlowError, match="years 1900 to 2099 can be moved between time zones, not 2100-01-01"):
        run(moved, ["2100-01-01 00:00:00"], "timestamptz")
    cut = Column("v", TIMESTAMP, normalizers=(n.date_trunc("day"),))
    with pytest.raises(DeclarationError, match=r"`v`: date_trunc needs a time, and the source gives text"):
        compile_normalizers("mariadb", cut, "v", source=TEXT)
    with pytest.raises(DeclarationError, match="keeps 30 digits behind the point, not 31"):
        compile_normalizers("mariadb", Column("v", TEXT, normalizers=(n.parse_numeric(38, 31),)), "v")


def test_mysql_has_other_regular_expressions() -> None:
    """By its manual: ICU's groups are `$1`, and its functions are told about case and the first match alone."""
    step = n.regex_replace(r"(a)(b)", r"\2$\1", flags="i")
    sql = compile_normalizers("mysql", Column("v", TEXT, normalizers=(step,)), "`v`")
    text = "CONVERT(`v` USING utf8mb4) COLLATE utf8mb4_0900_bin"
    assert sql == rf"REGEXP_REPLACE({text}, '(a)(b)', '$2\\$$1', 1, 1, 'i')"
    sql = compile_normalizers("mysql", Column("v", BIGINT, normalizers=(n.parse_int(),)), "`v`")
    assert rf"REGEXP_LIKE({text}, '^-?[0-9]+\\z', 'c')" in sql


def test_letters_beyond_ascii(engine: tuple[str, Run]) -> None:
    name, run = engine
    large, small = ("ÉÄΩ", "éäω")
    if name == "postgres":  # follows the database's own locale, which may know ASCII alone
        large, small = ("EAO", "eao")
    for step, value, expected in ((n.lower(), large, small), (n.upper(), small, large)):
        assert run(compile_normalizers(name, Column("v", TEXT, normalizers=(step,)), "v"), [value], "text") == [
            expected
        ]


def test_the_placeholder_is_a_whole_word() -> None:
    assert (
        substitute("col || 'col' || \"col\" || collate || t.col -- col", "x")
        == "x || 'col' || \"col\" || collate || t.col -- col"
    )


def test_unknown_engine_and_step() -> None:
    with pytest.raises(DeclarationError, match="do not work on `oracle`"):
        compile_normalizers("oracle", Column("v", TEXT), "v")
    with pytest.raises(DeclarationError, match="no normalizer `trimm`"):
        compile_normalizers("duckdb", Column("v", TEXT, normalizers=(Normalizer("trimm"),)), "v")


def test_parse_numeric_needs_digits() -> None:
    with pytest.raises(DeclarationError, match="needs to know the digits of a text column"):
        compile_normalizers("duckdb", Column("v", TEXT, normalizers=(n.parse_numeric(),)), "v")
