"""What the base dialect writes: names, literals and the statements that systems share."""

from __future__ import annotations

import datetime as dt
import decimal
import time
import uuid
from typing import TYPE_CHECKING, ClassVar

import pytest

from ematix_nb.backends.duckdb.dialect import DuckDBDialect
from ematix_nb.declare.data_types import BIGINT, TEXT, TIMESTAMPTZ, DataType
from ematix_nb.declare.spec import Column, TableRef
from ematix_nb.errors import DataError, DeclarationError
from ematix_nb.query.dialect import DataFusionDialect
from ematix_nb.sql.dialect import Dialect

if TYPE_CHECKING:
    from collections.abc import Iterator

T = TableRef("s", "t")
ID, NAME = Column("id", BIGINT, nullable=False), Column('na"me', TEXT)


class Short(Dialect):
    """A system whose names have at most eight bytes."""

    name: ClassVar[str] = "short"
    max_identifier_bytes: ClassVar[int | None] = 8


BASE, DUCK = Dialect(), DuckDBDialect()


@pytest.mark.parametrize(
    ("name", "quoted"),
    [
        ("a", '"a"'),
        ('a"b', '"a""b"'),
        ('"', '""""'),
        ("a b;--", '"a b;--"'),
        ("ä" * 4, '"ääää"'),
        ("a" * 8, '"aaaaaaaa"'),
    ],
)
def test_names_are_quoted(name: str, quoted: str) -> None:
    assert Short().quote(name) == quoted


@pytest.mark.parametrize("kind", [TEXT, BIGINT, TIMESTAMPTZ])
def test_where_values_sort_by_themselves_nothing_is_added(kind: DataType) -> None:
    assert DataFusionDialect().ordered('"a"', kind) == BASE.ordered('"a"', kind) == '"a"'


def test_a_type_of_the_system_itself_keeps_its_spelling() -> None:
    assert Short().type_sql(DataType("bigint", native="counter(9)", system="short")) == "counter(9)"


@pytest.mark.parametrize("name", ["", "a\x00b", "\x00"])
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(DeclarationError, match="is not a name: it is empty or holds a NUL character"):
        BASE.quote(name)


def test_a_name_that_is_too_long_is_refused_by_its_bytes() -> None:
    with pytest.raises(DeclarationError, match="`ääääa` is 9 bytes long; short names have at most 8") as caught:
        Short().quote("ääääa")
    assert caught.value.hint == "shorten it by 1 byte (use column_map)"
    assert BASE.quote("ä" * 999) == '"' + "ä" * 999 + '"'


def test_a_name_may_hold_half_a_character() -> None:
    assert Short().quote("\ud800") == '"\ud800"'


def test_tables_and_columns() -> None:
    assert (BASE.table(T), BASE.table(TableRef(None, "t")), BASE.named('s."a.b"')) == ('"s"."t"', '"t"', '"s"."a.b"')
    assert (BASE.columns(["a", "b"]), BASE.columns(["a", "b"], "x"), BASE.columns([])) == (
        '"a", "b"',
        'x."a", x."b"',
        "",
    )


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "NULL"),
        (True, "TRUE"),
        (False, "FALSE"),
        (7, "7"),
        (decimal.Decimal("1.50"), "1.50"),
        (1.5, "'1.5'"),
        (float("inf"), "'inf'"),
        ("it's", "'it''s'"),
        ("a\\b", "'a\\b'"),
        (dt.date(2026, 1, 2), "'2026-01-02'"),
        (dt.time(3, 4, 5, 6), "'03:04:05.000006'"),
        (dt.datetime(2026, 1, 2, 3, 4), "'2026-01-02 03:04:00'"),  # noqa: DTZ001
        (dt.datetime(2026, 1, 2, 3, 4, tzinfo=dt.timezone(dt.timedelta(hours=2))), "'2026-01-02 01:04:00+00:00'"),
        (uuid.UUID(int=5), "'00000000-0000-0000-0000-000000000005'"),
    ],
)
def test_literals(value: object, text: str) -> None:
    assert BASE.literal(value) == text


def test_a_literal_has_the_stored_type_where_one_is_named() -> None:
    assert DUCK.literal(5, BIGINT) == "CAST(5 AS BIGINT)"
    assert DUCK.literal("x", DataType("string", length=3)) == "CAST('x' AS VARCHAR)"
    assert DUCK.literal(None, BIGINT) == "NULL"


def test_a_text_with_nul_is_refused() -> None:
    with pytest.raises(DataError, match="a text value holds a NUL character and cannot be written into a statement"):
        BASE.literal("a\x00b")


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (DataType("array", item=DataType("array", item=BIGINT)), "BIGINT[][]"),
        (DataType("numeric", precision=9, scale=2), "DECIMAL(9,2)"),
        (DataType("numeric", precision=9), "DECIMAL(9,0)"),
        (DataType("bigint", native="HUGEINT", system="duckdb"), "HUGEINT"),
        (DataType("bigint", native="int8range", system="postgres"), "BIGINT"),
        (DataType("boolean"), "BOOLEAN"),
    ],
)
def test_types(kind: DataType, text: str) -> None:
    assert DUCK.type_sql(kind) == text


def test_types_with_and_without_their_numbers() -> None:
    class Sized(Dialect):
        type_names: ClassVar[dict[str, str]] = {"string": "VARCHAR", "numeric": "N", "timestamp": "T", "map": "M"}

    kinds = {
        DataType("string", length=3): "VARCHAR(3)",
        DataType("string"): "VARCHAR",
        DataType("numeric"): "N",
        DataType("timestamp", precision=6): "T",
        DataType("map", key=TEXT, item=TEXT): "M",
    }
    assert {kind: Sized().type_sql(kind) for kind in kinds} == kinds


@pytest.fixture
def far_away(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose own time is not UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "Asia/Kolkata")
        time.tzset()
        yield
    time.tzset()


def test_moments_are_written_in_utc_wherever_the_machine_is(far_away: None) -> None:
    moment = dt.datetime(2026, 1, 2, 3, tzinfo=dt.UTC)
    assert moment.astimezone().isoformat() == "2026-01-02T08:30:00+05:30"
    assert BASE.literal(moment) == "'2026-01-02 03:00:00+00:00'"
    assert BASE.moment_text(moment) == "2026-01-02 03:00:00.000000+00:00"


def test_definitions() -> None:
    table = DUCK.create_table(T, [ID, NAME], ["id", 'na"me'])
    assert table == (
        'CREATE TABLE "s"."t" (\n  "id" BIGINT NOT NULL,\n  "na""me" VARCHAR,\n  PRIMARY KEY ("id", "na""me")\n)'
    )
    temporary = DUCK.create_table(TableRef(None, "t"), [NAME], temporary=True, index=["id"])
    assert temporary == 'CREATE TEMPORARY TABLE "t" (\n  "na""me" VARCHAR\n)'
    assert DUCK.create_schema("s'") == 'CREATE SCHEMA IF NOT EXISTS "s\'"'
    assert DUCK.schema_exists("s'").endswith(
        "WHERE catalog_name = current_database() AND schema_name = CAST('s''' AS VARCHAR)"
    )
    assert DUCK.add_column(T, NAME) == 'ALTER TABLE "s"."t" ADD COLUMN "na""me" VARCHAR'
    assert DUCK.alter_type(T, ID) == 'ALTER TABLE "s"."t" ALTER COLUMN "id" TYPE BIGINT'
    assert BASE.unique_index(T, "i", ["a", "b"]) == 'CREATE UNIQUE INDEX "i" ON "s"."t" ("a", "b")'
    assert BASE.unique_index(T, "i", ["a"], "b = 1") == 'CREATE UNIQUE INDEX "i" ON "s"."t" ("a") WHERE b = 1'
    assert (BASE.drop_table(T), BASE.drop_temporary(T)) == ('DROP TABLE "s"."t"', 'DROP TABLE IF EXISTS "s"."t"')
    assert BASE.temporary("CREATE x") == "CREATE x"
    assert BASE.key_type(TEXT, 2) == TEXT


def test_rows() -> None:
    assert BASE.delete_from(T, "x") == 'DELETE FROM "s"."t" AS x'
    assert BASE.delete_places(T, "SELECT 1") == ('DELETE FROM "s"."t" WHERE rowid IN (SELECT 1)',)
    assert BASE.insert_missing("INSERT", ["a", "b"]) == 'INSERT ON CONFLICT ("a", "b") DO NOTHING'
    assert BASE.insert_or_update("INSERT", ["a"], ["b", "c"]) == (
        'INSERT ON CONFLICT ("a") DO UPDATE SET "b" = excluded."b", "c" = excluded."c"'
    )
    assert BASE.truncate(T) == 'DELETE FROM "s"."t"'
    assert BASE.wrap("SELECT 1 -- one", "x") == '(\nSELECT 1 -- one\n) AS "x"'
    assert BASE.analyze(T, ["a"]) == ""
    doubtful = "SELECT 1 FROM r GROUP BY a, b HAVING count(*) > 1 OR count(a) < count(*) OR count(b) < count(*) LIMIT 1"
    assert BASE.doubtful_keys("r", ["a", "b"]) == doubtful


def test_expressions() -> None:
    assert (BASE.last_nulls("a", "DESC"), BASE.last_nulls("a", "")) == ("a DESC NULLS LAST", "a NULLS LAST")
    assert (BASE.equal("a", "b", BIGINT), BASE.distinct("a", "b")) == ("a = b", "(a IS DISTINCT FROM b)")
    assert [BASE.comparable("a", BIGINT), BASE.grouped("a"), BASE.ordered("a", TIMESTAMPTZ)] == ["a"] * 3
    assert BASE.orderable(TEXT) is True
    assert DUCK.moment("a", TIMESTAMPTZ) == "CAST(a AS TIMESTAMP WITH TIME ZONE)"
    moment = dt.datetime(2026, 1, 2, 3, tzinfo=dt.timezone(dt.timedelta(hours=1)))
    assert BASE.moment_text(moment) == "2026-01-02 02:00:00.000000+00:00"
    assert BASE.beyond("a", BIGINT, "<", decimal.Decimal("1E+3")) == "a < 1000"
    assert DUCK.as_text("a", BIGINT) == "CAST(a AS VARCHAR)"
    assert BASE.parameter(3) == "$3"


def test_a_hash_tells_values_from_their_neighbours() -> None:
    one = "COALESCE(CAST(length(CAST(x.\"{0}\" AS VARCHAR)) AS VARCHAR) || ':' || CAST(x.\"{0}\" AS VARCHAR), '-')"
    columns = [Column("a", BIGINT), Column("b", TEXT)]
    assert DUCK.row_hash(columns, "x") == f"unhex(sha256({one.format('a')} || {one.format('b')}))"
    assert DUCK.row_hash(columns[:1]) == f"unhex(sha256({one.format('a').replace('x.', '')}))"
    assert DUCK.row_hash([]) == "unhex(sha256(''))"


def test_what_a_plain_system_does_without() -> None:
    nothing = (BASE.setup_lock(), BASE.setup_unlock(), BASE.unfit_tables([T]), BASE.try_liveness_lock(1))
    assert nothing == ("",) * 4
    assert BASE.state_table("lease") == TableRef("ematix_flow", "lease")
    assert DUCK.steps_engine == "duckdb"
    for ask in (lambda: BASE.store(BIGINT), lambda: BASE.sha256("a"), lambda: BASE.copy_table(T, T, ())):
        with pytest.raises(NotImplementedError):
            ask()
