"""What PostgreSQL's types become, and what they are stored as; needs no server."""

from __future__ import annotations

import subprocess
import sys

import pytest

from ematix_nb.backends.base import Verdict
from ematix_nb.backends.postgres.dialect import PostgresDialect
from ematix_nb.declare.data_types import KINDS, DataType
from ematix_nb.declare.spec import TableRef
from ematix_nb.errors import DeclarationError

DIALECT = PostgresDialect()


def test_import_loads_no_driver() -> None:
    code = (
        "import sys, ematix_nb.backends.postgres\n"
        "print([name for name in ('psycopg', 'pyarrow', 'pgpq') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


STORED = {
    "tinyint": ("smallint", Verdict.WIDENED),
    "smallint": ("smallint", Verdict.EXACT),
    "integer": ("integer", Verdict.EXACT),
    "bigint": ("bigint", Verdict.EXACT),
    "utinyint": ("smallint", Verdict.WIDENED),
    "usmallint": ("integer", Verdict.WIDENED),
    "uinteger": ("bigint", Verdict.WIDENED),
    "ubigint": ("numeric(20,0)", Verdict.WIDENED),
    "float": ("real", Verdict.EXACT),
    "double": ("double precision", Verdict.EXACT),
    "numeric": ("numeric", Verdict.EXACT),
    "boolean": ("boolean", Verdict.EXACT),
    "text": ("text", Verdict.EXACT),
    "string": ("text", Verdict.EXACT),
    "json": ("json", Verdict.EXACT),
    "jsonb": ("jsonb", Verdict.EXACT),
    "uuid": ("uuid", Verdict.EXACT),
    "bytes": ("bytea", Verdict.EXACT),
    "date": ("date", Verdict.EXACT),
    "time": ("time", Verdict.EXACT),
    "timestamp": ("timestamp", Verdict.EXACT),
    "timestamptz": ("timestamptz", Verdict.EXACT),
    "interval": ("interval", Verdict.EXACT),
    "array": ("text[]", Verdict.EXACT),
    "struct": ("jsonb", Verdict.WIDENED),
    "map": ("jsonb", Verdict.WIDENED),
    "null": ("text", Verdict.WIDENED),
}


def test_every_kind_has_a_place() -> None:
    assert set(STORED) == set(KINDS)


@pytest.mark.parametrize(("kind", "expected"), STORED.items())
def test_store(kind: str, expected: tuple[str, Verdict]) -> None:
    stored = DIALECT.store(DataType(kind))
    assert (DIALECT.type_sql(stored.type), stored.verdict) == expected


@pytest.mark.parametrize(
    ("kind", "sql", "verdict"),
    [
        (DataType("string", length=5), "varchar(5)", Verdict.EXACT),
        (DataType("string", length=99_999_999), "text", Verdict.WIDENED),
        (DataType("numeric", precision=3, scale=-2), "numeric(5,0)", Verdict.WIDENED),
        (DataType("numeric", precision=3, scale=5), "numeric(5,5)", Verdict.WIDENED),
        (DataType("timestamp", precision=3), "timestamp(3)", Verdict.EXACT),
        (DataType("timestamptz", precision=9), "timestamptz", Verdict.EXACT),
        (DataType("timestamptz", precision=0), "timestamp(0) with time zone", Verdict.EXACT),
        (DataType("text", native="inet", system="postgres"), "inet", Verdict.EXACT),
        (DataType("text", native="HUGEINT", system="duckdb"), "text", Verdict.WIDENED),
        (DataType("array", item=DataType("tinyint")), "smallint[]", Verdict.WIDENED),
        (DataType("array", item=DataType("interval")), "interval[]", Verdict.EXACT),
        (DataType("array", item=DataType("array", item=DataType("integer"))), "jsonb", Verdict.WIDENED),
    ],
)
def test_store_with_parameters(kind: DataType, sql: str, verdict: Verdict) -> None:
    stored = DIALECT.store(kind)
    assert (DIALECT.type_sql(stored.type), stored.verdict) == (sql, verdict)


def test_nanoseconds_say_what_happens() -> None:
    assert "microsecond" in DIALECT.store(DataType("timestamp", precision=9)).reason


def test_long_names_are_refused() -> None:
    assert DIALECT.quote("é" * 31) == '"' + "é" * 31 + '"'
    with pytest.raises(DeclarationError, match="64 bytes long"):
        DIALECT.quote("é" * 32)


def test_statements() -> None:
    ref = TableRef("a b", "t")
    assert DIALECT.parameter(2) == "$2"
    assert DIALECT.truncate(ref) == 'TRUNCATE TABLE "a b"."t"'
    assert DIALECT.analyze(ref, ()) == 'ANALYZE "a b"."t"'
    assert DIALECT.analyze(ref, ["k", "Ä"]) == 'ANALYZE "a b"."t" ("k", "Ä")'
    assert DIALECT.comparable("x", DataType("json")) == "CAST(x AS text)"
    assert DIALECT.comparable("x", DataType("jsonb")) == "x"
    assert DIALECT.literal(b"\x00\xff") == "CAST('\\x00ff' AS bytea)"
