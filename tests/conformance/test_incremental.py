"""Incremental loads: ties, late rows and rows without a watermark arrive once, and only once."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb.declare.data_types import BIGINT, DOUBLE, TEXT, TIMESTAMPTZ
from ematix_nb.errors import SchemaDriftError
from tests.conformance.conftest import pairs
from tests.conformance.run import counts, declare

if TYPE_CHECKING:
    from tests.conformance.run import Bench

COLUMNS = {"id": BIGINT, "note": TEXT, "at": TIMESTAMPTZ}
START = dt.datetime(2024, 3, 30, 23, 0, tzinfo=dt.UTC)


def at(minutes: float) -> dt.datetime:
    """A moment some minutes after the start."""
    return START + dt.timedelta(minutes=minutes)


TEN = [(number, f"n{number}", at(number)) for number in range(1, 11)]


def appending(bench: Bench, **options: Any) -> Any:
    """The incremental pipeline of these tests."""
    return bench.pipeline("append", incremental=True, watermark_column="at", **options)


@pytest.mark.parametrize("bench", pairs("append", same=False), indirect=True)
def test_ten_rows_then_a_tie_a_late_row_and_a_new_one_are_thirteen(bench: Bench) -> None:
    bench.give(COLUMNS, TEN)
    pipeline = appending(bench)
    assert counts(pipeline.sync()) == {"read": 10, "inserted": 10}
    bench.more([(11, "tie", at(10)), (12, "late", at(4.5)), (13, "new", at(11))])
    assert counts(pipeline.sync())["inserted"] == 3
    assert sorted(row[0] for row in bench.rows("id")) == list(range(1, 14))
    before = bench.rows("id", "note", "_loaded_at", "_batch_id")
    assert "inserted" not in counts(pipeline.sync())
    assert bench.rows("id", "note", "_loaded_at", "_batch_id") == before
    bench.check()


@pytest.mark.parametrize("bench", pairs("append", same=False), indirect=True)
def test_a_time_in_the_future_hides_no_row_and_is_not_doubled(bench: Bench) -> None:
    later = dt.datetime.now(dt.UTC).replace(microsecond=0) + dt.timedelta(days=3650)
    bench.give(COLUMNS, [(1, "a", at(1)), (2, "wrong", later)])
    pipeline = appending(bench)
    assert counts(pipeline.sync()) == {"read": 2, "inserted": 2}
    bench.more([(3, "c", at(2)), (4, "wrong too", later + dt.timedelta(days=1))])
    assert counts(pipeline.sync())["inserted"] == 2
    assert "inserted" not in counts(pipeline.sync())
    assert sorted(row[0] for row in bench.rows("id")) == [1, 2, 3, 4]
    bench.check()


@pytest.mark.parametrize("bench", [*pairs("append")[::2]], indirect=True)
def test_whole_numbers_from_the_same_place(bench: Bench) -> None:
    columns = {"id": BIGINT, "note": TEXT}
    bench.give(columns, [(number, "x") for number in range(1, 11)])
    pipeline = bench.pipeline("append", incremental=True, watermark_column="id", overlap=3)
    assert counts(pipeline.sync()) == {"read": 10, "inserted": 10}
    bench.more([(10, "tie"), (8, "late"), (11, "new")])
    assert counts(pipeline.sync()) == {"read": 7, "inserted": 3, "deduplicated": 4}
    assert sorted(row[0] for row in bench.rows("id")) == [1, 2, 3, 4, 5, 6, 7, 8, 8, 9, 10, 10, 11]
    bench.check()


@pytest.mark.parametrize("bench", pairs("append", same=False), indirect=True)
def test_rows_without_a_watermark_arrive_whenever_they_come(bench: Bench) -> None:
    bench.give(COLUMNS, [(1, "a", at(1)), (2, "b", None), (2, "b", None)])
    pipeline = appending(bench)
    assert counts(pipeline.sync()) == {"read": 3, "inserted": 3}
    bench.more([(3, "c", None), (2, "b", None), (4, None, at(2))])
    assert counts(pipeline.sync())["inserted"] == 3
    assert sorted(row[0] for row in bench.rows("id")) == [1, 2, 2, 2, 3, 4]
    assert "inserted" not in counts(pipeline.sync())


@pytest.mark.parametrize("bench", pairs("append", same=False), indirect=True)
def test_a_source_without_any_watermark_doubles_nothing(bench: Bench) -> None:
    bench.give(COLUMNS, [(1, "a", None), (2, "b", None)])
    pipeline = appending(bench)
    assert counts(pipeline.sync()) == {"read": 2, "inserted": 2}
    bench.more([(2, "b", None)])
    assert counts(pipeline.sync()) == {"read": 3, "inserted": 1, "deduplicated": 2}
    bench.more([(3, "c", at(1))])
    assert counts(pipeline.sync()) == {"read": 4, "inserted": 1, "deduplicated": 3}
    bench.more([(4, "d", at(-5000))])
    assert counts(pipeline.sync()) == {"read": 4, "deduplicated": 4}
    assert sorted(row[0] for row in bench.rows("id")) == [1, 2, 2, 3]
    bench.check()


@pytest.mark.parametrize("bench", pairs("append", same=False), indirect=True)
def test_equal_rows_are_kept_as_often_as_the_source_has_them(bench: Bench) -> None:
    columns = {"name": TEXT, "amount": DOUBLE, "at": TIMESTAMPTZ}
    row = ("same", 0.1, at(1))
    bench.give(columns, [row, row, (None, None, at(1))])
    pipeline = appending(bench)
    assert counts(pipeline.sync()) == {"read": 3, "inserted": 3}
    bench.more([row, (None, None, at(1))])
    assert counts(pipeline.sync()) == {"read": 5, "inserted": 2, "deduplicated": 3}
    assert [values[0] for values in bench.rows("name", "amount")].count("same") == 3
    assert len(bench.rows("name")) == 5


@pytest.mark.parametrize("bench", pairs("append", same=False), indirect=True)
def test_two_pipelines_into_one_table_do_not_take_each_others_rows(bench: Bench) -> None:
    bench.give(COLUMNS, TEN)
    first, second = appending(bench, name="first"), appending(bench, name="second")
    assert counts(first.sync()) == {"read": 10, "inserted": 10}
    assert counts(second.sync()) == {"read": 10, "inserted": 10}
    bench.more([(11, "tie", at(10))])
    assert counts(first.sync())["inserted"] == 1
    assert counts(second.sync())["inserted"] == 1
    assert counts(first.sync()).get("inserted", 0) == counts(second.sync()).get("inserted", 0) == 0
    assert len(bench.rows("id")) == 22
    bench.check()


@pytest.mark.parametrize("bench", pairs("append", same=False), indirect=True)
def test_a_failed_run_leaves_the_watermark(bench: Bench) -> None:
    bench.give(COLUMNS, TEN)
    pipeline = appending(bench)
    first = pipeline.sync()
    assert first.targets[0].watermark_after == "2024-03-30 23:10:00.000000+00:00"
    bench.more([(11, "new", at(30))])
    bad = declare(
        bench.source,
        bench.target,
        f"SELECT *, 1 AS extra FROM {bench.source.source('src')}",
        bench.table,
        name="load",
        mode="append",
        incremental=True,
        watermark_column="at",
        on_drift="error",
    )
    with pytest.raises(SchemaDriftError, match="column `extra`"):
        bad.sync()
    again = appending(bench).sync()
    assert again.targets[0].watermark_before == "2024-03-30 23:10:00.000000+00:00"
    assert again.targets[0].watermark_after == "2024-03-30 23:30:00.000000+00:00"
    assert counts(again)["inserted"] == 1


@pytest.mark.parametrize("bench", pairs("merge", same=False), indirect=True)
def test_merge_reads_only_what_is_new(bench: Bench) -> None:
    bench.give(COLUMNS, TEN)
    pipeline = bench.pipeline("merge", keys=("id",), incremental=True, watermark_column="at", overlap=120)
    assert counts(pipeline.sync()) == {"read": 10, "inserted": 10}
    bench.more([(1, "changed", at(20)), (11, "new", at(20))])
    assert counts(pipeline.sync()) == {"read": 5, "inserted": 1, "updated": 1, "unchanged": 3}
    assert min(bench.rows("id", "note")) == (1, "changed")
    assert counts(pipeline.sync(full_refresh=True))["read"] == 12
    bench.check()
