"""Cleaning steps, renames and steps before a load, from every kind of source: the same rows arrive."""

from __future__ import annotations

import datetime as dt
import decimal
from typing import TYPE_CHECKING, Annotated, Any

import pytest

from ematix_nb import ematix, normalize
from ematix_nb.declare.data_types import BIGINT, BOOLEAN, TEXT, TIMESTAMPTZ, DataType
from ematix_nb.types import BigInt, Boolean, Numeric, Text, TimestampTZ  # noqa: TC001  looked up by the declared table
from tests.conformance.matrix import BUCKETS, SYSTEMS, DuckDB, open_system, url_of
from tests.conformance.run import Bench, counts, declare
from tests.conformance.values import canon

if TYPE_CHECKING:
    from pathlib import Path

NIGHT = dt.datetime(2024, 3, 30, 23, 15, 0, 500000, dt.UTC)
COLUMNS = {"id": BIGINT, "Mail": TEXT, "amount": TEXT, "yes": TEXT, "seen": TEXT, "at": TIMESTAMPTZ, "flag": BOOLEAN}
ROWS = [
    (1, " Ann@X.ORG ", "12.345", "Yes", "2024-03-31 01:30:00+02", NIGHT, True),
    (1, "old@x.org", "1", "no", "2023-01-01", NIGHT - dt.timedelta(days=400), True),
    (2, "Z \\ 'x'", "n/a", "", "12/31/1999", None, None),
    (3, "", None, "maybe", "yesterday", NIGHT + dt.timedelta(hours=1), False),
]
KEYS = [(1, "a"), (1, "A"), (1, "a "), (2, "a"), (2, "a"), (2, None), (2, None)]


@pytest.fixture(params=[name for name in SYSTEMS if name not in BUCKETS])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    """From each kind of source into DuckDB."""
    name = request.param
    source = open_system(name, tmp_path / "source", url_of(name, request), label="source_place")
    return Bench(DuckDB(tmp_path / "target.duckdb", "target_place"), source)


def cleaned_table() -> Any:
    """A table whose columns are cleaned; what is the source's own SQL is the same everywhere."""

    @ematix.table(schema="", name="cleaned")
    class Cleaned:
        id: BigInt
        mail: Annotated[Text | None, normalize.email_normalize(), normalize.empty_to_null()]
        amount: Annotated[
            Numeric[10, 2],  # type: ignore[type-arg, valid-type]
            normalize.parse_numeric(),
            normalize.default(decimal.Decimal("0.00")),
        ]
        yes: Annotated[Boolean | None, normalize.parse_bool()]
        seen: Annotated[TimestampTZ | None, normalize.parse_timestamp()]
        at: Annotated[TimestampTZ | None, normalize.date_trunc("hour")]
        flag: Annotated[Boolean, normalize.default(value=False)]
        twice: Annotated[BigInt, normalize.derive("id * 2")]

    return Cleaned


def test_cleaned_renamed_derived_and_filtered(bench: Bench) -> None:
    bench.give(COLUMNS, ROWS)
    bench.table = "cleaned"
    pipeline = declare(
        bench.source,
        bench.target,
        f"SELECT * FROM {bench.source.source('src')}",
        cleaned_table(),
        mode="truncate",
        column_map={"mail": "Mail"},
        transforms_pre=[normalize.deduplicate_by("id", order_by="seen desc"), normalize.filter_where("id < 3")],
    )
    assert counts(pipeline.sync()) == {"read": 2, "inserted": 2}
    names = ("id", "mail", "amount", "yes", "seen", "at", "flag", "twice")
    found = [tuple(canon(value, TIMESTAMPTZ) if isinstance(value, dt.datetime) else value for value in row)
             for row in bench.rows(*names)]  # fmt: skip
    utc = dt.UTC
    assert found == [
        (1, "ann@x.org", decimal.Decimal("12.35"), True, dt.datetime(2024, 3, 30, 23, 30, tzinfo=utc),
         dt.datetime(2024, 3, 30, 23, tzinfo=utc), True, 2),
        (2, "z \\ 'x'", decimal.Decimal("0.00"), None, dt.datetime(1999, 12, 31, tzinfo=utc), None, False, 4),
    ]  # fmt: skip


def test_keys_are_told_apart_by_their_characters(bench: Bench) -> None:
    bench.give({"id": BIGINT, "name": TEXT}, KEYS)
    pipeline = bench.pipeline("append", transforms_pre=[normalize.deduplicate_by("id", "name")])
    assert counts(pipeline.sync()) == {"read": 5, "inserted": 5}
    assert bench.rows("id", "name") == [(1, "A"), (1, "a "), (1, "a"), (2, "a"), (2, None)]


def test_limits_and_samples(bench: Bench) -> None:
    bench.give({"id": BIGINT, "v": DataType("double")}, [(number, 0.5) for number in range(200)])
    assert counts(bench.pipeline("truncate", transforms_pre=[normalize.limit(7)]).sync()) == {"read": 7, "inserted": 7}
    assert len({row[0] for row in bench.rows("id")}) == 7
    some = bench.pipeline("truncate", transforms_pre=[normalize.sample_pct(0.5)]).sync().counts["rows_read"]
    assert 20 < some < 180  # one in 10^30 times it is not
    assert bench.pipeline("truncate", transforms_pre=[normalize.sample_pct(1)]).sync().counts["rows_read"] == 200
