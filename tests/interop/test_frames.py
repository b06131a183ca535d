"""Rows as frames of polars, pandas and Arrow, and frames as sources of loads: no value changes on the way."""

from __future__ import annotations

import datetime as dt
import decimal
import sys
from typing import TYPE_CHECKING, Any

import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from ematix_nb import DuckDBConnection, ObjectStoreLocalConnection, SQLiteConnection, ematix, register_connection
from ematix_nb.declare import registry
from ematix_nb.df import read_df, write_df
from ematix_nb.errors import DataError, DeclarationError, MissingDriverError, SqlError, UsageError
from ematix_nb.interop.frames import as_frame, from_pyspark

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ematix_nb.connections import Connection

AT = dt.datetime(2026, 10, 25, 0, 30, 0, 1, tzinfo=dt.UTC)
ROWS = [
    {"id": 2**62 + 1, "amount": decimal.Decimal("12345678901234567890.12"), "at": AT, "name": "é😀\x00", "day": None},
    {"id": None, "amount": None, "at": dt.datetime(9999, 12, 31, tzinfo=dt.UTC), "name": None, "day": dt.date(1, 1, 1)},
]
TABLE = pa.Table.from_pylist(
    ROWS,
    pa.schema(
        [
            ("id", pa.int64()),
            ("amount", pa.decimal128(22, 2)),
            ("at", pa.timestamp("us", "UTC")),
            ("name", pa.string()),
            ("day", pa.date32()),
        ]
    ),
)
COUNTED = "SELECT count(*) AS n FROM duckdb_tables() WHERE NOT internal"


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Connection]:
    with registry.scratch():
        yield register_connection(DuckDBConnection(name="db", path=str(tmp_path / "x.duckdb")))


@pytest.mark.parametrize("library", ["polars", "pandas", "arrow"])
def test_a_frame_goes_in_and_comes_out_as_it_was(db: Connection, library: str) -> None:
    result = db.write_df(as_frame(TABLE, library), "main.things")
    assert result.counts["rows_inserted"] == 2
    back = db.read_df('SELECT id, amount, "at", name, day FROM things ORDER BY id NULLS LAST', library)
    assert type(back).__module__.partition(".")[0] == ("pyarrow" if library == "arrow" else library)
    table = back.to_arrow() if library == "polars" else back if library == "arrow" else pa.Table.from_pandas(back)
    assert table.to_pylist() == ROWS


def test_modes_and_declared_tables(db: Connection) -> None:
    frame = pl.DataFrame({"id": [1, 2], "name": ["a", "b"]})
    write_df("db", frame, "dim", mode="merge", keys=("id",))
    again = write_df("db", pl.DataFrame({"id": [2, 3], "name": ["B", "c"]}), "dim", mode="merge", keys=("id",))
    assert (again.counts["rows_updated"], again.counts["rows_inserted"]) == (1, 1)
    assert sorted(again.to_polars()["name"].to_list()) == ["B", "a", "c"]
    write_df(db, frame, "dim", mode="truncate", name="replace_all")
    assert read_df(db, "SELECT count(*) AS n FROM dim")["n"].to_list() == [2]


def test_pandas_with_types_of_its_own_is_a_choice(db: Connection) -> None:
    db.write_df(TABLE.select(["id"]), "t")
    exact = db.read_df("SELECT id FROM t", "pandas")
    assert exact["id"].max() == 2**62 + 1
    assert str(exact.dtypes["id"]) == "int64[pyarrow]"
    assert str(db.read_df("SELECT id FROM t", "pandas", arrow_types=False).dtypes["id"]) == "float64"


def test_rows_of_a_pipeline_under_the_names_of_its_target(db: Connection, tmp_path: Path) -> None:
    db.write_df(pl.DataFrame({"Raw": [" a ", "b", "c"], "n": [1, 2, 3]}), "src")
    register_connection(ObjectStoreLocalConnection(name="lake", path=str(tmp_path / "lake"), format="parquet"))

    @ematix.pipeline(
        target="lake:out", source_connection="db", mode="truncate", column_map={"name": "Raw"}, name="renamed"
    )
    def renamed() -> str:
        return 'SELECT "Raw", n FROM src ORDER BY n'

    assert renamed.to_polars().to_dict(as_series=False) == {"name": [" a ", "b", "c"], "n": [1, 2, 3]}
    assert renamed.to_arrow(limit=2).num_rows == 2
    assert not (tmp_path / "lake").exists()
    assert renamed.preview(2).to_pandas()["name"].tolist() == [" a ", "b"]
    result = renamed.sync()
    assert sorted(result.to_pandas()["n"].tolist()) == [1, 2, 3]


def test_a_frame_of_a_function_and_many_batches(db: Connection) -> None:
    parts = [pa.record_batch({"n": pa.array(range(at, at + 70_000))}) for at in (0, 70_000)]
    reader = pa.RecordBatchReader.from_batches(parts[0].schema, parts)
    assert db.write_df(reader, "many").counts["rows_inserted"] == 140_000
    assert db.read_df("SELECT n FROM many", "arrow", limit=100_000).num_rows == 100_000


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda db: db.read_df("SELECT 1 AS a", "pandsa"), DeclarationError, "`pandsa` is no library.*did you mean"),
        (lambda db: db.read_df("DELETE FROM t"), SqlError, "only SELECT"),
        (lambda db: db.read_df("SELECT 1 AS a", limit=0), UsageError, "limit must be a whole number from 1"),
        (lambda db: db.read_df("SELECT 1 AS a", limit=True), UsageError, "limit must be a whole number from 1"),
        (lambda db: db.write_df(object(), "t"), DeclarationError, "must return SQL text or a frame"),
        (lambda db: db.write_df(TABLE, "t", mode="mergee"), DeclarationError, "mergee"),
        (lambda db: db.write_df(TABLE, "t", kyes=("id",)), DeclarationError, "unknown option `kyes`"),
        (lambda db: db.write_df(TABLE, "t", mode="merge", keys=("id",)), DataError, "no value in a key column"),
        (lambda _: from_pyspark(TABLE), DeclarationError, "expected a Spark frame, got Table"),
    ],
)
def test_wrong_input(db: Connection, call: Any, error: type[Exception], message: str) -> None:
    db.write_df(TABLE, "seen")
    before = db.read_df(COUNTED)["n"].to_list()
    with pytest.raises(error, match=f"(?s){message}"):
        call(db)
    assert db.read_df(COUNTED)["n"].to_list() == before


def test_spark_is_named_when_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyspark.sql", None)
    with pytest.raises(MissingDriverError, match=r"ematix-nb\[spark\]"):
        as_frame(TABLE, "pyspark")


@pytest.mark.parametrize(
    ("library", "options", "message"),
    [
        ("polars", {"arrow_types": False}, "frames of polars have no option `arrow_types`"),
        ("pandas", {"arow_types": False}, "have no option `arow_types`.*did you mean `arrow_types`"),
        ("spark", {}, "`spark` is no library for frames.*did you mean `pyspark`"),
    ],
)
def test_wrong_libraries_and_options_are_told_before_rows_are_read(
    db: Connection, library: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(DeclarationError, match=f"(?s){message}"):
        db.read_df("SELECT * FROM not_there", library, **options)


@pytest.mark.parametrize(("library", "hint"), [("pandas", "pip install pandas"), ("pyspark", r"ematix-nb\[spark\]")])
def test_a_library_that_is_not_installed(
    db: Connection, library: str, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(MissingDriverError, match=f"(?s){library} is not installed.*{hint}"):
        db.read_df("SELECT * FROM not_there", library)


def test_files_and_sqlite(db: Connection, tmp_path: Path) -> None:
    lake = register_connection(ObjectStoreLocalConnection(name="lake", path=str(tmp_path / "lake"), format="csv"))
    small = register_connection(SQLiteConnection(name="small", path=str(tmp_path / "x.db")))
    for place in (lake, small):
        place.write_df(pd.DataFrame({"n": [1, 2], "t": ["a", None]}), "out")
        assert sorted(place.read_df("SELECT n, t FROM out", "arrow").to_pylist(), key=str) == [
            {"n": 1, "t": "a"},
            {"n": 2, "t": None},
        ]
