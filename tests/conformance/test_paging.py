"""Any rows can be paged through, sorted, filtered and profiled, and every system gives the same answers."""

from __future__ import annotations

import datetime as dt
import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb.declare.data_types import BIGINT, BOOLEAN, DOUBLE, TEXT, TIMESTAMPTZ, DataType
from ematix_nb.errors import CancelledError, UnknownNameError, UsageError
from ematix_nb.load.cancel import CancelToken
from ematix_nb.load.source import open_reader
from ematix_nb.query.paging import Condition, PreviewModel, frame_model, query_model
from tests.conformance.matrix import BUCKETS, SYSTEMS, open_system, url_of
from tests.conformance.values import to_arrow_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import pyarrow as pa

COLUMNS = {
    "id": BIGINT, "name": TEXT, "amount": DataType("numeric", precision=18, scale=2), "score": DOUBLE,
    "at": TIMESTAMPTZ, "day": DataType("date"), "ok": BOOLEAN,
}  # fmt: skip
TEXTS = ["it's", "", None, 'x" OR 1=1 --', "100%", "a_c", "Ab", "ab", "日本", "<b>"]
ROWS = [
    (
        2**53 + number,
        TEXTS[number % 10],
        None if number % 7 == 3 else Decimal(number * 37 % 50) - Decimal("10.01"),
        None if number % 9 == 4 else number * 13 % 20 / 4 - 1,
        dt.datetime(2026, 1, 1, tzinfo=dt.UTC) + dt.timedelta(hours=number * 5 % 60, microseconds=number),
        dt.date(2026, 1, 1) + dt.timedelta(days=number % 4),
        None if number % 5 == 0 else number % 2 == 0,
    )
    for number in range(60)
]
FRAMES = ("arrow", "polars", "polars-lazy", "pandas")
NAMES = list(COLUMNS)


def frame(kind: str) -> Any:
    import polars as pl

    table = to_arrow_table(COLUMNS, ROWS)
    if kind == "arrow":
        return table
    if kind == "pandas":
        import pandas as pd

        return table.to_pandas(types_mapper=pd.ArrowDtype)
    made = pl.from_arrow(table)
    assert isinstance(made, pl.DataFrame)
    return made if kind == "polars" else made.lazy()


@pytest.fixture(params=[*SYSTEMS, "parquet-query", "delta-version", *FRAMES])
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PreviewModel]:
    """The rows, in every place where rows can be."""
    name = request.param
    if name in FRAMES:
        yield frame_model("t", frame(name))
        return
    kind = name.partition("-")[0] if name in ("parquet-query", "delta-version") else name
    bucket = request.getfixturevalue("fresh_bucket")(BUCKETS[kind]) if kind in BUCKETS else None
    system = open_system(kind, tmp_path / "place", url_of(kind, request), label="place", bucket=bucket)
    system.make("t", COLUMNS, ROWS[:40])
    system.add("t", COLUMNS, ROWS[40:])
    sql = f"SELECT * FROM {system.source('t')}"
    if kind.endswith("jsonl"):  # JSON has no such types
        sql = (
            "SELECT id, name, arrow_cast(amount, 'Decimal128(18, 2)') AS amount, score,"
            " arrow_cast(at, 'Timestamp(Microsecond, Some(\"UTC\"))') AS at, CAST(day AS DATE) AS day, ok"
            f" FROM {system.source('t')}"
        )
    if name == "parquet-query":  # read by DataFusion alone
        sql += " WHERE id > 0 -- all of them"
    if name == "delta-version":
        system.add("t", COLUMNS, ROWS[:5])
        sql = 'SELECT * FROM "t@v1"'
    found = query_model("t", sql, lambda: open_reader(system.connection))
    yield found
    found.close()


def ids(table: pa.Table) -> list[int]:
    return [int(value) - 2**53 for value in table["id"].to_pylist()]


def meets(name: str, test: Callable[[Any], bool]) -> list[int]:
    """The rows whose value is not NULL and passes, by number."""
    place = NAMES.index(name)
    return [number for number, row in enumerate(ROWS) if row[place] is not None and test(row[place])]


def test_pages_join_without_gap_or_repetition(model: PreviewModel) -> None:
    pages = [model.sort("id").page(offset, 17) for offset in (0, 17, 34, 51)]
    assert [number for page in pages for number in ids(page.rows)] == list(range(60))
    assert [page.more for page in pages] == [True, True, True, False]
    plain = [number for offset in (0, 25, 50) for number in ids(model.page(offset, 25).rows)]
    assert sorted(plain) == list(range(60))
    last = model.page(60, 10)
    assert (last.rows.num_rows, last.more, last.rows.column_names) == (0, False, NAMES)
    assert model.count() == 60
    assert model.page(0, 60).covers() == "rows 1 to 60 of 60"


@pytest.mark.parametrize("name", ["amount", "score", "at", "day", "ok"])
@pytest.mark.parametrize("sign", ["", "-"])
def test_a_sorted_page_is_that_of_the_whole_sorted(model: PreviewModel, name: str, sign: str) -> None:
    place = NAMES.index(name)
    known: list[Any] = [row[place] for row in ROWS if row[place] is not None]
    values = sorted(known, reverse=sign == "-")
    pages = [model.sort(sign + name).page(offset, 20).rows for offset in (0, 20, 40)]
    found = [value for page in pages for value in page[name].to_pylist()]
    missing = 60 - len(values)
    assert [float(v) if isinstance(v, (Decimal, float)) else v for v in found[: len(values)]] == [
        float(v) if isinstance(v, (Decimal, float)) else v for v in values
    ]
    assert found[len(values) :] == [None] * missing
    assert sorted(number for page in pages for number in ids(page)) == list(range(60))


def test_texts_are_sorted_with_nulls_at_the_end(model: PreviewModel) -> None:
    for order in ("name", "-name"):
        found = model.sort(order).page(0, 60).rows["name"].to_pylist()
        assert found[54:] == [None] * 6
        assert all(found[place : place + 6] == [found[place]] * 6 for place in range(0, 54, 6))


CASES: list[tuple[str, str, Any, Callable[[Any], bool]]] = [
    ("id", "=", str(2**53 + 7), lambda value: value == 2**53 + 7),
    ("id", ">", 2**53 + 57, lambda value: value > 2**53 + 57),
    ("id", "<", "1e30", lambda _: True),
    ("id", ">=", str(2**53) + ".5", lambda value: value > 2**53),
    ("id", "=", "1.5", lambda _: False),
    ("amount", "=", "-10.01", lambda value: value == Decimal("-10.01")),
    ("amount", "<=", "0.985", lambda value: value <= Decimal("0.98")),
    ("amount", ">", "0.985", lambda value: value > Decimal("0.985")),
    ("amount", "!=", "5.99", lambda value: value != Decimal("5.99")),
    ("score", ">=", "1.25", lambda value: value >= 1.25),
    ("score", "=", -1, lambda value: value == -1),
    ("name", "=", "it's", lambda value: value == "it's"),
    ("name", "=", "ab", lambda value: value == "ab"),
    ("name", "!=", 'x" OR 1=1 --', lambda value: value != 'x" OR 1=1 --'),
    ("name", "contains", "%", lambda value: "%" in value),
    ("name", "contains", "_", lambda value: "_" in value),
    ("name", "starts with", "日", lambda value: value.startswith("日")),
    ("name", "contains", "b", lambda value: "b" in value),
    ("at", ">=", "2026-01-02T12:00:00", lambda value: value >= dt.datetime(2026, 1, 2, 12, tzinfo=dt.UTC)),
    ("at", "<", "2026-01-02T12:00:00+01:00", lambda value: value < dt.datetime(2026, 1, 2, 11, tzinfo=dt.UTC)),
    ("day", "=", "2026-01-03", lambda value: value == dt.date(2026, 1, 3)),
    ("ok", "=", "true", lambda value: value),
    ("ok", "!=", True, lambda value: not value),
]


def test_conditions_keep_the_rows_that_meet_them(model: PreviewModel) -> None:
    for name, operator, value, test in CASES:
        found = model.filter(Condition(name, operator, value))
        expected = meets(name, test)
        page = found.sort("id").page(0, 60)
        assert ids(page.rows) == expected, (name, operator, value)
        assert found.count() == len(expected)


def test_null_and_the_empty_text_are_told_apart(model: PreviewModel) -> None:
    place = NAMES.index("name")
    nulls = [number for number, row in enumerate(ROWS) if row[place] is None]
    assert ids(model.filter(Condition("name", "is null")).sort("id").page(0, 60).rows) == nulls
    assert ids(model.filter(Condition("name", "=", "")).sort("id").page(0, 60).rows) == meets("name", lambda v: v == "")
    assert model.filter(Condition("name", "is not null")).count() == 60 - len(nulls)


def test_conditions_hold_all_together_and_page(model: PreviewModel) -> None:
    both = model.filter(Condition("ok", "=", "true"), Condition("day", ">", "2026-01-01")).sort("-id")
    expected = [number for number in range(59, -1, -1) if ROWS[number][6] is True and ROWS[number][5].day > 1]
    found = [number for offset in (0, 5, 10, 15) for number in ids(both.page(offset, 5).rows)]
    assert found == expected[:20]
    assert model.count() == 60


def test_statistics_say_what_is_there(model: PreviewModel) -> None:
    amount = model.stats("amount")
    values = [row[2] for row in ROWS if row[2] is not None]
    assert (amount.rows, amount.total, amount.nulls, amount.nans) == (60, 60, 60 - len(values), 0)
    assert amount.covers() == "all 60 rows"
    assert (float(amount.low), float(amount.high)) == (float(min(values)), float(max(values)))
    assert amount.distinct == len(set(values))
    assert sum(amount.bars) == len(values)
    name = model.filter(Condition("day", "=", "2026-01-01")).stats("name")
    here = [row[1] for row in ROWS if row[5] == dt.date(2026, 1, 1)]
    assert (name.rows, name.nulls) == (len(here), here.count(None))
    assert name.distinct == len(set(here) - {None})
    assert dict(name.common) == {value: here.count(value) for value in set(here) - {None}}
    assert name.bars == ()


def test_what_is_wrong_is_one_error_that_says_what_there_is(model: PreviewModel) -> None:
    with pytest.raises(UnknownNameError, match="there is no column `amuont`") as unknown:
        model.sort("amuont")
    assert unknown.value.hint == "did you mean `amount`?"
    for conditions, words in (
        ([Condition("amount", "contains", "1")], "which cannot be asked `contains`"),
        ([Condition("id", "=", "1; DROP TABLE t")], "is no value for `id`"),
        ([Condition("id", "=", "NaN")], "is no value for `id`"),
        ([Condition("day", "=", "yesterday")], "is no value for `day`"),
        ([Condition("name", "~", "x")], "which cannot be asked `~`"),
        ([Condition("name", "=", "a\x00b")], "is no value for `name`"),
        ([Condition("ok", "=", "1=1")], "is no value for `ok`"),
        ([Condition("name", "=", "x" * 20_000)], "has 20,000 characters"),
    ):
        with pytest.raises(UsageError, match=words):
            model.filter(*conditions)
    with pytest.raises(UsageError, match="sorted by `id` twice"):
        model.sort("id", "-id")
    with pytest.raises(UsageError, match="limit must be a whole number from 1 to 100000, got 0"):
        model.page(0, 0)


def test_a_request_that_is_stopped_ends(model: PreviewModel) -> None:
    token = CancelToken()
    token.cancel()
    for ask in (
        lambda: model.sort("name").page(0, 5, token),
        lambda: model.filter(Condition("name", "=", "ab")).count(token),
        lambda: model.stats("name", token),
    ):
        with pytest.raises(CancelledError):
            ask()
    assert model.count() == 60


def test_the_sql_gives_what_is_shown(model: PreviewModel) -> None:
    wanted = model.filter(Condition("name", "!=", "it's"), Condition("amount", "<", "20.005")).sort("-amount", "id")
    rows: Any = model._source.rows()
    opener = getattr(rows, "plain", rows).opener
    again = query_model("again", wanted.sql, opener).sort("-amount", "id")
    assert ids(again.page(0, 60).rows) == ids(wanted.page(0, 60).rows) != []
    assert again.count() == wanted.count() < 60


@pytest.mark.parametrize("kind", ["postgres", "duckdb", "parquet", "parquet-query", "delta", "arrow"])
def test_nan_is_a_number_that_is_larger_than_all(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    columns = {"id": BIGINT, "x": DOUBLE}
    rows = [(1, 1.5), (2, math.nan), (3, None), (4, math.inf), (5, -math.inf), (6, math.nan)]
    if kind == "arrow":
        model = frame_model("t", to_arrow_table(columns, rows))
    else:
        name = kind.partition("-")[0]
        system = open_system(name, tmp_path / "place", url_of(name, request), label="place")
        system.make("t", columns, rows)
        tail = " WHERE id > 0" if kind != name else ""
        model = query_model("t", f"SELECT * FROM {system.source('t')}{tail}", lambda: open_reader(system.connection))

    def numbers(found: PreviewModel) -> list[int]:
        return list(found.page(0, 10).rows["id"].to_pylist())

    assert numbers(model.sort("x", "id")) == [5, 1, 4, 2, 6, 3]
    assert numbers(model.sort("-x", "id")) == [2, 6, 4, 1, 5, 3]
    assert numbers(model.filter(Condition("x", "=", "nan")).sort("id")) == [2, 6]
    assert numbers(model.filter(Condition("x", ">", 2)).sort("id")) == [2, 4, 6]
    assert numbers(model.filter(Condition("x", "<", 2)).sort("id")) == [1, 5]
    stats = model.stats("x")
    assert (stats.nulls, stats.nans, stats.low, stats.high, stats.distinct) == (1, 2, -math.inf, math.inf, 4)
    assert sum(stats.bars) == 1


@pytest.mark.parametrize("kind", ["mysql", "sqlite"])
def test_a_system_without_nan_says_so(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    system = open_system(kind, tmp_path / "place", url_of(kind, request), label="place")
    system.make("t", {"x": DOUBLE}, [(1.5,)])
    model = query_model("t", f"SELECT * FROM {system.source('t')}", lambda: open_reader(system.connection))
    with pytest.raises(UsageError, match="column `x` cannot hold nan"):
        model.filter(Condition("x", "=", "nan")).page(0, 5)
