"""A range of the watermark column is loaded anew: once, in parts that are not done twice, and the watermark stays."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb.declare.data_types import BIGINT, TEXT, TIMESTAMPTZ
from ematix_nb.errors import DeclarationError, RunError, UsageError
from ematix_nb.load import failpoints
from ematix_nb.load.targets import open_state
from tests.conformance.conftest import pairs
from tests.conformance.run import counts

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ematix_nb.api import Pipeline
    from ematix_nb.state.model import RunRecord
    from ematix_nb.verbs.backfill import BackfillResult
    from tests.conformance.run import Bench

COLUMNS = {"id": BIGINT, "note": TEXT, "at": TIMESTAMPTZ}
START = dt.datetime(2024, 3, 30, tzinfo=dt.UTC)
FEW = ("postgres", "mysql", "duckdb", "sqlite", "parquet", "delta")


def targets(mode: str) -> list[Any]:
    """One target of each kind, from another system."""
    return [pair for pair in pairs(mode, same=False) if str(pair.id).rpartition("-to-")[2] in FEW]


SMALL = pytest.mark.parametrize(
    "bench", [pair for pair in pairs("append", same=False) if str(pair.id).endswith("-to-sqlite")], indirect=True
)


def at(day: float) -> dt.datetime:
    """A moment some days after the start."""
    return START + dt.timedelta(days=day)


TEN = [(number, f"n{number}", at(number)) for number in range(1, 11)]


@pytest.fixture(autouse=True)
def _no_failpoint() -> Iterator[None]:
    yield
    failpoints.install(None)


def load(bench: Bench, mode: str = "append", **options: Any) -> Pipeline:
    options = {"watermark_column": "at", **({"keys": ("id",)} if mode != "append" else {}), **options}
    return bench.pipeline(mode, **options)


def state(pipeline: Pipeline) -> tuple[str, list[RunRecord]]:
    """The watermark, and the runs from the first to the last."""
    with open_state(pipeline.spec, pipeline.spec.targets[0]) as (store, name):
        mark = store.watermark(name)
        return mark.value if mark else "", store.history(name, 100)[::-1]


def statuses(result: BackfillResult) -> list[str]:
    return [chunk.status for chunk in result.chunks]


def ids(bench: Bench) -> list[int]:
    return sorted(row[0] for row in bench.rows("id"))


@pytest.mark.parametrize("bench", targets("append"), indirect=True)
def test_an_append_gets_what_is_missing_in_the_range_alone(bench: Bench) -> None:
    bench.give(COLUMNS, TEN)
    pipeline = load(bench)
    pipeline.sync()
    mark = state(pipeline)[0]
    bench.more([(21, "late", at(2.5)), (22, "twin", at(4)), (22, "twin", at(4)), (31, "outside", at(6))])
    bench.more([(4, "n4", at(4))])
    result = pipeline.backfill(at(2), at(6), "2d")
    assert statuses(result) == ["success", "success"]
    assert counts(result) == {"read": 8, "inserted": 4, "deduplicated": 4}
    assert ids(bench) == sorted([*range(1, 11), 4, 21, 22, 22])
    again = pipeline.backfill(at(2), at(6), "2d")
    assert counts(again) == {"read": 8, "deduplicated": 8}
    assert state(pipeline)[0] == mark
    bench.check()


@pytest.mark.parametrize("bench", targets("merge"), indirect=True)
def test_a_merge_keeps_what_is_newer(bench: Bench) -> None:
    """Of two rows with one key the one with the larger watermark wins, whichever range is loaded last."""
    bench.give(COLUMNS, [*TEN, (3, "newer", at(8))])
    pipeline = load(bench, "merge")
    pipeline.sync()
    mark = state(pipeline)[0]
    bench.more([(21, "late", at(2.5)), (2, "changed", at(2))])
    result = pipeline.backfill(at(2), at(5), "1d")
    assert statuses(result) == ["success"] * 3
    found = counts(result)
    assert (found["read"], found["inserted"], found["filtered"]) == (5, 1, 1)
    rows = {row[0]: row[1] for row in bench.rows("id", "note")}
    assert (rows[3], rows[21], len(rows)) == ("newer", "late", 11)
    assert state(pipeline)[0] == mark
    bench.check()


@pytest.mark.parametrize("bench", targets("append"), indirect=True)
def test_before_the_first_run_and_in_the_other_order(bench: Bench) -> None:
    """A backfill that comes first leaves no watermark; the first run then doubles nothing."""
    bench.give(COLUMNS, TEN)
    pipeline = load(bench)
    assert counts(pipeline.backfill(at(3), at(5))) == {"read": 2, "inserted": 2}
    assert state(pipeline)[0] == ""
    assert counts(pipeline.sync()) == {"read": 10, "inserted": 8, "deduplicated": 2}
    assert ids(bench) == list(range(1, 11))


@SMALL
def test_rows_after_the_watermark_are_left_to_the_next_run(bench: Bench) -> None:
    bench.give(COLUMNS, TEN)
    pipeline = load(bench)
    pipeline.sync()
    bench.more([(21, "late", at(9)), (22, "new", at(12))])
    result = pipeline.backfill(at(8), at(20))
    assert counts(result)["inserted"] == 1
    assert "are left to the next run" in result.warnings[0]
    pipeline.sync()
    assert ids(bench) == [*range(1, 11), 21, 22]


@SMALL
def test_the_history_tells_each_part(bench: Bench) -> None:
    bench.give({"id": BIGINT, "note": TEXT}, [(number, "x") for number in range(1, 11)])
    pipeline = load(bench, watermark_column="id")
    pipeline.sync()
    result = pipeline.backfill(2, 7, 2)
    assert [(chunk.span.low, chunk.span.high) for chunk in result.chunks] == [("2", "4"), ("4", "6"), ("6", "7")]
    mark, runs = state(pipeline)
    assert mark == "10"
    assert [run.status for run in runs] == ["success"] * 4
    parts = [run.metrics["backfill"] for run in runs[1:]]
    assert [(part["chunk"], part["from"], part["to"]) for part in parts] == [
        (1, "2", "4"),
        (2, "4", "6"),
        (3, "6", "7"),
    ]
    assert {(run.watermark_before, run.watermark_after) for run in runs[1:]} == {("10", "10")}
    assert [chunk.outcome.run_id for chunk in result.chunks if chunk.outcome] == [run.run_id for run in runs[1:]]
    assert "chunk" in result.to_text()


@pytest.mark.parametrize("bench", targets("append"), indirect=True)
def test_a_backfill_that_stopped_goes_on_where_it_was(bench: Bench) -> None:
    bench.give(COLUMNS, TEN)
    pipeline = load(bench)
    begun = 0

    def fail(step: str) -> None:
        nonlocal begun
        begun += step == "lock"
        if begun == 3 and step == "before_commit":
            message = "the power went"
            raise RunError(message)

    failpoints.install(fail)
    with pytest.raises(RunError, match="the power went"):
        pipeline.backfill(at(1), at(9), "2d")
    assert ids(bench) == [1, 2, 3, 4]
    failpoints.install(None)
    told = pipeline.backfill(at(1), at(9), "2d", dry=True)
    assert statuses(told) == ["done before", "done before", "to do", "to do"]
    assert counts(told) == {}
    result = pipeline.backfill(at(1), at(9), "2d")
    assert statuses(result) == ["done before", "done before", "success", "success"]
    assert counts(result) == {"read": 4, "inserted": 4}
    assert ids(bench) == list(range(1, 9))
    assert statuses(pipeline.backfill(at(1), at(9), "2d")) == ["success"] * 4
    assert ids(bench) == list(range(1, 9))


@SMALL
def test_only_the_same_range_of_the_same_pipeline_goes_on(bench: Bench) -> None:
    bench.give(COLUMNS, TEN)
    pipeline = load(bench)

    def fail(step: str) -> None:
        if step == "before_commit" and len(ids(bench)) >= 2:
            message = "stop"
            raise RunError(message)

    pipeline.backfill(at(1), at(2))
    failpoints.install(fail)
    with pytest.raises(RunError, match="stop"):
        pipeline.backfill(at(2), at(6), "1d")
    failpoints.install(None)
    assert statuses(pipeline.backfill(at(2), at(6), "1d", dry=True))[0] == "done before"
    assert set(statuses(pipeline.backfill(at(2), at(6), "2d", dry=True))) == {"to do"}
    assert set(statuses(pipeline.backfill(at(2), at(7), "1d", dry=True))) == {"to do"}
    other = load(bench, overlap="1h")
    assert set(statuses(other.backfill(at(2), at(6), "1d", dry=True))) == {"to do"}


@SMALL
def test_a_dry_run_writes_nothing(bench: Bench) -> None:
    bench.give(COLUMNS, TEN)
    pipeline = load(bench)
    result = pipeline.backfill(at(1), at(60), "1d", dry=True)
    assert statuses(result) == ["to do"] * 59
    assert "(nothing was read or written)" in result.to_text()
    assert "... 19 more" in result.to_text()
    with open_state(pipeline.spec, pipeline.spec.targets[0]) as (store, _):
        assert not store.exists()


@SMALL
def test_versions_are_put_in_their_place(bench: Bench) -> None:
    bench.give(COLUMNS, [(1, "first", at(1)), (1, "third", at(3))])
    pipeline = load(bench, "scd2", event_timestamp_column="at")
    pipeline.sync()
    bench.more([(1, "second", at(2))])
    pipeline.backfill(at(2), at(3))
    found = sorted(bench.rows("valid_from", "note", "is_current"))
    assert [(row[1], bool(row[2])) for row in found] == [("first", False), ("second", False), ("third", True)]


@SMALL
def test_what_a_range_cannot_be_loaded_into(bench: Bench) -> None:
    bench.give(COLUMNS, TEN)
    with pytest.raises(UsageError, match="has no watermark column"):
        bench.pipeline("append").backfill(at(1), at(2))
    for start, end, chunk, why in (
        (at(2), at(2), None, "the range from .* is empty"),
        (at(2), at(1), None, "the range from .* is empty"),
        ("soon", at(1), None, "`--from soon` does not fit the watermark column, which is timestamptz"),
        (5, at(1), None, "`--from 5` does not fit"),
        (at(1), at(2), "0d", "`--chunk 0d` is no size"),
        (at(1), at(2), "often", "`--chunk often` does not fit"),
        (at(1), at(2), "1s", "makes more than 10,000 chunks"),
    ):
        with pytest.raises(UsageError, match=why) as caught:
            load(bench).backfill(start, end, chunk)
        assert caught.value.hint
    with open_state(load(bench).spec, load(bench).spec.targets[0]) as (store, _):
        assert not store.exists()
    with pytest.raises(DeclarationError, match="mode scd2 without event_timestamp_column"):
        load(bench, "scd2").backfill(at(1), at(2))


@SMALL
def test_a_target_that_was_dropped_is_not_made_of_a_range(bench: Bench) -> None:
    bench.give(COLUMNS, TEN)
    pipeline = load(bench)
    pipeline.sync()
    bench.target.execute(f"DROP TABLE {bench.table}")  # type: ignore[attr-defined]
    with pytest.raises(RunError, match="is not there any more"):
        pipeline.backfill(at(1), at(2))
