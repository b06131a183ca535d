"""A watermark of several columns: compared column by column, in every system alike, and stored as one value."""

from __future__ import annotations

import datetime as dt
import itertools
import json
import random
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb import ematix
from ematix_nb.declare.data_types import BIGINT, TEXT, TIMESTAMPTZ, DataType
from ematix_nb.errors import DataError, DeclarationError, UsageError
from ematix_nb.load.targets import open_state
from ematix_nb.state.model import Watermark
from ematix_nb.types import BigInt, Date
from ematix_nb.verbs.dispatch import Call
from ematix_nb.verbs.grammar import parse
from tests.conformance.conftest import pairs
from tests.conformance.run import counts, declare

if TYPE_CHECKING:
    from ematix_nb.api import Pipeline
    from tests.conformance.run import Bench

DATE, TIMESTAMP, NUMERIC = DataType("date"), DataType("timestamp"), DataType("numeric", precision=10, scale=2)
COLUMNS = {"id": BIGINT, "day": DATE, "seq": BIGINT}
FEW = ("postgres", "mysql", "duckdb", "sqlite", "parquet", "csv", "delta")
START = dt.datetime(2024, 3, 30, 23, 0, tzinfo=dt.UTC)


def day(number: int) -> dt.date:
    return dt.date(2026, 1, number)


def at(minutes: float) -> dt.datetime:
    return START + dt.timedelta(minutes=minutes)


TEN = [(number, day(1 + number // 4), number % 4) for number in range(1, 11)]
"""The last one is (2026-01-03, 2)."""


def few(mode: str) -> list[Any]:
    """One target of each kind, from another system."""
    return [pair for pair in pairs(mode, same=False) if str(pair.id).rpartition("-to-")[2] in FEW]


SMALL = pytest.mark.parametrize("bench", [pytest.param(("sqlite", "duckdb"), id="small")], indirect=True)


def appending(bench: Bench, **options: Any) -> Pipeline:
    return bench.pipeline("append", incremental=True, **{"watermark_column": ["day", "seq"], **options})


def stored(pipeline: Pipeline) -> Watermark | None:
    with open_state(pipeline.spec, pipeline.spec.targets[0]) as (store, name):
        return store.watermark(name)


def ids(bench: Bench) -> list[int]:
    return sorted(row[0] for row in bench.rows("id"))


def flow(*words: str) -> Any:
    """A line of the command or the magic, as words."""
    return Call(parse(list(words))).run()


@pytest.mark.parametrize("bench", pairs("append"), indirect=True)
def test_ten_rows_then_ties_a_late_row_and_new_ones(bench: Bench) -> None:
    bench.give(COLUMNS, TEN)
    pipeline = appending(bench)
    assert counts(pipeline.sync()) == {"read": 10, "inserted": 10}
    bench.more([
        (11, day(3), 2), (12, day(3), 1), (13, day(3), 3), (14, day(2), 9), (15, day(4), 0), (16, day(5), None),
        (17, None, 5),
    ])  # fmt: skip
    expected = {"read": 6, "inserted": 5, "deduplicated": 1}
    window = pipeline.preview().targets[0].plan.window
    assert window is not None
    assert (window.stored, window.lower) == ('["2026-01-03", "2"]', '["2026-01-03", "2"]')
    assert counts(pipeline.dry_run()) == expected
    result = pipeline.sync()
    assert counts(result) == expected
    assert result.targets[0].watermark_after == '["2026-01-04", "0"]'
    loaded = [*range(1, 12), 13, 15, 16, 17]  # 12 and 14 are late: dates and numbers have no overlap
    assert ids(bench) == loaded
    assert counts(pipeline.sync()) == {"read": 3, "deduplicated": 3}
    assert ids(bench) == loaded
    bench.check()


@pytest.mark.parametrize("bench", few("append"), indirect=True)
def test_an_overlap_belongs_to_the_first_column(bench: Bench) -> None:
    columns = {"id": BIGINT, "at": TIMESTAMPTZ, "seq": BIGINT}
    bench.give(columns, [(number, at(number), 100 - number) for number in range(1, 11)])
    pipeline = appending(bench, watermark_column=("at", "seq"))
    assert counts(pipeline.sync()) == {"read": 10, "inserted": 10}
    bench.more([(11, at(10), 90), (12, at(4.5), 1), (13, at(11), 0)])
    window = pipeline.preview().targets[0].plan.window
    assert window is not None
    assert window.lower.startswith('["2024-03-30 23:00:00.000000')
    assert "seq" not in window.words(window.lower)
    assert counts(pipeline.sync()) == {"read": 13, "inserted": 3, "deduplicated": 10}
    assert ids(bench) == list(range(1, 14))
    assert "inserted" not in counts(pipeline.sync())
    assert counts(appending(bench, watermark_column=("at", "seq"), overlap=0).sync()) == {"read": 1, "deduplicated": 1}
    bench.check()


Row = tuple[Any, ...]
TEXTS, WIDE = ["b", "B", "\U0001f600", "\uff5e"], ["x9", "x10", "x'y"]
WHOLE = DataType("numeric", precision=10, scale=0)
HOURS = [dt.datetime(2026, 1, 1, hour) for hour in (9, 10)]  # noqa: DTZ001
VALUES: dict[str, tuple[tuple[DataType, list[Any]], ...]] = {
    "number-text": ((BIGINT, [-1, 7, 10]), (TEXT, ["B", "a", "Z ", "Z", "\u00e9"])),
    "text-decimal": ((TEXT, TEXTS), (NUMERIC, [Decimal("9.50"), Decimal(10), Decimal(-1)])),
    "date-time-number": ((DATE, [day(1), day(2)]), (TIMESTAMP, HOURS), (BIGINT, [9, 10])),
    "time-text": ((TIMESTAMPTZ, [at(1), at(2), at(2000)]), (TEXT, WIDE)),
}


def loaded_by(batches: list[list[Row]]) -> tuple[list[int], Row | None]:
    """The rule in plain Python: which rows arrive, and the largest whole watermark among them."""
    top: Row | None = None
    here: set[int] = set()
    seen: list[Row] = []
    for batch in batches:
        seen += batch
        new = [row for row in seen if top is None or None in row[1:] or row[1:] >= top]
        here |= {row[0] for row in new}
        top = max([row[1:] for row in new if None not in row[1:]] + ([top] if top is not None else []), default=None)
    return sorted(here), top


@pytest.mark.parametrize("kinds", VALUES)
@pytest.mark.parametrize("bench", few("append"), indirect=True)
def test_every_system_compares_column_by_column(bench: Bench, kinds: str) -> None:
    """Random rows of a few values, so that ties in the first columns are many; NULLs among them."""
    draw = random.Random(kinds)
    chosen = VALUES[kinds]
    if kinds == "text-decimal" and "sqlite" in (bench.source.name, bench.target.name):
        chosen = (chosen[0], (WHOLE, [Decimal(9), Decimal(10), Decimal(-1)]))  # others are no watermark there
    number = itertools.count()
    names = [f"c{place}" for place in range(len(chosen))]

    def some(rows: int) -> list[Row]:
        values = [[*known, *known, None] for _, known in chosen]
        return [(next(number), *map(draw.choice, values)) for _ in range(rows)]

    batches = [some(8), some(6), some(6), some(6)]
    bench.give({"id": BIGINT, **{name: kind for name, (kind, _) in zip(names, chosen, strict=True)}}, batches[0])
    pipeline = appending(bench, watermark_column=names, overlap=0)
    for place, batch in enumerate(batches):
        if place:
            bench.more(batch)
        expected = pipeline.dry_run()
        result = pipeline.sync()
        assert counts(result) == counts(expected)
        here, top = loaded_by(batches[: place + 1])
        assert ids(bench) == here
        assert top is not None
        found = stored(pipeline)
        assert found is not None
        assert found.columns == tuple(names)
        assert [same(text, value) for text, value in zip(found.values, top, strict=True)] == [True] * len(names)
    assert "inserted" not in counts(pipeline.sync())


def same(text: str, value: Any) -> bool:
    """Whether a stored text is a value; systems without a zone give times without one."""
    if isinstance(value, dt.datetime):
        return dt.datetime.fromisoformat(text).replace(tzinfo=None) == value.replace(tzinfo=None)
    return Decimal(text) == value if isinstance(value, (Decimal, int)) else text == str(value)


@pytest.mark.parametrize("bench", few("merge"), indirect=True)
def test_a_merge_reads_what_is_new_and_keeps_the_larger_row(bench: Bench) -> None:
    bench.give({**COLUMNS, "note": TEXT}, [(number, *rest, "old") for number, *rest in TEN])
    pipeline = bench.pipeline("merge", keys=("id",), incremental=True, watermark_column=("day", "seq"))
    assert counts(pipeline.sync()) == {"read": 10, "inserted": 10}
    bench.more([
        (1, day(4), 10, "newest"), (1, day(4), 9, "newer"), (2, day(5), None, "none"), (2, day(3), 2, "tie"),
        (3, day(2), 0, "late"), (11, day(4), 1, "new"),
    ])  # fmt: skip
    assert counts(pipeline.sync()) == {"read": 6, "inserted": 1, "updated": 2, "unchanged": 1, "deduplicated": 2}
    notes = dict(bench.rows("id", "note"))
    assert (notes[1], notes[2], notes[3], notes[11]) == ("newest", "tie", "old", "new")
    found = stored(pipeline)
    assert found is not None
    assert found.values == ("2026-01-04", "10")


@pytest.mark.parametrize("bench", few("append"), indirect=True)
def test_a_first_column_in_the_future_does_not_move_the_watermark(bench: Bench) -> None:
    later = dt.datetime.now(dt.UTC).date() + dt.timedelta(days=3650)
    bench.give(COLUMNS, [(1, day(1), 5), (2, later, 1)])
    pipeline = appending(bench)
    result = pipeline.sync()
    assert "1 row has a later `day` than this machine's clock" in " ".join(result.targets[0].warnings)
    assert stored(pipeline) == Watermark('["day", "seq"]', '["2026-01-01", "5"]', '["date", "bigint"]+')
    bench.more([(3, day(1), 6), (4, later, 0), (5, day(1), 4)])
    assert counts(pipeline.sync())["inserted"] == 2
    assert "inserted" not in counts(pipeline.sync())
    assert ids(bench) == [1, 2, 3, 4]


@pytest.mark.parametrize("bench", few("append"), indirect=True)
def test_a_backfill_goes_by_the_first_column(bench: Bench) -> None:
    bench.give(COLUMNS, TEN)
    pipeline = appending(bench)
    pipeline.sync()
    before = stored(pipeline)
    bench.more([(11, day(1), 9), (12, day(2), 9), (13, day(3), 1), (14, day(3), 3), (15, day(2), None)])
    assert counts(pipeline.backfill("2026-01-01", "2026-01-03", "1d")) == {"read": 9, "inserted": 2, "deduplicated": 7}
    # up to the stored watermark; what is beyond it the next run takes for new
    result = pipeline.backfill("2026-01-03", "2026-01-09")
    assert counts(result) == {"read": 3, "inserted": 1, "deduplicated": 2}
    assert 'rows from the watermark ["2026-01-03", "2"] on are left to the next run' in " ".join(result.warnings)
    assert stored(pipeline) == before
    assert ids(bench) == list(range(1, 14))
    assert counts(pipeline.sync())["inserted"] == 2
    assert ids(bench) == list(range(1, 16))


@pytest.mark.parametrize("bench", [("duckdb", "postgres")], indirect=True, ids=["postgres"])
def test_late_rows_are_found_by_their_transaction(bench: Bench) -> None:
    bench.give(COLUMNS, TEN)
    pipeline = appending(bench, late_rows="snapshot")
    assert counts(pipeline.sync()) == {"read": 10, "inserted": 10}
    bench.more([(11, day(3), 2), (12, day(3), 0), (13, day(1), 7), (14, day(3), 3)])
    assert counts(pipeline.sync())["inserted"] == 4
    assert ids(bench) == list(range(1, 15))
    assert "inserted" not in counts(pipeline.sync())


@SMALL
def test_names_and_values_may_look_like_anything(bench: Bench) -> None:
    odd = ('a,"b', '["c"]')
    bench.give({"id": BIGINT, odd[0]: TEXT, odd[1]: TEXT}, [(1, '["x", "y"]', 'it\'s, "so"+')])
    pipeline = appending(bench, watermark_column=odd)
    pipeline.sync()
    found = stored(pipeline)
    assert found is not None
    assert (found.columns, found.values, found.kinds) == (odd, ('["x", "y"]', 'it\'s, "so"+'), ("text", "text"))
    bench.more([(2, '["x", "y"]', 'it\'s, "so"+')])
    assert counts(pipeline.sync()) == {"read": 2, "inserted": 1, "deduplicated": 1}
    alone = appending(bench, watermark_column=[odd[1]], name="alone")
    alone.sync()
    assert stored(alone) == Watermark(odd[1], 'it\'s, "so"+', "text")
    assert counts(alone.sync()) == {"read": 2, "deduplicated": 2}


def test_one_column_in_a_list_is_that_column() -> None:
    from ematix_nb.declare.fingerprint import fingerprint
    from ematix_nb.declare.pipelines import build_pipeline

    options: dict[str, Any] = {"name": "p", "sql": "SELECT 1 AS id", "target": "wh:t"}
    one, many = (build_pipeline(**options, watermark_column=given) for given in ("id", ["id"]))
    assert one.watermark_column == many.watermark_column == "id"
    assert fingerprint(one) == fingerprint(many)


CHANGES: list[tuple[Any, Any, str]] = [
    ("day", ["day", "seq"], "is one of column `day`, the pipeline now names `day`, `seq`"),
    (["day", "seq"], "day", "is one of column `day`, `seq`, the pipeline now names `day`"),
    (["day", "seq"], ["seq", "day"], "is one of column `day`, `seq`, the pipeline now names `seq`, `day`"),
]


@pytest.mark.parametrize(("first", "then", "why"), CHANGES)
@SMALL
def test_other_columns_do_not_append_every_row_again(bench: Bench, first: Any, then: Any, why: str) -> None:
    bench.give(COLUMNS, TEN)
    appending(bench, watermark_column=first).sync()
    with pytest.raises(DataError, match=why):
        appending(bench, watermark_column=then).sync()
    assert ids(bench) == list(range(1, 11))
    merging = {"keys": ("id",), "incremental": True, "watermark_column": then}
    assert counts(bench.pipeline("merge", **merging).sync()) == {"read": 10, "unchanged": 10}


@SMALL
def test_the_watermark_is_shown_set_and_reset(bench: Bench) -> None:
    bench.give(COLUMNS, TEN)
    pipeline = appending(bench)
    assert flow("watermark", "show", "load").rows[0][2:] == ("day, seq", "none", "")
    pipeline.sync()
    shown = flow("watermark", "show", "load").rows[0]
    assert shown[2:] == ("day, seq", '["2026-01-03", "2"]', "date, bigint")
    changed = flow("watermark", "set", "load", '["2026-01-02", 3]', "--yes")
    assert changed.rows[0][-2:] == ('["2026-01-03", "2"]', '["2026-01-02", "3"]')
    assert stored(pipeline) == Watermark('["day", "seq"]', '["2026-01-02", "3"]', '["date", "bigint"]')
    assert counts(pipeline.sync()) == {"read": 4, "inserted": 3, "deduplicated": 1}
    assert flow("watermark", "set", "load", shown[3], "--yes").rows[0][-1] == shown[3]
    flow("watermark", "reset", "load", "--yes")
    assert stored(pipeline) is None
    assert flow("watermark", "set", "load", '["2026-01-02", 3]', "--yes").rows[0][-2] == "none"
    assert counts(pipeline.sync()) == {"read": 4, "inserted": 3, "deduplicated": 1}


NOT_A_VALUE = [
    ("2026-01-02", "is not a watermark of day, seq"),
    ("7", "it is no list"),
    ('["2026-01-02"]', "it is 1 of 2 values"),
    ('["2026-01-02", 7, 8]', "it is 3 of 2 values"),
    ('["2026-01-02", null]', "`seq`: null is neither a text nor a number"),
    ('["2026-01-02", [true]]', r"`seq`: \[true\] is neither a text nor a number"),
    ('["2026-01-02", "x"]', "`seq`: `x` is not a watermark for a column of type bigint"),
    ('["soon", 7]', "`day`: `soon` is not a watermark for a column of type date"),
]


@pytest.mark.parametrize("known", ["stored", ""])
@SMALL
def test_what_is_no_watermark_is_refused(bench: Bench, known: str) -> None:
    bench.give(COLUMNS, TEN)
    pipeline = appending(bench)
    pipeline.sync()
    if not known:
        flow("watermark", "reset", "load", "--yes")
    before = stored(pipeline)
    for value, why in NOT_A_VALUE:
        with pytest.raises(UsageError, match=why):
            flow("watermark", "set", "load", value, "--yes")
    assert stored(pipeline) == before


def change_state(pipeline: Pipeline, mark: Watermark) -> None:
    with open_state(pipeline.spec, pipeline.spec.targets[0], read_only=False) as (store, name):
        store.reset_watermark(name, mark)


@SMALL
def test_a_stored_value_that_does_not_fit_names_its_column(bench: Bench) -> None:
    bench.give(COLUMNS, TEN)
    pipeline = appending(bench)
    pipeline.sync()
    names = json.dumps(["day", "seq"])
    change_state(pipeline, Watermark(names, '["2026-01-02", "x"]', '["date", "bigint"]'))
    with pytest.raises(DataError, match="`seq`: the stored watermark 'x' is no bigint"):
        pipeline.sync()
    change_state(pipeline, Watermark(names, '["2026-01-02", "x"]', '["date", "text"]'))
    with pytest.raises(DataError, match="the stored watermark x of `seq` is text, the column is now bigint"):
        pipeline.sync()
    change_state(pipeline, Watermark(names, "2026-01-02", '["date", "bigint"]'))
    with pytest.raises(DataError, match="the watermark of `load` is one of column `day`, `seq`"):
        pipeline.sync()


REFUSED: list[tuple[Any, dict[str, Any], str]] = [
    ([], {}, r"watermark_column names columns, got \[\]"),
    (["day", "day"], {}, "watermark_column names `day` twice"),
    (["day", 7], {}, "watermark_column names columns"),
    ({"day", "seq"}, {}, "a list of columns in their order"),
    (7, {}, "a list of columns in their order, got 7"),
    (["day", "sec"], {}, "watermark_column `sec` is not a column of the query"),
    (["ratio", "seq"], {}, "watermark column `ratio` is double; a watermark needs"),
    (["day", "flag"], {}, "watermark column `flag` is boolean; a watermark needs"),
    (["code", "seq"], {"overlap": 5}, "overlap is 5, but watermark column `code` is text: texts have no distances"),
    (["seq", "day"], {"overlap": "10m"}, "overlap is a duration, but watermark column `seq` is bigint"),
    (["day", "sequence"], {"column_map": {"sequence": "day"}}, "names `day` and `sequence`, which are one column"),
]


@pytest.mark.parametrize(("columns", "options", "why"), REFUSED)
@SMALL
def test_columns_that_cannot_be_a_watermark(bench: Bench, columns: Any, options: dict[str, Any], why: str) -> None:
    kinds = {**COLUMNS, "code": TEXT, "ratio": DataType("double"), "flag": DataType("boolean")}
    bench.give(kinds, [(1, day(1), 1, "a", 0.5, True)])
    with pytest.raises(DeclarationError, match=why):
        appending(bench, watermark_column=columns, **options).sync()


@SMALL
def test_a_part_that_the_target_lacks_is_compared_all_the_same(bench: Bench) -> None:
    """A declared table may leave a watermark column out; the rows of the overlap are compared without it."""
    narrow = ematix.table(name="tgt")(type("Narrow", (), {"__annotations__": {"id": BigInt, "day": Date | None}}))
    bench.give(COLUMNS, TEN)
    sql = f"SELECT * FROM {bench.source.source('src')}"
    marks = {"incremental": True, "watermark_column": ["day", "seq"]}
    pipeline = declare(bench.source, bench.target, sql, narrow, name="load", mode="append", **marks)
    assert counts(pipeline.sync()) == {"read": 10, "inserted": 10}
    bench.more([(11, day(3), 2), (12, day(3), 3)])
    assert counts(pipeline.sync()) == {"read": 3, "inserted": 2, "deduplicated": 1}
    assert ids(bench) == list(range(1, 13))
