"""Tables as other programs see them: commits, schemas, partitions, versions, conditions."""

from __future__ import annotations

import dataclasses
import datetime as dt
import json
import os
import re
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake

from ematix_nb import ematix
from ematix_nb.backends.registry import open_session
from ematix_nb.config import connect
from ematix_nb.declare.data_types import BIGINT, TEXT, DataType
from ematix_nb.errors import (
    ConflictError,
    DataError,
    DeclarationError,
    FlowError,
    SchemaDriftError,
    TransientError,
    UnknownNameError,
)
from ematix_nb.events import RunStarted, Warned
from ematix_nb.load.source import open_reader
from ematix_nb.state.delta_state import DeltaState, epoch_tag
from ematix_nb.state.model import Claim, RunRecord
from ematix_nb.verbs.preview import preview
from ematix_nb.verbs.run import run
from tests.conformance.matrix import Delta, file_hashes, open_system
from tests.conformance.run import counts, declare
from tests.support.invariants import open_leases

from .conftest import Recorder, let_in

if TYPE_CHECKING:
    from pathlib import Path

    from tests.conformance.run import Bench

UID = "6b8e2b2e-8e4f-4e53-9a3a-0d6f5b0c1a2b"
SMALL = {"id": BIGINT, "name": TEXT}
ROWS = [(1, "one"), (2, "two"), (3, "three")]


def actions(lake: Delta, table: str, version: int) -> dict[str, list[Any]]:
    """The actions of one commit by their kind."""
    found: dict[str, list[Any]] = {}
    for line in (lake.folder / table / "_delta_log" / f"{version:020d}.json").read_text().splitlines():
        for kind, action in (json.loads(line) if line.strip() else {}).items():
            found.setdefault(kind, []).append(action)
    return found


def fetch(lake: Delta, sql: str) -> list[tuple[Any, ...]]:
    """The rows of a query over the place."""
    session = open_reader(lake.connection)
    try:
        return sorted(session.fetch(sql))
    finally:
        session.close()


# -- commits ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["append", "truncate", "merge", "scd2"])
def test_each_run_is_one_commit_that_names_its_state(bench: Bench, lake: Delta, mode: str) -> None:
    bench.give(SMALL, ROWS)
    options: dict[str, Any] = {"keys": ("id",)} if mode in ("merge", "scd2") else {}
    pipeline = bench.pipeline(mode, **options)
    pipeline.sync()
    bench.give(SMALL, [(1, "one"), (2, "again"), (4, "four")])
    pipeline.sync()
    assert lake.delta("tgt").version() == 1
    for version in (0, 1):
        tags = {tag["appId"]: tag["version"] for tag in actions(lake, "tgt", version)["txn"]}
        assert tags == {"ematix_flow/run/load": version + 1, "ematix_flow/epoch/load": version + 1}
        state = lake.folder / "tgt" / "_ematix_flow" / "load" / f"{version + 1:012d}.json"
        assert json.loads(state.read_text())["entry"]["runs"][-1]["status"] == "success"
    bench.check()


def test_a_merge_leaves_other_files_alone(bench: Bench, lake: Delta) -> None:
    lake.make("tgt", SMALL, [(1, "a"), (2, "b")])
    lake.add("tgt", SMALL, [(100, "c")])
    bench.give(SMALL, [(1, "new"), (2, "b"), (3, "d")])
    bench.pipeline("merge", keys=("id",)).sync()
    assert len(actions(lake, "tgt", 2)["remove"]) == 1
    assert bench.rows("id", "name") == [(1, "new"), (100, "c"), (2, "b"), (3, "d")]


def test_a_merge_that_changes_nothing_moves_the_state_only(bench: Bench, lake: Delta) -> None:
    bench.give(SMALL, ROWS)
    pipeline = bench.pipeline("merge", keys=("id",))
    pipeline.sync()
    assert counts(pipeline.sync()) == {"read": 3, "unchanged": 3}
    assert set(actions(lake, "tgt", 1)) == {"commitInfo", "txn"}


def test_new_keys_are_added_without_rewriting_a_file(bench: Bench, lake: Delta) -> None:
    bench.give(SMALL, ROWS)
    pipeline = bench.pipeline("merge", keys=("id",))
    pipeline.sync()
    bench.more([(4, "four")])
    assert counts(pipeline.sync()) == {"read": 4, "inserted": 1, "unchanged": 3}
    assert "remove" not in actions(lake, "tgt", 1)


def test_a_merge_that_changes_more_than_fits_in_memory(lake: Delta, monkeypatch: pytest.MonkeyPatch) -> None:
    """An UPDATE of the working database would hold all that it changes: it failed for want of memory."""
    from ematix_nb.load import delta_scratch

    monkeypatch.setattr(delta_scratch, "MEMORY_BYTES", 128_000_000)
    count = 400_000
    ids = pa.array(range(count), pa.int64())
    names = [pa.array([f"{word} {n:060d}" for n in range(count)]) for word in ("old", "new")]
    write_deltalake(lake.uri("tgt"), pa.table({"id": ids, "name": names[0], "more": names[0], "kept": names[0]}))
    frame = pa.table({"id": ids, "name": names[1], "more": names[1]})

    @ematix.pipeline(target_connection=lake.connection, target="tgt", mode="merge", keys=("id",))
    def merged(_: object) -> Any:
        return frame

    assert counts(merged.sync()) == {"read": count, "updated": count}
    query = (
        "SELECT count(*), count(DISTINCT id) FROM tgt WHERE name LIKE 'new%' AND more LIKE 'new%' AND kept LIKE 'old%'"
    )
    assert fetch(lake, query) == [(count, count)]


def test_a_dry_run_counts_exactly_and_leaves_no_trace(bench: Bench, lake: Delta, tmp_path: Path) -> None:
    bench.give(SMALL, ROWS)
    pipeline = bench.pipeline("merge", keys=("id",), handle_deletes="hard")
    assert counts(pipeline.dry_run()) == {"read": 3, "inserted": 3}
    assert list(lake.folder.iterdir()) == []
    pipeline.sync()
    bench.give(SMALL, [(1, "one"), (2, "changed"), (4, "new")])
    before = file_hashes(tmp_path)
    told = counts(pipeline.dry_run())
    pipeline.preview()
    assert file_hashes(tmp_path) == before
    assert told == counts(pipeline.sync()) == {"read": 3, "inserted": 1, "updated": 1, "unchanged": 1, "deleted": 1}


def test_a_preview_compares_with_the_table(bench: Bench) -> None:
    bench.give(SMALL, ROWS)
    pipeline = bench.pipeline("merge", keys=("id",))
    pipeline.sync()
    bench.give(SMALL, [(1, "one"), (2, "changed"), (4, "new")])
    target = pipeline.preview().targets[0]
    assert target.expected == {"same": 1, "update": 1, "insert": 1}


# -- schemas ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["append", "truncate", "merge"])
def test_new_columns_join_in_the_commit_of_the_rows(bench: Bench, lake: Delta, mode: str) -> None:
    """With rows in the table that no row of the source meets: they stay as they are."""
    bench.give(SMALL, [(1, "one"), (2, "two")])
    options: dict[str, Any] = {"keys": ("id",)} if mode == "merge" else {}
    pipeline = bench.pipeline(mode, **options)
    pipeline.sync()
    bench.give({**SMALL, "more": DataType("uuid")}, [(2, "two", UID), (3, "x", None)])
    pipeline.sync()
    wanted = {
        "append": [(1, "one", None), (2, "two", None), (2, "two", UID), (3, "x", None)],
        "truncate": [(2, "two", UID), (3, "x", None)],
        "merge": [(1, "one", None), (2, "two", UID), (3, "x", None)],
    }[mode]
    assert bench.rows("id", "name", "more") == sorted(wanted, key=repr)
    assert lake.delta("tgt").version() == 1
    assert "metaData" in actions(lake, "tgt", 1)
    bench.check()


def test_a_merge_into_a_foreign_table_keeps_its_other_rows_and_columns(bench: Bench, lake: Delta) -> None:
    """Such a table has neither the engine's columns nor its column types in the schema."""
    write_deltalake(lake.uri("tgt"), pa.table({"id": [1, 2, 9], "name": ["a", "b", "z"], "own": [1.5, 2.5, 9.5]}))
    bench.give(SMALL, [(1, "A"), (2, "b"), (3, "c")])
    result = bench.pipeline("merge", keys=("id",)).sync()
    assert counts(result) == {"read": 3, "inserted": 1, "updated": 1, "unchanged": 1}
    assert bench.rows("id", "name", "own") == [(1, "A", 1.5), (2, "b", 2.5), (3, "c", None), (9, "z", 9.5)]
    assert [row[0] is None for row in lake.rows("tgt", ["_batch_id", "id"])].count(True) == 2


def test_column_types_that_delta_has_no_word_for_are_kept_beside_the_schema(lake: Delta, bench: Bench) -> None:
    duck = open_system("duckdb", lake.folder.parent / "duck", None)
    duck.make("src", {"id": BIGINT, "u": DataType("uuid"), "j": DataType("json")}, [(1, UID, '{"a": 1}')])
    declare(duck, lake, "SELECT * FROM src", "one", mode="merge", keys=("u",)).sync()
    kinds = {field.name: field.metadata["ematix_nb.type"] for field in lake.delta("one").schema().fields}
    assert (kinds["u"], kinds["j"]) == ('{"kind": "uuid"}', '{"kind": "json"}')
    declare(lake, lake, "SELECT * FROM one", "one", mode="append", name="again").sync()
    session = open_session(lake.connection)
    assert [str(column.type) for column in session.scan("one").columns][:3] == ["bigint", "uuid", "json"]
    session.close()


def test_names_that_differ_only_by_case_are_refused(bench: Bench, lake: Delta) -> None:
    lake.make("tgt", {"Id": BIGINT, "Name": TEXT}, [(1, "a")])
    bench.give(SMALL, [(2, "b")])
    with pytest.raises(SchemaDriftError, match="column `id` of the source is `Id` in the target"):
        bench.pipeline("append").sync()


def test_a_column_keeps_its_type_and_refuses_what_does_not_fit(bench: Bench, lake: Delta) -> None:
    lake.make("tgt", {"id": DataType("integer"), "name": TEXT}, [(1, "a")])
    bench.give(SMALL, [(2, "b")])
    pipeline = bench.pipeline("append")
    pipeline.sync()
    bench.give(SMALL, [(2**40, "c")])
    with pytest.raises(DataError, match=r"`id`, row 1: '1099511627776' does not fit integer"):
        pipeline.sync()
    assert bench.rows("id") == [(1,), (2,)]
    bench.check()


def test_conditions_of_a_table_hold(bench: Bench, lake: Delta) -> None:
    lake.make("tgt", SMALL, [(1, "a")])
    lake.delta("tgt").alter.add_constraint({"small": "id < 10"})
    bench.give(SMALL, [(2, "b")])
    pipeline = bench.pipeline("append")
    pipeline.sync()
    bench.give(SMALL, [(11, "c")])
    with pytest.raises(DataError, match="the table `tgt` refuses the rows"):
        pipeline.sync()
    assert bench.rows("id", "name") == [(1, "a"), (2, "b")]


def test_a_table_that_is_for_appending_only(bench: Bench, lake: Delta) -> None:
    lake.make("tgt", SMALL, [(1, "a")])
    lake.delta("tgt").alter.set_table_properties({"delta.appendOnly": "true"})
    bench.give(SMALL, [(2, "b")])
    bench.pipeline("append").sync()
    with pytest.raises(FlowError, match=r"delta\.appendOnly"):
        bench.pipeline("truncate").sync()
    assert bench.rows("id") == [(1,), (2,)]


@pytest.mark.parametrize("mode", ["append", "merge"])
def test_a_time_without_a_zone_joins_a_table_that_had_none(bench: Bench, lake: Delta, mode: str) -> None:
    """The library has to raise the table's protocol for it."""
    options: dict[str, Any] = {"keys": ("id",)} if mode == "merge" else {}
    bench.give(SMALL, [(1, "a")])
    pipeline = bench.pipeline(mode, **options)
    pipeline.sync()
    noon = dt.datetime(2026, 1, 1, 12)  # noqa: DTZ001
    bench.give({**SMALL, "at": DataType("timestamp")}, [(2, "b", noon)])
    pipeline.sync()
    assert bench.rows("id", "at") == [(1, None), (2, noon)]
    assert "timestampNtz" in (lake.delta("tgt").protocol().writer_features or [])


@pytest.mark.parametrize(
    ("feature", "mode"), [("rowTracking", "append"), ("columnMapping", "append"), ("deletionVectors", "merge")]
)
def test_features_that_a_commit_would_not_honour_are_refused(
    bench: Bench, lake: Delta, feature: str, mode: str
) -> None:
    lake.make("tgt", SMALL, [(1, "a")])
    log = lake.folder / "tgt" / "_delta_log" / f"{0:020d}.json"
    protocol = {
        "minReaderVersion": 3,
        "minWriterVersion": 7,
        "readerFeatures": [feature] if feature != "rowTracking" else [],
        "writerFeatures": [feature],
    }
    found = [json.loads(line) for line in log.read_text().splitlines() if line.strip()]
    log.write_text("\n".join(json.dumps({"protocol": protocol} if "protocol" in one else one) for one in found))
    bench.give(SMALL, [(2, "b")])
    options: dict[str, Any] = {"keys": ("id",)} if mode == "merge" else {}
    with pytest.raises(DeclarationError, match=f"mode {mode} cannot write the table `tgt`: it uses {feature}"):
        bench.pipeline(mode, **options).sync()
    assert lake.delta("tgt").version() == 0


# -- partitions -------------------------------------------------------------------------------------------------


def partitioned(bench: Bench, mode: str = "append", by: Any = "day", **options: Any) -> Any:
    """A pipeline whose target is partitioned."""
    target = ematix.target("tgt", target_connection=bench.target.connection, mode=mode, partition_by=by, **options)

    def query(_: object) -> str:
        return f"SELECT * FROM {bench.source.source('src')}"

    return ematix.pipeline(name="load", source_connection=bench.source.connection, target=target)(query)


SALES = {"id": BIGINT, "day": DataType("date"), "amount": BIGINT}
DAY = dt.date(2026, 1, 1)


@pytest.mark.parametrize("mode", ["append", "merge"])
def test_partitions(bench: Bench, lake: Delta, mode: str) -> None:
    keys: dict[str, Any] = {"keys": ("id",)} if mode == "merge" else {}
    bench.give(SALES, [(1, DAY, 10), (2, DAY + dt.timedelta(days=1), 20), (3, None, 30)])
    pipeline = partitioned(bench, mode, **keys)
    pipeline.sync()
    assert lake.delta("tgt").metadata().partition_columns == ["day"]
    days = [str(found["day"]) for found in lake.delta("tgt").partitions()]
    assert sorted(days) == ["2026-01-01", "2026-01-02", "None"]
    bench.give(SALES, [(1, DAY, 11), (2, DAY, 20), (4, DAY, 40)])
    pipeline.sync()
    wanted = [(1, DAY, 11), (2, DAY, 20), (3, None, 30), (4, DAY, 40)]
    if mode == "append":
        wanted = [
            (1, DAY, 10),
            (2, DAY + dt.timedelta(days=1), 20),
            (3, None, 30),
            (1, DAY, 11),
            (2, DAY, 20),
            (4, DAY, 40),
        ]
    assert bench.rows("id", "day", "amount") == sorted(wanted, key=repr)
    assert fetch(lake, "SELECT id FROM tgt WHERE day = DATE '2026-01-01' AND amount > 11") == [(2,), (4,)]
    bench.check()


def test_partitions_that_cannot_be_are_refused(bench: Bench, lake: Delta) -> None:
    bench.give({"id": BIGINT, "place": TEXT}, [(1, "a"), (2, "")])
    with pytest.raises(DataError, match=r"`place`, row 2: an empty text cannot name a partition"):
        partitioned(bench, by="place").sync()
    assert not lake.has("tgt")
    with pytest.raises(DeclarationError, match="`partition_by` names `nowhere`"):
        partitioned(bench, by="nowhere").sync()
    lake.make("tgt", {"id": BIGINT, "place": TEXT}, [])
    with pytest.raises(DeclarationError, match="is partitioned by nothing, not by place"):
        partitioned(bench, by="place").sync()


# -- versions ---------------------------------------------------------------------------------------------------


def test_an_old_version_is_read_by_number_and_by_time(lake: Delta, bench: Bench) -> None:
    lake.make("t", SMALL, [(1, "a")])
    lake.add("t", SMALL, [(2, "b")])
    connect(f"delta:///{lake.folder}", name="lake")
    begin = lake.delta("t").history()[-1]["timestamp"]
    moment = dt.datetime.fromtimestamp(begin / 1000, dt.UTC).isoformat(timespec="milliseconds")
    assert fetch(lake, "SELECT id FROM t") == [(1,), (2,)]
    assert fetch(lake, 'SELECT id FROM "t@v0"') == [(1,)]
    assert fetch(lake, f'SELECT count(*) FROM "t@{moment}"') == [(1,)]
    assert fetch(lake, 'SELECT n.id FROM t AS n LEFT JOIN "t@v0" AS o ON n.id = o.id WHERE o.id IS NULL') == [(2,)]
    assert preview("lake:t@v0").sample.num_rows == 1
    declare(lake, lake, 'SELECT * FROM "t@v0"', "old", mode="append").sync()
    assert lake.rows("old", ["id", "name"]) == [(1, "a")]


@pytest.mark.parametrize(
    ("name", "error", "match"),
    [
        ("t@v7", UnknownNameError, "`t` has no version 7; the newest is 0"),
        ("t@2001-01-01T00:00:00Z", UnknownNameError, "`t` has no version of 2001-01-01"),
        ("t@2026-01-01", DataError, "has no zone"),
        ("t@2026-13-01T00:00:00Z", DataError, "is no time"),
        ("t@x", UnknownNameError, "there is no table `t@x`"),
    ],
)
def test_versions_that_are_not_there(lake: Delta, name: str, error: type[FlowError], match: str) -> None:
    lake.make("t", SMALL, [(1, "a")])
    with pytest.raises(error, match=match):
        fetch(lake, f'SELECT * FROM "{name}"')


def test_an_old_version_cannot_be_written(bench: Bench, lake: Delta) -> None:
    lake.make("tgt", SMALL, [(1, "a")])
    bench.give(SMALL, ROWS)
    bench.table = "tgt@v0"
    with pytest.raises(DeclarationError, match="names an old version, which cannot be written"):
        bench.pipeline("append").sync()


def test_a_connection_reads_tables_as_they_were(lake: Delta, bench: Bench) -> None:
    lake.make("t", SMALL, [(1, "a")])
    lake.add("t", SMALL, [(2, "b")])
    lake.add("t", SMALL, [(3, "c")])
    for log in (lake.folder / "t" / "_delta_log").glob("*.json"):
        os.utime(log, (1, 1))  # as a copy of the table has them: the commits tell their times themselves
    times = {entry["version"]: entry["timestamp"] / 1000 for entry in lake.delta("t").history()}
    then = dt.datetime.fromtimestamp(times[1], dt.UTC).isoformat()
    old = {
        "first": dataclasses.replace(lake.connection, name="first", version=0),  # type: ignore[call-arg]
        "then": dataclasses.replace(lake.connection, name="then", timestamp=then),  # type: ignore[call-arg]
    }
    found = {}
    for name, connection in old.items():
        session = open_reader(connection)
        found[name] = sorted(session.fetch("SELECT id FROM t"))
        assert sorted(session.fetch('SELECT id FROM "t@v2"')) == [(1,), (2,), (3,)]
        session.close()
    assert found == {"first": [(1,)], "then": [(1,), (2,)]}
    past = Delta(lake.folder, "past")
    past.connection = old["then"]
    declare(past, lake, "SELECT * FROM t", "copy", mode="merge", keys=("id",)).sync()
    assert lake.rows("copy", ["id"]) == [(1,), (2,)]


@pytest.mark.parametrize(
    ("option", "match"),
    [
        ({"version": 7}, "`t` has no version 7; the newest is 0"),
        ({"timestamp": "2001-01-01T00:00:00Z"}, "`t` has no version of 2001-01-01"),
    ],
)
def test_a_connection_to_versions_that_are_not_there(lake: Delta, option: dict[str, Any], match: str) -> None:
    lake.make("t", SMALL, [(1, "a")])
    lake.connection = dataclasses.replace(lake.connection, **option)
    with pytest.raises(UnknownNameError, match=match):
        fetch(lake, "SELECT * FROM t")


@pytest.mark.parametrize("option", [{"version": 0}, {"timestamp": "2126-01-01T00:00:00Z"}])
def test_a_connection_to_old_versions_is_no_target(bench: Bench, lake: Delta, option: dict[str, Any]) -> None:
    lake.make("tgt", SMALL, [(1, "a")])
    bench.give(SMALL, ROWS)
    lake.connection = dataclasses.replace(lake.connection, **option)
    pipeline = bench.pipeline("append")
    for act in (pipeline.sync, pipeline.dry_run, pipeline.preview):
        with pytest.raises(DeclarationError, match=f"connection `lake` has a `{next(iter(option))}`"):
            act()
    assert lake.delta("tgt").version() == 0


def test_tables_are_found_in_folders(lake: Delta) -> None:
    lake.make("raw/orders", SMALL, [(1, "a")])
    lake.make("top", SMALL, [(1, "b")])
    assert fetch(lake, "SELECT name FROM raw.orders") == [("a",)]
    assert fetch(lake, 'SELECT name FROM "raw/orders"') == [("a",)]
    with pytest.raises(UnknownNameError, match="raw/orders, top"):
        fetch(lake, "SELECT * FROM other")
    for bad in ("../x", "a|b", "_delta_log", "a/*"):
        with pytest.raises(FlowError):
            fetch(lake, f'SELECT * FROM "{bad}"')


# -- others at work ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["merge", "scd2", "truncate", "append"])
def test_who_loses_against_another_writer_works_its_load_out_anew(bench: Bench, lake: Delta, mode: str) -> None:
    """The other writer's row is one that the load would have met."""
    bench.give(SMALL, ROWS)
    options: dict[str, Any] = {"keys": ("id",)} if mode in ("merge", "scd2") else {}
    pipeline = bench.pipeline(mode, **options)
    pipeline.sync()
    bench.give(SMALL, [(1, "changed"), (9, "ours")])
    theirs = with_current((9, "theirs")) if mode == "scd2" else (SMALL, [(9, "theirs")])
    with let_in(lambda _: lake.add("tgt", *theirs)):
        result = pipeline.sync()
    wanted = {
        "merge": ({"read": 2, "updated": 2}, [(1, "changed"), (2, "two"), (3, "three"), (9, "ours")]),
        "truncate": ({"read": 2, "inserted": 2}, [(1, "changed"), (9, "ours")]),
        "append": ({"read": 2, "inserted": 2}, [*ROWS, (1, "changed"), (9, "ours"), (9, "theirs")]),
        "scd2": ({"read": 2, "inserted": 2, "closed": 2}, [*ROWS, (1, "changed"), (9, "ours"), (9, "theirs")]),
    }[mode]
    assert (counts(result), bench.rows("id", "name")) == (wanted[0], sorted(wanted[1], key=repr))
    assert lake.delta("tgt").version() == 2
    assert open_leases(lake.connection, "tgt") == []


def test_who_loses_again_and_again_says_so(bench: Bench, lake: Delta) -> None:
    bench.give(SMALL, ROWS)
    pipeline = bench.pipeline("merge", keys=("id",))
    pipeline.sync()
    bench.give(SMALL, [(1, "changed")])
    listener = Recorder()
    message = "another writer changed the table `tgt` .*; nothing of this run was committed; so it went 5 times"
    with let_in(lambda number: lake.add("tgt", SMALL, [(10 + number, "theirs")]), times=5):
        result = run(pipeline.spec, listener=listener)
    assert isinstance(result.targets[0].error, TransientError)
    assert re.search(message, str(result.targets[0].error))
    assert [event.message for event in listener.of(Warned)] == [
        f"another writer changed the target first: the load is worked out anew (try {number} of 5)"
        for number in range(2, 6)
    ]
    assert len(listener.of(RunStarted)) == 1
    assert [row[0] for row in bench.rows("id")] == [1, 10, 11, 12, 13, 14, 2, 3]
    assert counts(pipeline.sync()) == {"read": 1, "updated": 1}
    assert open_leases(lake.connection, "tgt") == []


def test_rows_that_come_once_are_not_asked_for_again(lake: Delta) -> None:
    lake.make("tgt", SMALL, [(1, "a")])
    rows = pa.table({"id": [1], "name": ["b"]})

    @ematix.pipeline(target_connection=lake.connection, target="tgt", mode="merge", keys=("id",))
    def once(_: object) -> Any:
        return rows.to_reader()

    with (
        let_in(lambda _: lake.add("tgt", SMALL, [(9, "theirs")])),
        pytest.raises(ConflictError, match="another writer changed the table `tgt`"),
    ):
        once.sync()
    assert lake.rows("tgt", ["id", "name"]) == [(1, "a"), (9, "theirs")]


def test_two_makers_of_a_table_end_in_one(bench: Bench, lake: Delta) -> None:
    bench.give(SMALL, ROWS)
    with let_in(lambda _: lake.make("tgt", SMALL, [(9, "theirs")])):
        assert counts(bench.pipeline("append").sync()) == {"read": 3, "inserted": 3}
    assert bench.rows("id") == [(1,), (2,), (3,), (9,)]
    bench.check()


def with_current(row: tuple[int, str]) -> tuple[dict[str, DataType], list[tuple[Any, ...]]]:
    """A row as a foreign program would add it to a table with versions."""
    kinds = {"valid_from": DataType("timestamptz"), "is_current": DataType("boolean")}
    return {**SMALL, **kinds}, [(*row, dt.datetime(2026, 1, 1, tzinfo=dt.UTC), True)]


def test_appends_of_two_pipelines_do_not_hinder_each_other(
    bench: Bench, lake: Delta, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ematix_nb.load import delta_load

    bench.give(SMALL, ROWS)
    one, other = bench.pipeline("append", name="one"), bench.pipeline("append", name="other")
    one.sync()
    real = delta_load.DeltaLoad.write_state
    nested: list[Any] = []

    def meddled(load: Any, *given: Any) -> None:
        if not nested:
            nested.append(True)
            other.sync()
        real(load, *given)

    monkeypatch.setattr(delta_load.DeltaLoad, "write_state", meddled)
    one.sync()
    assert len(bench.rows("id")) == 9
    bench.check()


def test_a_zombie_cannot_commit(bench: Bench, lake: Delta) -> None:
    """Its lease was taken over: a commit that was built before the fence is refused by the table itself."""
    bench.give(SMALL, ROWS)
    bench.pipeline("append").sync()
    session = open_session(lake.connection)
    state = DeltaState(session, "tgt")
    zombie = state.acquire(Claim("p", "z", "host", "1:1", -1.0), RunRecord(run_id="z", pipeline="p"))
    table = session.table("tgt")
    state.watermark("p")
    tags = state.before_commit(table, zombie, RunRecord(run_id="z", pipeline="p", status="success"), None)
    taker = state.acquire(Claim("p", "t", "host", "1:1"), RunRecord(run_id="t", pipeline="p"))
    assert (taker.epoch, taker.took_over) == (zombie.epoch + 1, "z")
    assert lake.delta("tgt").transaction_version(epoch_tag("p")) == taker.epoch
    with pytest.raises(TransientError, match="another writer changed the table"):
        session.commit_nothing("tgt", table, tags)
    with pytest.raises(TransientError, match="lost the lease"):
        state.before_commit(session.table("tgt"), zombie, RunRecord(run_id="z", pipeline="p"), None)
    session.close()


def test_a_commit_of_the_library_with_another_tag_goes_through(lake: Delta) -> None:
    """Why every commit of the engine carries its tags: the table compares nothing else."""
    lake.make("t", SMALL, [(1, "a")])
    one, other = DeltaTable(lake.uri("t")), DeltaTable(lake.uri("t"))
    rows = pa.table({"id": [2], "name": ["b"]})
    write_deltalake(
        one, rows, mode="append", commit_properties=CommitProperties(app_transactions=[Transaction("a", 1)])
    )
    write_deltalake(
        other, rows, mode="append", commit_properties=CommitProperties(app_transactions=[Transaction("b", 1)])
    )
    assert lake.delta("t").version() == 2


def test_state_survives_a_checkpoint(bench: Bench, lake: Delta) -> None:
    bench.give({**SMALL, "ts": DataType("timestamp")}, [(1, "a", dt.datetime(2026, 1, 1, 10))])  # noqa: DTZ001
    pipeline = bench.pipeline("append", incremental=True, watermark_column="ts")
    pipeline.sync()
    table = lake.delta("tgt")
    table.create_checkpoint()
    bench.more([(2, "b", dt.datetime(2026, 1, 1, 11))])  # noqa: DTZ001
    assert counts(pipeline.sync()) == {"read": 2, "inserted": 1, "deduplicated": 1}
    assert bench.rows("id") == [(1,), (2,)]


def test_a_watermark_that_is_set_by_hand_counts_until_the_next_commit(bench: Bench, lake: Delta) -> None:
    from ematix_nb.state.model import Watermark

    bench.give(SMALL, ROWS)
    pipeline = bench.pipeline("merge", keys=("id",), incremental=True, watermark_column="id")
    pipeline.sync()
    session = open_session(lake.connection)
    state = DeltaState(session, "tgt")
    assert state.watermark("load") == Watermark("id", "3", "bigint")
    state.reset_watermark("load", Watermark("id", "2", "bigint"))
    assert state.watermark("load") == Watermark("id", "2", "bigint")
    assert lake.delta("tgt").version() == 0
    assert counts(pipeline.sync())["read"] == 2
    assert state.watermark("load") == Watermark("id", "3", "bigint")
    state.reset_watermark("load", None)
    assert state.watermark("load") is None
    assert counts(pipeline.sync())["read"] == 3
    session.close()


def test_a_state_file_that_is_gone_stops_the_next_load(bench: Bench, lake: Delta) -> None:
    bench.give(SMALL, ROWS)
    pipeline = bench.pipeline("append")
    pipeline.sync()
    (lake.folder / "tgt" / "_ematix_flow" / "load" / f"{1:012d}.json").unlink()
    with pytest.raises(DataError, match="state file 1 of pipeline `load` in `tgt/_ematix_flow` is gone"):
        pipeline.sync()
    assert len(bench.rows("id")) == 3


def test_old_state_files_go(bench: Bench, lake: Delta) -> None:
    bench.give(SMALL, ROWS)
    pipeline = bench.pipeline("merge", keys=("id",))
    for _ in range(25):
        pipeline.sync()
    folder = lake.folder / "tgt" / "_ematix_flow" / "load"
    assert len(list(folder.glob("*.json"))) <= 22
    assert len(list((folder / "lease").glob("*.json"))) <= 20
    bench.check()


# -- care of the table by other tools ---------------------------------------------------------------------------


def test_a_vacuum_removes_what_no_version_needs_and_keeps_the_state(bench: Bench, lake: Delta) -> None:
    bench.give(SMALL, ROWS)
    pipeline = bench.pipeline("truncate")
    pipeline.sync()
    pipeline.sync()
    table = lake.delta("tgt")
    removed = table.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False)
    assert len(removed) == 1
    assert len(list(lake.folder.rglob("*.parquet"))) == 1
    assert bench.rows("id") == [(1,), (2,), (3,)]
    assert counts(pipeline.sync()) == {"read": 3, "inserted": 3}
    bench.check()


def test_a_load_after_a_compaction_and_after_a_restore(bench: Bench, lake: Delta) -> None:
    bench.give(SMALL, ROWS)
    pipeline = bench.pipeline("merge", keys=("id",))
    pipeline.sync()
    bench.more([(4, "four")])
    pipeline.sync()
    lake.delta("tgt").optimize.compact()
    bench.give(SMALL, [(1, "changed"), (5, "five")])
    pipeline.sync()
    assert bench.rows("id", "name") == [(1, "changed"), (2, "two"), (3, "three"), (4, "four"), (5, "five")]
    lake.delta("tgt").restore(0)
    assert bench.rows("id") == [(1,), (2,), (3,)]
    assert counts(pipeline.sync()) == {"read": 2, "inserted": 1, "updated": 1}
    assert bench.rows("id", "name") == [(1, "changed"), (2, "two"), (3, "three"), (5, "five")]


def test_who_loses_holds_its_rows_aside_once(bench: Bench, lake: Delta) -> None:
    bench.give(SMALL, ROWS)
    bench.pipeline("merge", keys=("id",)).sync()
    bench.give({"id": BIGINT, "name": TEXT, "more": BIGINT}, [(1, "new", None), (4, "aside", 7)])
    with let_in(lambda _: lake.add("tgt", SMALL, [(9, "theirs")])):
        result = bench.pipeline("merge", keys=("id",), on_drift="quarantine").sync()
    assert counts(result) == {"read": 2, "updated": 1, "quarantined": 1}
    assert lake.rows("tgt__quarantine", ["run_id", "row_number"]) == [(result.run_id, 2)]
