"""The four modes on every system that can hold them: first load, unchanged, changed, refused."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest

from ematix_nb.declare.data_types import BIGINT, TEXT, TIMESTAMPTZ
from ematix_nb.errors import DataError, FlowError
from tests.conformance.conftest import pairs
from tests.conformance.run import counts

if TYPE_CHECKING:
    from tests.conformance.run import Bench

COLUMNS = {"id": BIGINT, "name": TEXT, "at": TIMESTAMPTZ}
DAY = dt.datetime(2024, 5, 1, 12, 0, 0, 123456, dt.UTC)
ROWS = [(1, "one", DAY), (2, "two", DAY), (3, None, DAY), (4, "", DAY)]


def versions(bench: Bench, *more: str) -> list[tuple[object, ...]]:
    """Rows with the engine's two columns."""
    return bench.rows("id", *more, "_loaded_at", "_batch_id")


@pytest.mark.parametrize("bench", pairs("append"), indirect=True)
def test_append(bench: Bench) -> None:
    bench.give(COLUMNS, ROWS)
    pipeline = bench.pipeline("append")
    assert counts(pipeline.sync()) == {"read": 4, "inserted": 4}
    assert bench.rows("id", "name") == [(1, "one"), (2, "two"), (3, None), (4, "")]
    first = versions(bench)
    assert counts(pipeline.sync()) == {"read": 4, "inserted": 4}
    assert len(bench.rows("id")) == 8
    assert set(map(str, first)) <= set(map(str, versions(bench)))
    bench.check()


@pytest.mark.parametrize("bench", pairs("truncate"), indirect=True)
def test_truncate(bench: Bench) -> None:
    bench.give(COLUMNS, ROWS)
    pipeline = bench.pipeline("truncate")
    assert counts(pipeline.sync()) == {"read": 4, "inserted": 4}
    bench.give(COLUMNS, [(2, "zwei", DAY), (5, "five", DAY)])
    assert counts(pipeline.sync()) == {"read": 2, "inserted": 2}
    assert bench.rows("id", "name") == [(2, "zwei"), (5, "five")]
    bench.check()


@pytest.mark.parametrize("bench", pairs("truncate"), indirect=True)
def test_truncate_from_nothing_keeps_the_rows(bench: Bench) -> None:
    bench.give(COLUMNS, ROWS)
    bench.pipeline("truncate").sync()
    before = versions(bench)
    result = bench.pipeline("truncate", sql=f"SELECT * FROM {bench.source.source('src')} WHERE id > 9").sync()
    assert counts(result) == {}
    assert "the source gave no rows" in str(result.targets[0].warnings)
    assert versions(bench) == before
    empty = f"SELECT * FROM {bench.source.source('src')} WHERE id > 9"
    assert counts(bench.pipeline("truncate", sql=empty, empty_source="apply").sync()) == {}
    assert bench.rows("id") == []
    bench.check()


@pytest.mark.parametrize("bench", pairs("truncate"), indirect=True)
def test_truncate_that_fails_keeps_the_rows(bench: Bench) -> None:
    bench.give(COLUMNS, ROWS)
    bench.pipeline("truncate").sync()
    before = versions(bench)
    bench.give(COLUMNS, [*ROWS, (5, "not a number", DAY)])
    source = bench.source.source("src")
    failing = {
        "sqlite": "json(name)",
        "mysql": "IF(name = 'not a number', (SELECT id FROM src), 1)",
    }
    name = failing.get(bench.source.name, "CAST(name AS BIGINT)")
    broken = f"SELECT id, {name} AS name, {bench.source.quote('at')} FROM {source}"
    result = bench.pipeline("truncate", sql=broken).run
    with pytest.raises(FlowError, match=r"name|malformed JSON|Cast error|invalid input syntax|more than 1 row"):
        result().raise_for_status()
    assert versions(bench) == before
    bench.check()


@pytest.mark.parametrize("bench", pairs("merge", all_targets=True), indirect=True)
def test_merge(bench: Bench) -> None:
    bench.give(COLUMNS, ROWS)
    pipeline = bench.pipeline("merge", keys=("id",))
    assert counts(pipeline.sync()) == {"read": 4, "inserted": 4}
    before = versions(bench, "name")
    assert counts(pipeline.sync()) == {"read": 4, "unchanged": 4}
    assert versions(bench, "name") == before
    bench.give(COLUMNS, [(1, "one", DAY), (2, None, DAY), (3, "three", DAY), (4, " ", DAY), (5, "five", DAY)])
    assert counts(pipeline.sync()) == {"read": 5, "inserted": 1, "updated": 3, "unchanged": 1}
    assert bench.rows("id", "name") == [(1, "one"), (2, None), (3, "three"), (4, " "), (5, "five")]
    after = {row[0]: row[1:] for row in versions(bench)}
    old = {row[0]: row[2:] for row in before}
    assert after[1] == old[1]
    assert all(after[key] != old[key] for key in (2, 3, 4))
    bench.check()


@pytest.mark.parametrize("bench", pairs("merge"), indirect=True)
def test_merge_keeps_the_last_row_of_a_key(bench: Bench) -> None:
    later = DAY + dt.timedelta(seconds=1)
    bench.give(COLUMNS, [(1, "new", later), (1, "old", DAY), (1, "none", None), (2, "a", DAY), (2, "b", DAY)])
    pipeline = bench.pipeline("merge", keys=("id",), incremental=True, watermark_column="at")
    assert counts(pipeline.sync()) == {"read": 5, "inserted": 2, "deduplicated": 3}
    assert bench.rows("id", "name") == [(1, "new"), (2, "b")]
    assert counts(pipeline.sync()) == {"read": 5, "unchanged": 2, "deduplicated": 3}
    by_name = bench.pipeline("merge", keys=("id",), dedup_by="name")
    assert counts(by_name.sync())["deduplicated"] == 3
    assert bench.rows("id", "name") == [(1, "old"), (2, "b")]
    bench.check()


@pytest.mark.parametrize("bench", pairs("merge"), indirect=True)
def test_merge_refuses_duplicate_and_null_keys_when_asked(bench: Bench) -> None:
    bench.give(COLUMNS, [(7, "a", DAY), (7, "b", DAY), (8, "c", DAY)])
    pipeline = bench.pipeline("merge", keys=("id",), on_duplicate_key="error")
    with pytest.raises(DataError, match=r"rows with the same key \(id\): 7 \(2 times\)"):
        pipeline.sync()
    bench.give(COLUMNS, [(None, "a", DAY), (None, "b", DAY), (8, "c", DAY)])
    with pytest.raises(DataError, match=r"2 rows have no value in a key column \(id\)"):
        bench.pipeline("merge", keys=("id",)).sync()
    assert not bench.target.has("tgt")
    bench.check()


@pytest.mark.parametrize("bench", pairs("merge"), indirect=True)
def test_merge_with_compare_and_update_columns(bench: Bench) -> None:
    columns = {"id": BIGINT, "a": TEXT, "b": TEXT}
    bench.give(columns, [(1, "a", "b"), (2, "a", "b")])
    bench.pipeline("merge", keys=("id",)).sync()
    bench.give(columns, [(1, "a", "changed"), (2, "changed", "changed")])
    compare = bench.pipeline("merge", keys=("id",), compare_columns=["a"])
    assert counts(compare.sync()) == {"read": 2, "updated": 1, "unchanged": 1}
    assert bench.rows("id", "a", "b") == [(1, "a", "b"), (2, "changed", "changed")]
    bench.give(columns, [(1, "new", "new"), (2, "changed", "changed"), (3, "x", "y")])
    update = bench.pipeline("merge", keys=("id",), update_columns=["b"])
    assert counts(update.sync()) == {"read": 3, "inserted": 1, "updated": 1, "unchanged": 1}
    assert bench.rows("id", "a", "b") == [(1, "a", "new"), (2, "changed", "changed"), (3, "x", "y")]
    bench.check()


@pytest.mark.parametrize("bench", pairs("merge"), indirect=True)
def test_merge_of_keys_alone(bench: Bench) -> None:
    bench.give({"id": BIGINT}, [(1,), (2,)])
    pipeline = bench.pipeline("merge", keys=("id",))
    assert counts(pipeline.sync()) == {"read": 2, "inserted": 2}
    bench.more([(3,)])
    assert counts(pipeline.sync()) == {"read": 3, "inserted": 1, "unchanged": 2}
    assert bench.rows("id") == [(1,), (2,), (3,)]


@pytest.mark.parametrize("bench", pairs("merge"), indirect=True)
def test_hard_deletes(bench: Bench) -> None:
    bench.give(COLUMNS, ROWS)
    pipeline = bench.pipeline("merge", keys=("id",), handle_deletes="hard")
    pipeline.sync()
    bench.give(COLUMNS, [(1, "one", DAY), (2, "zwei", DAY)])
    assert counts(pipeline.sync()) == {"read": 2, "updated": 1, "unchanged": 1, "deleted": 2}
    assert bench.rows("id", "name") == [(1, "one"), (2, "zwei")]
    bench.give(COLUMNS, [])
    kept = pipeline.sync()
    assert counts(kept) == {}
    assert "nothing was deleted" in str(kept.targets[0].warnings)
    assert len(bench.rows("id")) == 2
    assert counts(pipeline.sync(empty_source="apply")) == {"deleted": 2}
    assert bench.rows("id") == []
    bench.check()


@pytest.mark.parametrize("bench", pairs("append"), indirect=True)
def test_columns_are_renamed(bench: Bench) -> None:
    bench.give(COLUMNS, ROWS)
    pipeline = bench.pipeline("append", column_map={"number": "id", "label": "name"})
    assert counts(pipeline.sync()) == {"read": 4, "inserted": 4}
    assert bench.rows("number", "label") == [(1, "one"), (2, "two"), (3, None), (4, "")]


@pytest.mark.parametrize("bench", pairs("append", same=False), indirect=True)
def test_a_renamed_watermark_column(bench: Bench) -> None:
    bench.give(COLUMNS, ROWS)
    pipeline = bench.pipeline("append", column_map={"changed": "at"}, incremental=True, watermark_column="at")
    assert counts(pipeline.sync()) == {"read": 4, "inserted": 4}
    bench.more([(5, "five", DAY + dt.timedelta(hours=1))])
    assert counts(pipeline.sync()) == {"read": 5, "inserted": 1, "deduplicated": 4}
    assert [row[0] for row in bench.rows("id", "changed")] == [1, 2, 3, 4, 5]
