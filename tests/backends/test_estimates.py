"""About how many rows a source has, told before they are read: what progress counts against."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import duckdb
import pyarrow as pa
import pyarrow.csv as pcsv
import pyarrow.parquet as pq
import pytest
from deltalake import write_deltalake
from pyarrow import orc

from ematix_nb import DeltaLocalConnection, DuckDBConnection, ObjectStoreLocalConnection, ematix
from ematix_nb.events import BatchRead
from ematix_nb.load.source import open_reader
from ematix_nb.query.frames import open_frames

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ROWS = pa.table({"n": list(range(3000)), "text": [f"row {number:05}" for number in range(3000)]})


def _estimate(connection: Any, query: str) -> int | None:
    session = open_reader(connection)
    try:
        found = session.estimate(query)
        return None if found is None else int(found)
    finally:
        session.close()


WRITERS: dict[str, Callable[[Path], None]] = {
    "parquet": lambda path: pq.write_table(ROWS, path),
    "orc": lambda path: orc.write_table(ROWS, path),
    "csv": lambda path: pcsv.write_csv(ROWS, path),
}


@pytest.mark.parametrize("kind", WRITERS)
def test_files(kind: str, tmp_path: Path) -> None:
    for number in range(40):  # more than are looked at
        (tmp_path / "in").mkdir(exist_ok=True)
        WRITERS[kind](tmp_path / "in" / f"{number}.{kind}")
    lake = ObjectStoreLocalConnection(name="lake", path=str(tmp_path), format=kind)
    assert _estimate(lake, f'SELECT * FROM "in/*.{kind}"') == 120_000
    assert _estimate(lake, f'SELECT n AS m FROM "in/1.{kind}"') == 3000
    assert _estimate(lake, f'SELECT n FROM "in/1.{kind}" WHERE n > 5') is None


def test_long_text_files_tell_about(tmp_path: Path) -> None:
    lines = "".join(f'{{"n": {number:07}}}\n' for number in range(1_000_000, 1_060_000))
    (tmp_path / "a.jsonl").write_text(lines, encoding="utf-8")
    lake = ObjectStoreLocalConnection(name="lake", path=str(tmp_path), format="jsonl")
    assert _estimate(lake, 'SELECT * FROM "a.jsonl"') == pytest.approx(60_000, rel=0.01)


def test_packed_and_broken_files_tell_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"n\n1\n2\n"))
    lake = ObjectStoreLocalConnection(name="lake", path=str(tmp_path), format="csv")
    assert _estimate(lake, 'SELECT * FROM "a.csv.gz"') is None


def test_delta(tmp_path: Path) -> None:
    write_deltalake(tmp_path / "t", ROWS)
    write_deltalake(tmp_path / "t", ROWS, mode="append")
    assert _estimate(DeltaLocalConnection(name="d", path=str(tmp_path)), "SELECT * FROM t") == 6000


def test_duckdb(tmp_path: Path) -> None:
    with duckdb.connect(str(tmp_path / "d.duckdb")) as database:
        database.execute("CREATE TABLE t AS SELECT i FROM range(5000) AS r(i)")
    place = DuckDBConnection(name="d", path=str(tmp_path / "d.duckdb"))
    assert _estimate(place, "SELECT * FROM t") == 5000
    for limited in (
        "SELECT * FROM t LIMIT 7",
        "SELECT * FROM t ORDER BY i LIMIT 7",
        "SELECT i + 1 AS j FROM t LIMIT 7",
    ):
        assert _estimate(place, limited) is None


def test_frames() -> None:
    assert open_frames({"t": ROWS}).estimate("SELECT n FROM t") == 3000
    assert open_frames({"t": ROWS.to_reader()}).estimate("SELECT n FROM t") is None


def test_a_run_tells_whoever_looks_on(tmp_path: Path) -> None:
    WRITERS["parquet"](tmp_path / "in.parquet")
    seen: list[BatchRead] = []

    class Looking:
        def on_event(self, event: object) -> None:
            if isinstance(event, BatchRead):
                seen.append(event)

    lake = ObjectStoreLocalConnection(name="lake", path=str(tmp_path), format="parquet")

    @ematix.pipeline(name="out", target_connection=lake, target="out", source_connection=lake, mode="truncate")
    def out() -> str:
        return 'SELECT * FROM "in.parquet"'

    out.sync(listener=Looking())
    assert [(event.rows, event.expected) for event in seen] == [(3000, 3000)]
