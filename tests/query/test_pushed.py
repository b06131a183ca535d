"""What planned queries ask of streamed tables, as text."""

from __future__ import annotations

import datetime as dt
from typing import Any

import pyarrow as pa
import pytest

from ematix_nb.backends.files.conditions import Bounds, compared
from ematix_nb.backends.files.streams import inner_name, register_stream
from ematix_nb.declare.data_types import BIGINT, TEXT
from ematix_nb.load.plan import Window
from ematix_nb.load.window import filtered
from ematix_nb.query.dialect import DataFusionDialect
from ematix_nb.query.pushed import conditions
from ematix_nb.query.session import _context

SCHEMA = pa.schema(
    {"a": pa.int64(), "ts": pa.timestamp("us"), "n": pa.decimal128(10, 2), "s": pa.string(), "f": pa.float64()}.items()
)
ZONED = dt.datetime(2027, 1, 1, tzinfo=dt.UTC)


def asked(sql: str) -> dict[str, str]:
    context = _context(1)
    for name in ("t", "u"):
        register_stream(context, f'"{name}"', SCHEMA, lambda _: iter([]))
    return {name: condition.sql() for name, condition in conditions(context.sql(sql)).items()}


@pytest.mark.parametrize(
    ("sql", "wanted"),
    [
        ("SELECT a FROM t WHERE a > 5", '"a" > 5'),
        ("SELECT a FROM t WHERE 5 >= a AND f > 1", '"a" <= 5'),
        ("SELECT a FROM t WHERE s = 'it''s' OR s IS NULL", """("s" = 'it''s' OR "s" IS NULL)"""),
        ("SELECT a FROM t WHERE n >= 1.5", """"n" >= arrow_cast('1.50', 'Decimal128(10, 2)')"""),
        (
            "SELECT * FROM (SELECT ts AS at FROM t) WHERE at < TIMESTAMP '2026-01-01'",
            """"ts" < arrow_cast('2026-01-01 00:00:00', 'Timestamp(Microsecond, None)')""",
        ),
        (
            "SELECT a FROM t WHERE ts > TIMESTAMP '2026-01-01'",
            """("ts" >= arrow_cast('2025-12-31 23:59:59.999000', 'Timestamp(Microsecond, None)'))""",
        ),
        ("SELECT a FROM t WHERE f > 1", None),
        ("SELECT a FROM t WHERE a <> 1", None),
        ("SELECT a FROM t WHERE a > 5 OR f > 1", None),
        ("SELECT a FROM t WHERE a + 1 > 5", None),
        ("SELECT a FROM (SELECT * FROM t LIMIT 9) WHERE a > 5", None),
        ("SELECT a FROM t WHERE a > 5 UNION ALL SELECT a FROM t", None),
        ("SELECT a FROM t WHERE a > 5 UNION ALL SELECT a FROM t WHERE a < 2", '("a" > 5 OR "a" < 2)'),
        ("SELECT a FROM t WHERE a > 5 AND a > (SELECT min(a) FROM t)", None),
        ("SELECT t.a FROM u LEFT JOIN t ON u.a = t.a AND t.s = 'x'", "\"s\" = 'x'"),
    ],
)
def test_what_is_asked(sql: str, wanted: str | None) -> None:
    assert asked(sql).get(inner_name("t")) == wanted


def test_a_watermark_of_several_columns_is_asked() -> None:
    """In the order of the columns: files leave out what the first one alone tells."""
    window = Window("a", "", '["5", "x"]', "", "a", more=(("s", "s"),))
    sql = filtered(DataFusionDialect(), "SELECT a, s FROM t", window, [BIGINT, TEXT])
    assert asked(sql)[inner_name("t")] == (
        """((("a" >= 5 AND ("a" > 5 OR "s" >= 'x')) OR "a" IS NULL) OR "s" IS NULL)"""
    )


@pytest.mark.parametrize(
    ("word", "value", "bounds", "may"),
    [
        ("=", 5, Bounds(1, 4), False),
        ("=", 4, Bounds(1, 4), True),
        ("<", 1, Bounds(1, 4), False),
        ("<=", 1, Bounds(1, 4), True),
        (">", 4, Bounds(1, 4), False),
        (">=", 4, Bounds(1, 4), True),
        (">", 4, Bounds(), True),
        (">", 4, Bounds(nulls=3, rows=3), False),
        (">", 4, Bounds("a", "b"), True),
        ("=", dt.datetime(2026, 1, 1), Bounds(ZONED, ZONED), True),  # noqa: DTZ001
    ],
)
def test_what_bounds_rule_out(word: str, value: Any, bounds: Bounds, may: bool) -> None:  # noqa: FBT001 - a case of the table
    condition = compared("c", word, pa.scalar(value))
    assert condition is not None
    assert condition.may_hold(lambda _: bounds) is may


@pytest.mark.parametrize("value", [pa.scalar(1.5), pa.scalar(None, pa.int64()), pa.scalar(1, pa.timestamp("ns"))])
def test_values_that_are_not_compared(value: pa.Scalar) -> None:
    assert compared("c", "=", value) is None
