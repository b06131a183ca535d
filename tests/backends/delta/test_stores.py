"""Delta tables in object stores: the same commits, state files by conditional create."""

from __future__ import annotations

import dataclasses
import datetime as dt
import decimal
import threading
from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb.backends.registry import open_session
from ematix_nb.declare.data_types import BIGINT, TEXT, DataType
from ematix_nb.errors import ConnectError, FlowError
from ematix_nb.load.source import open_reader
from ematix_nb.query import open_frames
from tests.conformance.matrix import open_system
from tests.conformance.run import Bench, counts
from tests.conformance.values import to_arrow_table
from tests.support.faults import in_front_of

from .conftest import s3_place

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.backends.delta.conftest import StoreDelta
    from tests.support.stores import Bucket

pytestmark = pytest.mark.integration
COLUMNS = {"id": BIGINT, "name": TEXT, "ts": DataType("timestamp")}
START = dt.datetime(2026, 1, 1, 10)  # noqa: DTZ001
ROWS = [(1, "one", START), (2, "two", START), (3, None, START)]
LATER = [(2, "changed", START), (4, "four", START)]


@pytest.fixture
def bench(place: StoreDelta, tmp_path: Path) -> Bench:
    """Rows of a SQLite table into a table of the store."""
    return Bench(place, open_system("sqlite", tmp_path / "source", None, label="source"))


@pytest.mark.parametrize("mode", ["append", "truncate", "merge", "scd2"])
def test_modes(bench: Bench, place: StoreDelta, mode: str) -> None:
    options: dict[str, Any] = {"keys": ("id",)} if mode in ("merge", "scd2") else {}
    bench.give(COLUMNS, ROWS)
    pipeline = bench.pipeline(mode, **options)
    pipeline.dry_run()
    assert place.keys() == []
    pipeline.sync()
    bench.give(COLUMNS, LATER)
    before = place.keys()
    told = counts(pipeline.dry_run())
    assert place.keys() == before
    assert counts(pipeline.sync()) == told
    wanted: dict[str, list[tuple[Any, ...]]] = {
        "append": [(1, "one"), (2, "changed"), (2, "two"), (3, None), (4, "four")],
        "truncate": [(2, "changed"), (4, "four")],
        "merge": [(1, "one"), (2, "changed"), (3, None), (4, "four")],
        "scd2": [(1, "one"), (2, "changed"), (2, "two"), (3, None), (4, "four")],
    }
    assert bench.rows("id", "name") == sorted(wanted[mode], key=repr)
    assert place.delta("tgt").version() == 1
    bench.check()


def test_incremental_with_ties_and_late_rows(bench: Bench) -> None:
    bench.give(COLUMNS, ROWS)
    pipeline = bench.pipeline("append", incremental=True, watermark_column="ts")
    pipeline.sync()
    bench.more([(4, "tie", START), (5, "late", START - dt.timedelta(minutes=5)), (6, "new", START + dt.timedelta(1))])
    assert counts(pipeline.sync()) == {"read": 6, "inserted": 3, "deduplicated": 3}
    for day in range(2, 6):
        bench.more([(day + 5, "new", START + dt.timedelta(day)), (day + 50, "late", START + dt.timedelta(day - 1))])
        assert counts(pipeline.sync())["inserted"] == 2
    assert bench.rows("id") == sorted([(n,) for n in (*range(1, 11), *range(52, 56))], key=repr)
    bench.check()


def test_incremental_merges(bench: Bench, place: StoreDelta) -> None:
    bench.give(COLUMNS, ROWS)
    pipeline = bench.pipeline("merge", keys=("id",), incremental=True, watermark_column="ts")
    pipeline.sync()
    for day in range(1, 5):
        later = START + dt.timedelta(day)
        bench.give(COLUMNS, [(2, f"changed {day}", later), (10 + day, "new", later)])
        assert counts(pipeline.sync()) == {"read": 2, "inserted": 1, "updated": 1}
    assert bench.rows("id", "name") == sorted(
        [(1, "one"), (2, "changed 4"), (3, None), *((10 + day, "new") for day in range(1, 5))], key=repr
    )
    assert place.delta("tgt").version() == 4
    bench.check()


def test_tables_are_listed_and_old_versions_read(bench: Bench, place: StoreDelta) -> None:
    place.make("raw/orders", COLUMNS, ROWS)
    place.add("raw/orders", COLUMNS, LATER)
    session = open_session(place.connection, read_only=True)
    assert session.tables() == ["raw/orders"]
    session.close()
    bench.source = place
    bench.columns = COLUMNS
    assert counts(bench.pipeline("append", 'SELECT id, name FROM "raw/orders@v0" WHERE id > 1').sync())["read"] == 2


FILTERS = [
    ("id > 200", 1),
    ("id = 5 OR id = 105", 2),
    ("ts >= TIMESTAMP '2026-01-02 10:00:00'", 2),
    ("ts IS NULL", 0),
    ("name = 'x105'", 1),
    ("price > 150.5", 1),
    ("day < DATE '2026-01-02'", 1),
    ("moment >= '2026-01-03T00:00:00Z'", 1),
    ("share > 0.1", 3),
]


def test_files_that_cannot_hold_what_is_asked_are_not_fetched(fresh_bucket: Callable[[str], Bucket]) -> None:
    """Counted at the server: the table has three files."""
    place = s3_place(fresh_bucket("s3"))
    columns = {
        **COLUMNS,
        "price": DataType("numeric", precision=10, scale=2),
        "day": DataType("date"),
        "moment": DataType("timestamptz"),
        "share": DataType("double"),
    }
    found = []
    for number in range(3):
        at = START + dt.timedelta(days=number)
        rows = [
            (n, f"{'wxy'[number]}{n}", at, decimal.Decimal(n), at.date(), at.replace(tzinfo=dt.UTC), float("nan"))
            for n in range(number * 100, number * 100 + 10)
        ]
        found += rows
        (place.add if number else place.make)("t", columns, rows)
    memory = open_frames({"t": to_arrow_table(columns, found)})
    with in_front_of(place.connection.endpoint) as proxy:  # type: ignore[attr-defined]
        connection = dataclasses.replace(place.connection, endpoint=proxy.url)  # type: ignore[call-arg]
        session = open_reader(connection)
        for where, files in FILTERS:
            del proxy.seen[:]
            query = f"SELECT id FROM t WHERE {where} ORDER BY id"
            assert session.fetch(query) == memory.fetch(query), where
            fetched = {path for method, path in proxy.seen if method == "GET" and ".parquet" in path}
            assert len(fetched) == files, where
        session.close()


def test_runs_at_once_neither_lose_nor_double(bench: Bench) -> None:
    """One wins each round; the others say who holds the lease, or that another writer was first."""
    bench.give(COLUMNS, ROWS)
    pipelines = [bench.pipeline("merge", keys=("id",), name=f"p{number}") for number in range(3)]
    barrier = threading.Barrier(len(pipelines))
    errors: list[FlowError] = []

    def run(pipeline: Any) -> None:
        barrier.wait()
        try:
            pipeline.sync()
        except FlowError as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(pipeline,)) for pipeline in pipelines]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(errors) < len(pipelines)
    assert {type(error).__name__ for error in errors} <= {"TransientError"}
    assert bench.rows("id", "name") == [(1, "one"), (2, "two"), (3, None)]


def test_a_bucket_that_is_not_there(place: StoreDelta, tmp_path: Path) -> None:
    field = "bucket" if hasattr(place.connection, "bucket") else "container"
    changed: dict[str, Any] = {field: "not-there-at-all"}
    place.connection = dataclasses.replace(place.connection, **changed)
    bench = Bench(place, open_system("sqlite", tmp_path / "source", None, label="source"))
    bench.give(COLUMNS, ROWS)
    with pytest.raises(ConnectError, match=r"`not-there-at-all` does not exist"):
        bench.pipeline("append").sync()
