"""A SELECT that only picks columns is answered without an engine, and gives what the engine gives."""

from __future__ import annotations

import datetime as dt
import decimal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import polars as pl
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
import pytest

from ematix_nb.backends.files import BACKEND
from ematix_nb.connections import ObjectStoreLocalConnection
from ematix_nb.errors import CancelledError, DataError, SqlError, TransientError
from ematix_nb.query import FrameSession, open_file_query, open_frames

if TYPE_CHECKING:
    from pathlib import Path

AT = dt.datetime(2026, 3, 29, 1, 30, tzinfo=dt.UTC)
TABLE = pa.table(
    {
        "id": pa.array([1, 2, None], pa.int32()),
        "Name": ["é😀", "", None],
        "amount": pa.array([decimal.Decimal("1.10"), decimal.Decimal("-99999.99"), None], pa.decimal128(7, 2)),
        "at": pa.array([AT, None, AT], pa.timestamp("us", "UTC")),
        "day": pa.array([AT.date(), None, dt.date(1, 1, 1)]),
        "ratio": [float("nan"), float("inf"), -0.0],
        "tags": pa.array([["a", None], [], None], pa.list_(pa.string())),
        "kind": pa.array(["x", "y", None]).dictionary_encode(),
        "long": pa.array(["x", "y", None], pa.large_string()),
    }
)
POLARS = pl.DataFrame(pl.from_arrow(TABLE))


def session_on(folder: Path, format_: str = "parquet") -> FrameSession:
    return open_file_query(BACKEND.open(ObjectStoreLocalConnection(name="lake", path=str(folder), format=format_)))


def read(session: FrameSession, sql: str) -> pa.Table:
    columns = session.describe(sql)
    batches = list(session.read(sql, columns))
    return pa.Table.from_batches(batches) if batches else pa.table({column.name: [] for column in columns})


def equal(session: FrameSession, head: str, name: str) -> pa.Table:
    """The rows of a plain query, after a comparison with those of the engine."""
    plain = read(session, f"{head} FROM {name}")
    assert session._engine is None
    engine = read(session, f"{head} FROM {name} WHERE 1 = 1")
    assert bool(session._engine)
    same = [session.describe(f"{head} FROM {name}{tail}") for tail in ("", " WHERE 1 = 1")]
    assert [(column.name, column.type) for column in same[0]] == [(column.name, column.type) for column in same[1]]
    assert sorted(map(repr, plain.to_pylist())) == sorted(map(repr, engine.to_pylist()))
    assert plain.schema.equals(engine.schema)
    session._engine = None
    session._registered.clear()
    return plain


def test_parquet(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "t.parquet")
    session = session_on(tmp_path)
    assert equal(session, "SELECT *", "t").num_rows == 3
    assert equal(session, 'SELECT at, "Name" AS n, id, id AS again', "T").column_names == ["at", "n", "id", "again"]


def test_parquet_files_with_other_columns_and_types(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    pq.write_table(pa.table({"id": pa.array([1], pa.int32()), "a": ["x"]}), tmp_path / "t" / "1.parquet")
    pq.write_table(pa.table({"b": [1.5], "id": pa.array([2**40], pa.int64())}), tmp_path / "t" / "2.parquet")
    session = session_on(tmp_path)
    assert equal(session, "SELECT *", "t").to_pylist() == [
        {"id": 1, "a": "x", "b": None},
        {"id": 2**40, "a": None, "b": 1.5},
    ]
    assert equal(session, "SELECT b", "t").num_rows == 2


@pytest.mark.parametrize("format_", ["parquet", "csv"])
def test_columns_of_folders(tmp_path: Path, format_: str) -> None:
    for day, country in (("2026-01-01", "de"), ("2026-01-02", "__HIVE_DEFAULT_PARTITION__")):
        folder = tmp_path / "t" / f"day={day}" / f"country={country}"
        folder.mkdir(parents=True)
        table = pa.table({"id": [1, 2]})
        if format_ == "csv":
            pc.write_csv(table, folder / "a.csv")
        else:
            pq.write_table(table, folder / "a.parquet")
    session = session_on(tmp_path, format_)
    assert equal(session, "SELECT *", "t").num_rows == 4
    assert equal(session, "SELECT country", "t")["country"].to_pylist() == ["de", "de", None, None]


def test_text_files(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text('id,Name\n1,"a\nb"\n2,\n', encoding="utf-8")
    (tmp_path / "j.jsonl").write_text('{"id": 1, "Name": "a"}\n{"id": 2}\n', encoding="utf-8")
    for name in ("c", "j"):
        assert equal(session_on(tmp_path, "csv"), 'SELECT "Name" AS n, id', name).num_rows == 2


@pytest.mark.parametrize("frame", [TABLE, TABLE.to_batches()[0], POLARS, POLARS.lazy()])
def test_frames(frame: Any) -> None:
    session = open_frames({"f": frame})
    assert equal(session, "SELECT *", "f").num_rows == 3
    assert equal(session, "SELECT id, at", "f").num_rows == 3


def test_a_reader_is_streamed_once() -> None:
    session = open_frames({"f": TABLE.to_reader()})
    columns = session.describe("SELECT id FROM f")
    assert [batch.num_rows for batch in session.read("SELECT id FROM f", columns)] == [3]
    with pytest.raises(DataError, match="was read before"):
        list(session.read("SELECT id FROM f", columns))


def test_an_unknown_column_is_told_by_the_engine(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "t.parquet")
    with pytest.raises(SqlError, match=r'(?s)there is no column `name`.*did you mean `"Name"`'):
        session_on(tmp_path).describe("SELECT id, name FROM t")


def test_it_can_be_stopped(tmp_path: Path) -> None:
    pq.write_table(pa.table({"id": range(1000)}), tmp_path / "t.parquet")
    session = session_on(tmp_path)
    batches = session.read("SELECT * FROM t", session.describe("SELECT * FROM t"), batch_rows=10)
    next(batches)
    session.interrupt()
    with pytest.raises(CancelledError, match="cancelled; nothing was written"):
        list(batches)


def test_a_file_that_changes_while_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id\n1\n", encoding="utf-8")
    session = session_on(tmp_path, "csv")
    columns = session.describe("SELECT * FROM t")
    (tmp_path / "t.csv").write_text("id\n1\n2\n", encoding="utf-8")
    with pytest.raises(TransientError, match=r"file t\.csv changed while it was read"):
        list(session.read("SELECT * FROM t", columns))


def test_a_broken_page_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    pq.write_table(pa.table({"id": range(100_000)}), path, compression="zstd")
    data = bytearray(path.read_bytes())
    data[4:300] = bytes([255]) * 296
    path.write_bytes(bytes(data))
    session = session_on(tmp_path)
    columns = session.describe("SELECT * FROM t")
    with pytest.raises(DataError, match=r"t\.parquet: the data is broken"):
        list(session.read("SELECT * FROM t", columns))


def test_no_engine_is_imported(tmp_path: Path) -> None:
    pq.write_table(TABLE, tmp_path / "t.parquet")
    program = f"""
import sys
from ematix_nb import ObjectStoreLocalConnection, SQLiteConnection, ematix, register_connection
register_connection(ObjectStoreLocalConnection(name="lake", path={str(tmp_path)!r}, format="parquet"))
register_connection(SQLiteConnection(name="db", path={str(tmp_path / "x.db")!r}))
@ematix.pipeline(target="db:t", source_connection="lake", mode="append")
def load():
    return 'SELECT id, "Name" FROM "t.parquet"'
print(load.sync().counts["rows_inserted"], "datafusion" in sys.modules)
"""
    (tmp_path / "load.py").write_text(program, encoding="utf-8")
    done = subprocess.run([sys.executable, "load.py"], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.split() == ["3", "False"]
