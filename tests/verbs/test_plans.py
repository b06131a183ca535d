"""What the plan of a load says: asked of a preview, which writes nothing."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb import Target, checks, ematix, register_connection
from ematix_nb.backends.sqlite.io import SQLiteSession
from ematix_nb.declare import registry
from ematix_nb.declare.data_types import BIGINT, TEXT, TIMESTAMPTZ
from ematix_nb.declare.spec import Column, TableRef
from ematix_nb.declare.tables import table
from ematix_nb.errors import CancelledError, DataError, DeclarationError, SchemaDriftError
from ematix_nb.load import planner
from ematix_nb.types import BigInt, Text  # noqa: TC001 - the annotations of a declared table are read
from tests.conformance.matrix import open_system
from tests.conformance.run import Bench, declare

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ematix_nb.api import Pipeline
    from ematix_nb.load.plan import LoadPlan

COLUMNS = {"id": BIGINT, "name": TEXT, "at": TIMESTAMPTZ}
NOON = dt.datetime(2024, 1, 1, 12, tzinfo=dt.UTC)
ROWS = [(1, "a", NOON), (2, "b", NOON)]
META = ("_loaded_at", "_batch_id")


@pytest.fixture(autouse=True)
def _empty_registry() -> Iterator[None]:
    with registry.scratch():
        yield


def between(tmp_path: Path, target: str = "sqlite", source: str = "") -> Bench:
    there = open_system(target, tmp_path / "target", None, label="there")
    here = open_system(source, tmp_path / "source", None, label="here") if source else there
    bench = Bench(there, here)
    bench.give(COLUMNS, ROWS)
    return bench


def plan(pipeline: Pipeline) -> LoadPlan:
    (target,) = pipeline.preview().targets
    found: LoadPlan = target.plan
    return found


@table(name="slim")
class Slim:
    """A target that has neither watermark nor event time."""

    id: BigInt
    name: Text


def test_a_first_append_inside_one_database(tmp_path: Path) -> None:
    bench = between(tmp_path)
    pipeline = bench.pipeline("append")
    found = plan(pipeline)
    assert (found.pipeline, found.state_name, found.mode) == ("load", "load", "append")
    assert found.fingerprint == pipeline.fingerprint
    assert (found.source, found.target, found.ref) == ("there", "there:tgt", TableRef(None, "tgt"))
    assert found.source_sql == 'SELECT * FROM "src"'
    assert (
        [column.name for column in found.source_columns] == [column.name for column in found.columns] == list(COLUMNS)
    )
    assert found.data == tuple(Column(name, kind) for name, kind in COLUMNS.items())
    assert (found.keys, found.keys_reason) == ((), "")
    assert (found.route, found.route_reason) == ("insert-select", "source and target are one database")
    assert (found.staged, found.target_exists) == (False, False)
    assert [change.text for change in found.schema_changes] == ["create table tgt"]
    assert found.schema_changes[0].sql.startswith('CREATE TABLE "tgt"')
    assert found.meta == META
    assert (found.window, found.event_column, found.order_column, found.hidden) == (None, None, None, frozenset())
    assert (found.partition_column, found.partitions) == ("", 1)
    assert (found.quarantine, found.checks, found.strip_nul) == (None, (), False)
    assert (found.warnings, found.notes) == ((), ())


def test_a_second_append_from_another_system(tmp_path: Path) -> None:
    bench = between(tmp_path, source="duckdb")
    bench.pipeline("append").sync()
    found = plan(bench.pipeline("append", on_nul="strip"))
    assert (found.source, found.target) == ("here", "there:tgt")
    assert (found.route, found.route_reason, found.staged) == ("arrow", "two systems", False)
    assert (found.target_exists, found.schema_changes, found.strip_nul) == (True, (), True)
    assert found.meta == META


def test_one_of_two_targets_keeps_its_state_under_both_names(tmp_path: Path) -> None:
    register_connection(between(tmp_path).target.connection)
    both = [Target(table="there:tgt"), Target(table="there:other")]

    @ematix.pipeline(source_connection="there", targets=both)
    def load(conn: object) -> str:
        return "SELECT * FROM src"

    assert [target.plan.state_name for target in load.preview().targets] == ["load::tgt", "load::other"]


def test_a_merge(tmp_path: Path) -> None:
    bench = between(tmp_path)
    options: dict[str, Any] = {"keys": ("id",), "dedup_by": "at", "update_columns": ["name", "at"]}
    found = plan(bench.pipeline("merge", compare_columns=["name"], **options))
    assert (found.keys, bool(found.keys_reason)) == (("id",), True)
    assert (found.update_columns, found.compare_columns) == (("name", "at"), ("name",))
    assert (found.order_column, found.staged, found.route) == ("at", True, "insert-select")
    assert (
        "UNIQUE" in "".join(change.sql for change in found.schema_changes)
        or "PRIMARY KEY" in found.schema_changes[0].sql
    )


def test_versions_with_event_times(tmp_path: Path) -> None:
    bench = between(tmp_path, source="duckdb")
    found = plan(bench.pipeline("scd2", keys=("id",), event_timestamp_column="at"))
    assert (found.event_column, found.staged, found.mode) == ("at", True, "scd2")
    assert found.compare_columns == ("name",)
    slim = declare(
        bench.source, bench.target, "SELECT * FROM src", Slim, mode="scd2", keys=("id",), event_timestamp_column="at"
    )
    assert plan(slim).hidden == {"at"}
    assert [column.name for column in plan(slim).data] == ["id", "name", "at"]


def test_an_incremental_load(tmp_path: Path) -> None:
    bench = between(tmp_path, source="duckdb")
    pipeline = bench.pipeline("append", incremental=True, watermark_column="at")
    first = plan(pipeline)
    assert first.window is not None
    assert (first.window.column, first.window.stored, first.window.lower) == ("at", "", "")
    assert (first.staged, first.warnings) == (False, ())
    pipeline.sync()
    second = plan(pipeline)
    assert second.window is not None
    assert second.window.stored == "2024-01-01 12:00:00.000000+00:00"
    assert (second.staged, second.warnings) == (True, ())
    full = plan(bench.pipeline("merge", keys=("id",), incremental=True, watermark_column="at"))
    assert full.window is not None


def test_an_incremental_load_whose_target_does_not_tell_runs_apart_is_staged(tmp_path: Path) -> None:
    bench = between(tmp_path, source="duckdb")
    bench.target.make("tgt", COLUMNS, [])
    found = plan(bench.pipeline("append", incremental=True, watermark_column="at", on_drift="warn"))
    assert (found.meta, found.staged) == ((), True)
    assert plan(bench.pipeline("append", on_drift="warn")).staged is False


def test_a_watermark_that_the_target_does_not_have(tmp_path: Path) -> None:
    bench = between(tmp_path, source="duckdb")
    options: dict[str, Any] = {"mode": "append", "incremental": True, "watermark_column": "at", "name": "slim_load"}
    pipeline = declare(bench.source, bench.target, "SELECT * FROM src", Slim, **options)
    assert plan(pipeline).hidden == {"at"}
    assert plan(pipeline).staged is True
    pipeline.sync()
    with pytest.raises(DeclarationError, match="the target does not have the watermark column `at`"):
        pipeline.backfill("2024-01-01", "2024-01-02").raise_for_status()


def test_a_target_that_is_gone_is_read_for_from_the_start(tmp_path: Path) -> None:
    bench = between(tmp_path, source="duckdb")
    pipeline = bench.pipeline("append", incremental=True, watermark_column="at")
    pipeline.sync()
    bench.target.execute("DROP TABLE tgt")  # type: ignore[attr-defined]
    found = plan(pipeline)
    assert found.window is not None
    assert (found.window.lower, found.target_exists) == ("", False)
    text = "its watermark 2024-01-01 12:00:00.000000+00:00 is ignored and all rows are read"
    assert found.warnings == (f"the target is not there any more: {text}",)
    with pytest.raises(DataError, match="a range alone would look whole"):
        pipeline.backfill("2024-01-01", "2024-01-02").raise_for_status()


@pytest.mark.parametrize("mode", ["append", "merge"])
def test_a_new_column_of_an_incremental_load(tmp_path: Path, mode: str) -> None:
    bench = between(tmp_path, source="duckdb")
    keys: dict[str, Any] = {"keys": ("id",)} if mode == "merge" else {}
    options: dict[str, Any] = {"incremental": True, "watermark_column": "at", **keys}
    bench.pipeline(mode, **options).sync()
    found = plan(bench.pipeline(mode, sql="SELECT *, 1 AS more, 2 AS most FROM src", **options))
    assert len(found.schema_changes) == 2
    expected = (
        "rows from 2024-01-01 11:50:00.000000+00:00 on are read again and differ in the new column more, most,"
        " so they are appended again; mode merge would update them"
    )
    assert found.warnings == ((expected,) if mode == "append" else ())


def test_a_watermark_of_another_column(tmp_path: Path) -> None:
    bench = between(tmp_path, source="duckdb")
    bench.pipeline("append", incremental=True, watermark_column="at").sync()
    other = bench.pipeline("append", incremental=True, watermark_column="id")
    with pytest.raises(DataError, match="the watermark of `load` is one of column `at`, the pipeline now names `id`"):
        other.preview()
    assert other.sync(full_refresh=True).counts["rows_inserted"] == 2
    renamed = bench.pipeline("append", incremental=True, watermark_column="id", column_map={"number": "id"})
    assert plan(renamed).window is not None


def test_columns_that_the_source_does_not_give_are_told(tmp_path: Path) -> None:
    bench = between(tmp_path)
    bench.pipeline("append", sql="SELECT *, 1 AS old, 2 AS older FROM src").sync()
    found = plan(bench.pipeline("append"))
    assert found.notes == ("columns of the target that the source does not give: old, older",)
    assert plan(bench.pipeline("append", sql="SELECT *, 1 AS old, 2 AS older FROM src")).notes == ()


def test_versions_have_columns_that_no_source_gives(tmp_path: Path) -> None:
    bench = between(tmp_path)
    pipeline = bench.pipeline("scd2", keys=("id",))
    pipeline.sync()
    assert plan(pipeline).notes == ()
    with pytest.raises(DeclarationError, match="column `is_current` is reserved in mode scd2"):
        bench.pipeline("scd2", keys=("id",), sql="SELECT *, 1 AS is_current FROM src").preview()
    plain = dataclasses.replace(bench, table="plain")
    assert plan(plain.pipeline("append", sql="SELECT *, 1 AS is_current FROM src")).mode == "append"


def test_rows_may_go_to_quarantine(tmp_path: Path) -> None:
    bench = between(tmp_path)
    bench.pipeline("merge", keys=("id",)).sync()
    options: dict[str, Any] = {"keys": ("id",), "on_null_key": "quarantine"}
    found = plan(bench.pipeline("merge", **options))
    assert found.quarantine is not None
    assert (found.quarantine.name, found.quarantine.null_keys) == ("tgt__quarantine", ("id",))
    assert (found.route, found.route_reason) == ("arrow", "each row is checked: some may go to quarantine")
    assert found.staged is True
    more = plan(bench.pipeline("append", sql="SELECT *, 1 AS more FROM src", on_drift="quarantine"))
    assert more.quarantine is not None
    assert more.quarantine.columns == (("more", "is not in the target"),)
    assert plan(bench.pipeline("append", on_drift="quarantine")).quarantine is None
    dated = dataclasses.replace(bench, table="dated")
    found = plan(dated.pipeline("scd2", event_timestamp_column="at", **options))
    assert found.quarantine is not None
    assert found.quarantine.null_keys == ("id", "at")


def test_rows_for_files_may_go_to_a_folder_beside_them(tmp_path: Path) -> None:
    bench = between(tmp_path, "csv", "sqlite")
    found = plan(bench.pipeline("append", checks=[checks.not_null("name", on_fail="quarantine")]))
    assert found.quarantine is not None
    assert (found.quarantine.name, found.staged, found.route) == ("tgt__quarantine", False, "arrow")


def test_rows_that_are_checked_are_staged(tmp_path: Path) -> None:
    bench = between(tmp_path)
    found = plan(bench.pipeline("append", checks=[checks.not_null("name")]))
    assert len(found.checks) == 1
    assert (found.staged, found.route, found.quarantine) == (True, "insert-select", None)


def test_a_target_that_must_not_change_refuses_a_column(tmp_path: Path) -> None:
    bench = between(tmp_path)
    bench.pipeline("append").sync()
    with pytest.raises(SchemaDriftError, match="column `more`"):
        bench.pipeline("append", sql="SELECT *, 1 AS more FROM src", on_drift="error").preview()


def test_what_a_kind_of_target_cannot_do_is_refused(tmp_path: Path) -> None:
    files = between(tmp_path / "files", "csv", "sqlite")
    with pytest.raises(DeclarationError, match=r"`there`: .* can append, truncate") as told:
        files.pipeline("merge", keys=("id",)).preview()
    assert told.value.what.startswith("mode merge does not work on `there`")
    assert told.value.where.startswith("pipeline `load`")


def test_versions_with_event_times_are_refused_where_they_cannot_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As of the one system that cannot date versions, which no test has at hand."""
    without = dataclasses.replace(SQLiteSession.capabilities, event_times=False)
    monkeypatch.setattr(SQLiteSession, "capabilities", without)
    bench = between(tmp_path)
    with pytest.raises(DeclarationError, match="`there` cannot date versions by event_timestamp_column"):
        bench.pipeline("scd2", keys=("id",), event_timestamp_column="at").preview()
    assert plan(bench.pipeline("scd2", keys=("id",))).event_column is None


def test_who_stops_a_plan_is_told_so_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = CancelledError("the run was cancelled", "")

    def plan_reading(*_: object) -> None:
        raise stopped

    monkeypatch.setattr(planner, "plan_reading", plan_reading)
    with pytest.raises(CancelledError) as told:
        between(tmp_path).pipeline("append").preview()
    assert told.value is stopped
    assert told.value.where == ""
