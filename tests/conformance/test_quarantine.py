"""Rows that cannot be loaded, on each kind of target: put aside whole, counted, loaded after all, or removed."""

from __future__ import annotations

import datetime as dt
import json
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb import checks
from ematix_nb.declare.data_types import BIGINT, BOOLEAN, INTEGER, TEXT, DataType, to_arrow
from ematix_nb.declare.spec import Column
from ematix_nb.errors import CheckFailedError, DataError, RunError
from ematix_nb.load import failpoints
from ematix_nb.load.context import RunContext
from ematix_nb.load.quarantine import rows_as_json
from ematix_nb.load.quarantine_rows import QuarantinedRow, opened_quarantine
from ematix_nb.load.replay import as_frame, replay
from tests.conformance.conftest import OTHER
from tests.conformance.run import Bench, counts
from tests.support.invariants import history

if TYPE_CHECKING:
    from ematix_nb.api import Pipeline
    from ematix_nb.load.run import TargetOutcome

COLUMNS = {"id": BIGINT, "name": TEXT, "v": INTEGER}
LATER = {"id": BIGINT, "name": TEXT, "v": TEXT}
DAILY = {
    "postgres": "merge",
    "mysql": "merge",
    "duckdb": "append",
    "sqlite": "scd2",
    "parquet": "append",
    "delta": "merge",
}
NIGHTLY = {
    "postgres": "append",
    "duckdb": "scd2",
    "mysql": "truncate",
    "delta": "append",
    "csv": "append",
    "orc": "truncate",
}
PLACES = [pytest.param((name, OTHER[name]), mode, id=f"{name}-{mode}") for name, mode in DAILY.items()]
PLACES += [
    pytest.param((name, OTHER[name]), mode, id=f"{name}-{mode}", marks=[pytest.mark.nightly])
    for name, mode in NIGHTLY.items()
]
everywhere = pytest.mark.parametrize(("bench", "mode"), PLACES, indirect=["bench"])


def keyed(mode: str) -> bool:
    return mode in ("merge", "scd2")


def pipeline(bench: Bench, mode: str, **options: Any) -> Pipeline:
    keys: dict[str, Any] = {"keys": ("id",)} if keyed(mode) else {}
    return bench.pipeline(mode, **keys, **options)


def held(one: Pipeline) -> list[QuarantinedRow]:
    with opened_quarantine(one.spec, one.spec.targets[0]) as found:
        return found.rows()


def again(one: Pipeline) -> TargetOutcome | None:
    return replay(one.spec, one.spec.targets[0], RunContext())


def told(outcome: TargetOutcome | None) -> dict[str, int]:
    assert outcome is not None
    if outcome.error is not None:
        raise outcome.error
    return {name.removeprefix("rows_"): rows for name, rows in outcome.counts.items() if rows}


@everywhere
def test_up_to_a_number_of_bad_rows_go_aside(bench: Bench, mode: str) -> None:
    bench.give(COLUMNS, [(1, "a", 1)])
    pipeline(bench, mode).sync()
    before = bench.rows("id", "v")
    bench.give(LATER, [(5, "x", "five"), (None, "y", "2"), (6, "z", "7"), (7, "w", "8.5")])
    bad = [(1, {"id": 5, "name": "x", "v": "five"}), (4, {"id": 7, "name": "w", "v": "8.5"})]
    if keyed(mode):
        bad.insert(1, (2, {"id": None, "name": "y", "v": "2"}))
    message = r"more than 1 row cannot be loaded \(max_bad_rows=1\)\n  column `v`, row 1: 'five'"
    with pytest.raises(DataError, match=message):
        pipeline(bench, mode, max_bad_rows=1).sync()
    assert bench.rows("id", "v") == before
    assert held(pipeline(bench, mode)) == []
    loaded = pipeline(bench, mode, max_bad_rows=len(bad))
    expected = {"read": 4, "inserted": 4 - len(bad), "quarantined": len(bad)}
    shown = loaded.preview()
    assert "(at most" in shown.to_text()
    assert shown.targets[0].expected["quarantine"] == len(bad)
    assert counts(loaded.dry_run()) == expected
    assert counts(loaded.sync()) == expected
    found = held(loaded)
    assert [(row.row_number, json.loads(row.source_row)) for row in found] == bad
    assert "'five' does not fit" in found[0].reason
    assert [row.reason for row in found[1:-1]] == ["key column `id` is NULL"] * keyed(mode)
    assert {row.run_id for row in found} == {history(bench.target.connection, bench.table)[0].run_id}
    bench.check()


@everywhere
def test_rows_that_break_a_check_go_aside_and_are_loaded_after_all(bench: Bench, mode: str) -> None:
    def declared(most: int, **options: Any) -> Pipeline:
        wanted = [checks.between("v", 0, most, on_fail="quarantine"), checks.not_null("name", on_fail="quarantine")]
        return pipeline(bench, mode, checks=[*wanted, *options.pop("more", ())], **options)

    bench.give(COLUMNS, [(1, "a", 1), (2, "b", 50), (3, None, 3), (4, "d", 500), (5, "e", None)])
    first = declared(10)
    done = first.sync()
    assert counts(done) == {"read": 5, "inserted": 2, "quarantined": 3}
    assert [row.row_number for row in held(first)] == [2, 3, 4]
    assert 'check `between("v", 0, 10, on_fail="quarantine")`: column `v`, row 2 is 50' in held(first)[0].reason
    origin = {row.run_id for row in held(first)}
    assert told(again(first)) == {"read": 3, "quarantined": 3}
    with pytest.raises(CheckFailedError, match="the target would have 3 rows"):
        told(again(declared(100, more=[checks.row_count(max=2)])))
    assert [row.row_number for row in held(first)] == [2, 3, 4]
    assert told(again(declared(100))) == {"read": 3, "inserted": 1, "quarantined": 2}
    assert [row.row_number for row in held(first)] == [3, 4]
    assert {row.run_id for row in held(first)} == origin
    assert sorted(row[0] for row in bench.rows("id")) == [1, 2, 5]
    assert [run.trigger for run in history(bench.target.connection, bench.table)][:2] == ["replay", "replay"]
    with opened_quarantine(first.spec, first.spec.targets[0], read_only=False) as found:
        found.remove([row.key for row in held(first)[:1]])
    assert [row.row_number for row in held(first)] == [4]
    assert told(again(declared(1000))) == {"read": 1, "inserted": 1}
    assert (held(first), again(first)) == ([], None)
    bench.check()


@pytest.mark.parametrize("bench", [pytest.param(("duckdb", "sqlite"), id="duckdb")], indirect=True)
def test_a_replay_that_dies_before_its_commit_changes_nothing(bench: Bench) -> None:
    bench.give(COLUMNS, [(1, "a", 1), (2, "b", 50)])
    limited = [checks.between("v", 0, 10, on_fail="quarantine")]
    pipeline(bench, "append", checks=limited).sync()
    one = pipeline(bench, "append")
    before = bench.rows("id"), held(one)

    def fail(step: str) -> None:
        if step == "before_commit":
            message = "the network went away"
            raise RunError(message)

    failpoints.install(fail)
    try:
        with pytest.raises(RunError, match="went away"):
            told(again(one))
    finally:
        failpoints.install(None)
    assert (bench.rows("id"), held(one)) == before
    assert told(again(one)) == {"read": 1, "inserted": 1}


@pytest.mark.parametrize(
    "bench", [pytest.param((name, OTHER[name]), id=name) for name in ("sqlite", "duckdb", "delta")], indirect=True
)
@pytest.mark.parametrize("mode", ["merge", "scd2"])
def test_an_older_row_does_not_replace_a_newer_one(bench: Bench, mode: str) -> None:
    bench.give(COLUMNS, [(1, "old", 50), (2, "b", 2)])
    limited = [checks.between("v", 0, 10, on_fail="quarantine")]
    pipeline(bench, mode, checks=limited).sync()
    bench.give(COLUMNS, [(1, "new", 5), (2, "b", 2)])
    pipeline(bench, mode, checks=limited).sync()
    one = pipeline(bench, mode)
    with pytest.raises(DataError, match=r"newer rows for keys of rows in quarantine \(id\): 1"):
        told(again(one))
    assert ("old", 50) not in bench.rows("name", "v")
    assert len(held(one)) == 1
    assert told(replay(one.spec, one.spec.targets[0], RunContext(), overwrite=True))["read"] == 1
    assert ("old", 50) in bench.rows("name", "v")
    assert held(one) == []


@pytest.mark.parametrize(
    "bench", [pytest.param((name, OTHER[name]), id=name) for name in ("parquet", "delta")], indirect=True
)
def test_a_replay_that_dies_after_its_commit_loads_nothing_twice(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.give(COLUMNS, [(1, "a", 1), (2, "b", 50), (3, "c", 500)])
    pipeline(bench, "append", checks=[checks.between("v", 0, 10, on_fail="quarantine")]).sync()
    one = pipeline(bench, "append", checks=[checks.between("v", 0, 100, on_fail="quarantine")])
    stale = held(one)

    def die(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("ematix_nb.load.replay._take_out", die)
        with pytest.raises(KeyboardInterrupt):
            again(one)
    assert [row.row_number for row in held(one)] == [2, 3]
    with monkeypatch.context() as patch:
        patch.setattr("ematix_nb.load.replay._rows", lambda *_: stale)
        with pytest.raises(DataError, match="another replay has loaded 1 row"):
            told(again(one))
    assert told(again(one)) == {"read": 1, "quarantined": 1}
    assert [row.row_number for row in held(one)] == [3]
    assert bench.rows("id") == [(1,), (2,)]


@pytest.mark.parametrize("bench", [pytest.param(("sqlite", "duckdb"), id="sqlite")], indirect=True)
def test_rows_read_again_by_an_overlap_are_loaded_once(bench: Bench) -> None:
    limited = [checks.between("v", 0, 10, on_fail="quarantine")]
    options: dict[str, Any] = {"incremental": True, "watermark_column": "id", "overlap": 5}
    bench.give(COLUMNS, [(1, "a", 50), (1, "a", 50), (2, "b", 2)])
    one = pipeline(bench, "append", checks=limited, **options)
    one.sync()
    bench.more([(3, "c", 3)])
    one.sync()
    assert len(held(one)) == 4
    open_to_all = pipeline(bench, "append", **options)
    assert told(again(open_to_all)) == {"read": 2, "inserted": 2}
    assert held(one) == []
    assert bench.rows("id", "v") == [(1, 50), (1, 50), (2, 2), (3, 3)]
    assert counts(open_to_all.sync()) == {"read": 4, "deduplicated": 4}


@pytest.mark.parametrize("bench", [pytest.param(("duckdb", "sqlite"), id="duckdb")], indirect=True)
def test_keys_alone(bench: Bench) -> None:
    bench.give(COLUMNS, [(1, "a", 1), (None, "b", 2)])
    with pytest.raises(DataError, match="1 row has no value in a key column"):
        pipeline(bench, "merge").sync()
    done = pipeline(bench, "merge", on_null_key="quarantine", handle_deletes="hard").sync()
    assert counts(done) == {"read": 2, "inserted": 1, "quarantined": 1}
    assert any("nothing was deleted" in text for text in done.targets[0].warnings)
    bench.give(LATER, [(1, "a", "x")])
    with pytest.raises(DataError, match="'x' does not fit"):
        pipeline(bench, "merge", on_null_key="quarantine").sync()
    bench.give(COLUMNS, [(None, "b", 2)])
    with pytest.raises(DataError, match="more than 0 rows"):
        pipeline(bench, "merge", on_null_key="quarantine", max_bad_rows=0).sync()


KINDS: list[tuple[DataType, Any]] = [
    (BIGINT, 2**60),
    (DataType("double"), 0.1),
    (DataType("numeric", precision=38, scale=10), Decimal("12345678901234567890.0123456789")),
    (TEXT, 'a "b"\nö'),
    (BOOLEAN, True),
    (DataType("date"), dt.date(2026, 1, 31)),
    (DataType("timestamp", precision=6), dt.datetime(2026, 1, 31, 10, 0, 0, 123456)),  # noqa: DTZ001 - has no zone
    (DataType("timestamptz", precision=6), dt.datetime(2026, 1, 31, 10, 0, 0, 123456, dt.UTC)),
    (DataType("bytes"), b"\x00\xff"),
    (DataType("array", item=BIGINT), [1, None, 3]),
]


@pytest.mark.parametrize(("kind", "value"), KINDS, ids=[kind.kind for kind, _ in KINDS])
def test_a_row_in_quarantine_is_the_row_that_was_read(kind: DataType, value: Any) -> None:
    import pyarrow as pa

    batch = pa.record_batch([pa.array([value, None], to_arrow(kind))], ["v"])
    rows = [QuarantinedRow("", dt.datetime.now(dt.UTC), 1, "", text) for text in rows_as_json(batch)]
    found = as_frame(rows, [Column("v", kind)])
    assert found.column("v").to_pylist() == [value, None]
