"""Watermarks where targets, columns and digits change between two runs: no row is lost, none is doubled."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb.declare import registry
from ematix_nb.declare.data_types import BIGINT, TIMESTAMPTZ, DataType
from ematix_nb.errors import DataError, RunError
from ematix_nb.verbs.due import run_due
from tests.conformance.matrix import open_system
from tests.conformance.run import Bench, counts, declare

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COLUMNS = {"id": BIGINT, "seen": TIMESTAMPTZ}
START = dt.datetime(2024, 3, 30, 23, 0, tzinfo=dt.UTC)
FIFTY = [(number, START + dt.timedelta(minutes=number)) for number in range(50)]


@pytest.fixture(autouse=True)
def _empty_registry() -> Iterator[None]:
    with registry.scratch():
        yield


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """From SQLite into DuckDB."""
    there = open_system("duckdb", tmp_path / "target", None, label="target_place")
    return Bench(there, open_system("sqlite", tmp_path / "source", None, label="source_place"))


def appending(bench: Bench, **options: Any) -> Any:
    """The incremental pipeline of these tests."""
    return bench.pipeline("append", incremental=True, **{"watermark_column": "seen", **options})


def test_a_target_that_was_dropped_is_filled_again_from_the_start(bench: Bench) -> None:
    bench.give(COLUMNS, FIFTY)
    appending(bench).sync()
    bench.target.execute("DROP TABLE tgt")  # type: ignore[attr-defined]
    result = appending(bench).sync()
    assert counts(result) == {"read": 50, "inserted": 50}
    assert "the target is not there any more" in result.targets[0].warnings[0]


def test_another_watermark_column_does_not_append_every_row_again(bench: Bench) -> None:
    bench.give({**COLUMNS, "changed": TIMESTAMPTZ}, [(number, when, when) for number, when in FIFTY])
    appending(bench).sync()
    with pytest.raises(DataError, match="is one of column `seen`, the pipeline now names `changed`"):
        appending(bench, watermark_column="changed").sync()
    assert len(bench.rows("id")) == 50


def test_a_new_column_is_told_to_append_the_overlap_again(bench: Bench) -> None:
    bench.give(COLUMNS, FIFTY)
    appending(bench).sync()
    result = appending(bench, sql="SELECT *, 'x' AS note FROM src").sync()
    assert "differ in the new column note, so they are appended again" in result.targets[0].warnings[0]


def test_decimals_keep_every_digit_of_their_lower_bound(tmp_path: Path) -> None:
    there = open_system("duckdb", tmp_path / "target", None, label="a")
    bench = Bench(there, open_system("duckdb", tmp_path / "source", None, label="b"))
    kind = DataType("numeric", precision=38, scale=0)
    bench.give({"id": BIGINT, "seen": kind}, [(1, Decimal(12345678901234567890123456789012345678))])
    appending(bench).sync()
    bench.more([(2, Decimal(12345678901234567890123456789012345678))])
    assert counts(appending(bench).sync()) == {"read": 2, "inserted": 1, "deduplicated": 1}


def test_the_first_day_of_the_calendar_is_a_watermark(bench: Bench) -> None:
    bench.give(COLUMNS, [(1, dt.datetime(1, 1, 1, tzinfo=dt.UTC))])
    appending(bench).sync()
    assert counts(appending(bench).sync()) == {"read": 1, "deduplicated": 1}


@pytest.mark.parametrize("target", ["duckdb", "sqlite", "parquet"])
def test_nanoseconds_are_not_appended_again(target: str, tmp_path: Path) -> None:
    there = open_system(target, tmp_path / "target", None, label="a")
    bench = Bench(there, open_system("duckdb", tmp_path / "source", None, label="b"))
    bench.give(COLUMNS, [])
    sql = "SELECT 1 AS id, TIMESTAMP_NS '2024-03-30 23:00:00.123456789' AS seen"
    pipeline = appending(bench, sql=sql)
    assert counts(pipeline.sync()) == {"read": 1, "inserted": 1}
    assert counts(pipeline.sync()) == {"read": 1, "deduplicated": 1}


def test_rows_of_others_do_not_move_the_watermark(tmp_path: Path) -> None:
    place = open_system("duckdb", tmp_path, None, label="a")
    bench = Bench(place, place)
    bench.give(COLUMNS, FIFTY)
    place.execute("CREATE TABLE tgt AS SELECT 0::BIGINT AS id, TIMESTAMPTZ '2030-01-01 00:00:00+00' AS seen")  # type: ignore[attr-defined]
    result = appending(bench, on_drift="warn").sync()
    assert result.targets[0].watermark_after == "2024-03-30 23:49:00.000000+00:00"


def test_truncate_may_read_its_own_target(tmp_path: Path) -> None:
    place = open_system("duckdb", tmp_path, None, label="a")
    place.execute("CREATE TABLE tgt AS SELECT unnest([1, 2, 2]) AS id")  # type: ignore[attr-defined]
    result = declare(place, place, "SELECT DISTINCT id FROM tgt UNION SELECT 9", "tgt", mode="truncate").sync()
    assert counts(result) == {"read": 3, "inserted": 3}
    assert place.rows("tgt", ("id",)) == [(1,), (2,), (9,)]


def test_a_function_that_raises_does_not_keep_others_from_their_slot(bench: Bench) -> None:
    from ematix_nb import ematix

    bench.give(COLUMNS, [])
    options = {"source_connection": bench.source.connection, "target_connection": bench.target.connection}

    def fails(conn: object) -> str:
        word = "password=hunter2"
        raise ValueError(word)

    def works(conn: object) -> str:
        return "SELECT 1 AS id"

    broken = ematix.pipeline(target="a", schedule="* * * * *", mode="truncate", **options)(fails)
    ematix.pipeline(target="b", schedule="* * * * *", mode="truncate", **options)(works)
    result = run_due()
    assert [each.status for each in result.ran] == ["success"]
    assert "the function of pipeline `fails` raised ValueError: password=***" in result.failed[0]["error"]
    with pytest.raises(RunError, match="raised ValueError"):
        broken.sync()


@pytest.mark.parametrize("kind", ["duckdb", "parquet"])
def test_another_target_beside_the_first_doubles_nothing(kind: str, tmp_path: Path) -> None:
    from ematix_nb import ematix

    source = open_system("sqlite", tmp_path / "source", None, label="a")
    there = open_system(kind, tmp_path / "target", None, label="b")
    source.make("src", COLUMNS, FIFTY)

    def load(conn: object) -> str:
        return "SELECT * FROM src"

    def declared(*tables: str) -> Any:
        targets = [ematix.target(name, target_connection=there.connection, mode="append") for name in tables]
        options = {"source_connection": source.connection, "incremental": True, "watermark_column": "seen"}
        return ematix.pipeline(targets=targets, **options)(load)

    assert counts(declared("tgt").sync()) == {"read": 50, "inserted": 50}
    both = declared("tgt", "beside").sync()
    assert both.targets[0].counts["rows_inserted"] == 0
    assert both.targets[1].counts["rows_inserted"] == 50
    again = declared("tgt").sync()
    assert counts(again) == {"read": 11, "deduplicated": 11}
    assert (len(there.rows("tgt", ("id",))), len(there.rows("beside", ("id",)))) == (50, 50)
