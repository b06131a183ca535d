"""Changes written by place: which files are read and replaced, and that the library's own merge gives the same rows."""

from __future__ import annotations

import datetime as dt
import random
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake

from ematix_nb.backends.delta import io
from ematix_nb.declare.data_types import BIGINT, TEXT, DataType
from ematix_nb.errors import DataError, RunError
from tests.conformance.run import counts

from .test_tables import actions

if TYPE_CHECKING:
    from tests.conformance.matrix import Delta
    from tests.conformance.run import Bench

SMALL = {"id": BIGINT, "name": TEXT}
WIDE = {
    **SMALL,
    "code": TEXT,
    "price": DataType("numeric", precision=30, scale=4),
    "at": DataType("timestamptz"),
    "day": DataType("date"),
    "good": DataType("boolean"),
}
OURS = {**SMALL, "_loaded_at": DataType("timestamptz"), "_batch_id": TEXT}
START = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


def wide(key: int, word: str) -> tuple[Any, ...]:
    """A row in all kinds of columns, some of them NULL."""
    return (
        key,
        word,
        None if key % 3 else f"{word} {key}",
        Decimal(key).scaleb(-4) + 10**20,
        START + dt.timedelta(microseconds=key),
        START.date() + dt.timedelta(days=key % 4) if key % 5 else None,
        key % 2 == 0,
    )


def by_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the library change every table."""
    monkeypatch.setattr(io.DeltaSession, "placed", lambda *_: None)


# -- which files ------------------------------------------------------------------------------------------------


def test_files_that_cannot_hold_a_key_are_not_opened(bench: Bench, lake: Delta) -> None:
    lake.make("tgt", OURS, [(1, "a", None, None), (2, "b", None, None)])
    lake.add("tgt", SMALL, [(100, "c"), (200, "d")])
    (other,) = [uri for uri in lake.delta("tgt").file_uris() if pq.read_table(uri)["id"][0].as_py() == 100]
    moved = other + ".away"
    (lake.folder / other).rename(moved)
    bench.give(SMALL, [(1, "new"), (3, "e")])
    assert counts(bench.pipeline("merge", keys=("id",)).sync()) == {"read": 2, "inserted": 1, "updated": 1}
    (lake.folder / moved).rename(other)
    assert bench.rows("id", "name") == [(1, "new"), (100, "c"), (2, "b"), (200, "d"), (3, "e")]


def test_a_file_whose_bounds_fit_but_which_no_row_meets_stays(bench: Bench, lake: Delta) -> None:
    lake.make("tgt", OURS, [])
    for rows in ([(1, "a"), (9, "b")], [(2, "c"), (8, "d")], [(3, "e"), (7, "f")]):
        lake.add("tgt", SMALL, rows)
    bench.give(SMALL, [(2, "new"), (8, "d")])
    bench.pipeline("merge", keys=("id",)).sync()
    done = actions(lake, "tgt", lake.delta("tgt").version())
    assert (len(done["remove"]), len(done["add"])) == (1, 1)
    assert bench.rows("id", "name") == [(1, "a"), (2, "new"), (3, "e"), (7, "f"), (8, "d"), (9, "b")]


def test_rows_stay_near_their_place(bench: Bench, lake: Delta) -> None:
    """So the bounds of a rewritten file stay narrow, and the next load leaves it alone too."""
    count, none = 300_000, pa.nulls(300_000)
    old = {"id": range(count), "name": ["old"] * count, "_batch_id": none.cast(pa.string())}
    write_deltalake(lake.uri("tgt"), pa.table({**old, "_loaded_at": none.cast(pa.timestamp("us", "UTC"))}))
    bench.give(SMALL, [(5, "new"), (count - 5, "new")])
    bench.pipeline("merge", keys=("id",)).sync()
    (uri,) = lake.delta("tgt").file_uris()
    found = pq.read_table(uri)["id"].to_pylist()
    assert found.index(5) < count // 2 < found.index(count - 5)  # the library shuffles what it has in hand
    assert sorted(found) == list(range(count))


def test_what_no_file_holds_is_not_in_the_log_either(bench: Bench, lake: Delta) -> None:
    """Bounds of long decimals would be rounded, and hide rows."""
    bench.give(WIDE, [wide(key, "old") for key in range(5)])
    pipeline = bench.pipeline("merge", keys=("id",))
    pipeline.sync()
    bench.give(WIDE, [wide(3, "new")])
    pipeline.sync()
    (add,) = actions(lake, "tgt", 1)["add"]
    assert '"id":' in add["stats"].replace(" ", "")
    assert "price" not in add["stats"].partition("nullCount")[0]
    assert DeltaTable(lake.uri("tgt"), version=0).count() == 5


# -- the same as the library ------------------------------------------------------------------------------------

OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "merge": ("merge", {"keys": ("id",)}),
    "merge by two keys": ("merge", {"keys": ("id", "day")}),
    "merge and delete": ("merge", {"keys": ("id",), "handle_deletes": "hard"}),
    "scd2": ("scd2", {"keys": ("id",)}),
    "scd2 and close": ("scd2", {"keys": ("id",), "handle_deletes": "soft"}),
    "scd2 by events": ("scd2", {"keys": ("id",), "event_timestamp_column": "at"}),
}


def loaded(bench: Bench, lake: Delta, how: str, seed: int) -> tuple[Any, ...]:
    """The rows after several loads of random changes into a table of several files, by each way."""
    chance = random.Random(seed)
    mode, options = OPTIONS[how]
    names = [
        *WIDE,
        *(["is_current"] if mode == "scd2" else []),
        *(["valid_from", "valid_to"] if "events" in how else []),
    ]
    results = []
    pipeline = bench.pipeline(mode, **options)
    for number in range(4):
        keys = chance.sample(range(60), 25)
        rows = [wide(key, f"load {number}") if chance.random() < 0.6 else wide(key, "same") for key in keys]
        bench.give(WIDE, [row for row in rows if row[5] is not None] if "two keys" in how else rows)
        results.append(counts(pipeline.sync()))
    return results, bench.rows(*names), lake.delta("tgt").version()


DAILY = [("merge and delete", 1), ("merge by two keys", 1), ("scd2 by events", 1)]
CASES = [(how, seed) for how in OPTIONS for seed in range(1, 5)]


@pytest.mark.parametrize(
    ("how", "seed"), [case if case in DAILY else pytest.param(*case, marks=pytest.mark.nightly) for case in CASES]
)
def test_the_library_gives_the_same_rows(
    bench: Bench, lake: Delta, tmp_path: Path, how: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.conformance.matrix import Delta as Place
    from tests.conformance.run import Bench as Pair

    ours = loaded(bench, lake, how, seed)
    by_the_library(monkeypatch)
    other = Place(tmp_path / "other", "lake")
    assert loaded(Pair(other, bench.source), other, how, seed) == ours


@pytest.mark.parametrize("values", [["a b/ü%=", "plain", None], [3, -1, None], [True, False, None], ["x", "X", "1"]])
def test_partitions_of_all_kinds(bench: Bench, lake: Delta, values: list[Any]) -> None:
    kinds = {int: BIGINT, bool: DataType("boolean"), str: TEXT}
    columns = {**SMALL, "part": kinds[type(values[0])]}
    table = pa.table({"id": range(6), "name": ["old"] * 6, "part": values * 2})
    write_deltalake(lake.uri("tgt"), table, partition_by=["part"])
    bench.give(columns, [(0, "new", values[0]), (2, "new", values[2]), (4, "moved", values[0]), (9, "more", values[1])])
    assert counts(bench.pipeline("merge", keys=("id",)).sync()) == {"read": 4, "inserted": 1, "updated": 3}
    wanted = [(0, "new", values[0]), (1, "old", values[1]), (2, "new", values[2]), (3, "old", values[0])]
    wanted += [(4, "moved", values[0]), (5, "old", values[2]), (9, "more", values[1])]
    assert bench.rows("id", "name", "part") == sorted(wanted, key=repr)
    bench.check()


def test_a_partition_as_key(bench: Bench, lake: Delta) -> None:
    table = pa.table({"id": [1, 1, 2], "name": ["a", "b", "c"], "part": ["x", "y", "x"]})
    write_deltalake(lake.uri("tgt"), table, partition_by=["part"])
    bench.give({**SMALL, "part": TEXT}, [(1, "new", "y"), (3, "d", "y")])
    assert counts(bench.pipeline("merge", keys=("id", "part")).sync()) == {"read": 2, "inserted": 1, "updated": 1}
    assert bench.rows("id", "name", "part") == [(1, "a", "x"), (1, "new", "y"), (2, "c", "x"), (3, "d", "y")]


# -- what is left to the library --------------------------------------------------------------------------------


def test_a_change_feed_tells_each_change(bench: Bench, lake: Delta) -> None:
    table = pa.table({"id": [1, 2], "name": ["a", "b"]})
    write_deltalake(lake.uri("tgt"), table, configuration={"delta.enableChangeDataFeed": "true"})
    bench.give(SMALL, [(1, "new"), (3, "c")])
    bench.pipeline("merge", keys=("id",)).sync()
    feed = pa.table(lake.delta("tgt").load_cdf(starting_version=1).read_all())
    told = sorted(zip(feed["_change_type"].to_pylist(), feed["id"].to_pylist(), strict=True))
    assert told == [("insert", 3), ("update_postimage", 1), ("update_preimage", 1)]


def test_conditions_of_a_table_hold_for_changes(bench: Bench, lake: Delta) -> None:
    lake.make("tgt", SMALL, [(1, "a"), (2, "b")])
    lake.delta("tgt").alter.add_constraint({"good": "name <> 'bad'"})
    bench.give(SMALL, [(1, "bad")])
    with pytest.raises(DataError, match="the table `tgt` refuses the rows"):
        bench.pipeline("merge", keys=("id",)).sync()
    assert bench.rows("id", "name") == [(1, "a"), (2, "b")]


def test_a_file_in_other_types_is_read_by_the_library(bench: Bench, lake: Delta) -> None:
    """Such files are adopted as they are; other programs write them."""
    noon = dt.datetime(2026, 1, 1, 12, tzinfo=dt.UTC)
    at = DataType("timestamptz")
    lake.make("tgt", {**SMALL, "at": at}, [(1, "a", noon)])
    (uri,) = lake.delta("tgt").file_uris()
    schema = pa.schema([("id", pa.int64()), ("name", pa.string()), ("at", pa.timestamp("ns", "UTC"))])
    before = Path(uri).stat().st_size
    pq.write_table(pa.table([[1], ["a"], [noon]], schema=schema), uri)
    log = lake.folder / "tgt" / "_delta_log" / f"{0:020d}.json"
    log.write_text(log.read_text().replace(f'"size":{before}', f'"size":{Path(uri).stat().st_size}'))
    bench.give({**SMALL, "at": at}, [(1, "new", noon), (2, "b", noon)])
    assert counts(bench.pipeline("merge", keys=("id",)).sync()) == {"read": 2, "inserted": 1, "updated": 1}
    assert bench.rows("id", "name", "at") == [(1, "new", noon), (2, "b", noon)]


@pytest.mark.parametrize("other_file", [False, True])
def test_new_columns_join_with_a_change(bench: Bench, lake: Delta, other_file: bool) -> None:  # noqa: FBT001
    """By one commit: whether all files are replaced, or one stays as it is."""
    lake.make("tgt", SMALL, [(1, "a"), (2, "b")])
    if other_file:
        lake.add("tgt", SMALL, [(100, "c")])
    version = lake.delta("tgt").version()
    bench.give({**SMALL, "more": BIGINT}, [(1, "new", 7), (3, "d", None)])
    bench.pipeline("merge", keys=("id",)).sync()
    done = actions(lake, "tgt", version + 1)
    assert (len(done["metaData"]), len(done["remove"]), len(done["txn"])) == (1, 1, 2)
    assert lake.delta("tgt").version() == version + 1
    wanted = [(1, "new", 7), (2, "b", None), (3, "d", None), *([(100, "c", None)] if other_file else [])]
    assert bench.rows("id", "name", "more") == sorted(wanted, key=repr)


def test_a_new_time_without_a_zone_joins_with_a_change(bench: Bench, lake: Delta) -> None:
    noon = dt.datetime(2026, 1, 1, 12)  # noqa: DTZ001
    lake.make("tgt", SMALL, [(1, "a")])
    bench.give({**SMALL, "at": DataType("timestamp")}, [(1, "b", noon)])
    bench.pipeline("merge", keys=("id",)).sync()
    assert bench.rows("id", "at") == [(1, noon)]
    assert "timestampNtz" in (lake.delta("tgt").protocol().writer_features or [])


def test_a_file_that_goes_away_in_the_middle_is_told(
    bench: Bench, lake: Delta, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Raised while another engine pulls the rows, and told as what it is."""
    from ematix_nb.backends.delta.objects import LocalObjects

    bench.give(SMALL, [(1, "a")])
    pipeline = bench.pipeline("merge", keys=("id",))
    pipeline.sync()
    bench.give(SMALL, [(1, "b")])
    opened: list[str] = []

    def once(self: Any, name: str) -> Any:
        opened.append(name)
        if len(opened) > 1:
            raise FileNotFoundError(name)
        return real(self, name)

    real = LocalObjects.open
    monkeypatch.setattr(LocalObjects, "open", once)
    with pytest.raises(RunError, match="the Delta library failed on `tgt`"):
        pipeline.sync()
    monkeypatch.undo()
    assert bench.rows("id", "name") == [(1, "a")]
    assert counts(pipeline.sync()) == {"read": 1, "updated": 1}
