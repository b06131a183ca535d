"""A target of one pipeline as the source of the next: the engine's columns are those of each target, never copied."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pytest

from ematix_nb import DuckDBConnection, ObjectStoreLocalConnection, SQLiteConnection, ematix, register_connection
from ematix_nb.declare import registry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ematix_nb.api import Pipeline


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    with registry.scratch():
        with duckdb.connect(str(tmp_path / "raw.duckdb")) as raw:
            raw.execute("CREATE TABLE src AS SELECT range AS id, 'n' || range AS name FROM range(3)")
        register_connection(DuckDBConnection(name="raw", path=str(tmp_path / "raw.duckdb")))
        register_connection(DuckDBConnection(name="wh", path=str(tmp_path / "wh.duckdb")))
        register_connection(SQLiteConnection(name="small", path=str(tmp_path / "small.db")))
        register_connection(ObjectStoreLocalConnection(name="lake", path=str(tmp_path / "lake"), format="parquet"))
        yield tmp_path


def first() -> Pipeline:
    @ematix.pipeline(target="wh:main.bronze", source_connection="raw", mode="append", name="bronze")
    def bronze() -> str:
        return "SELECT * FROM src"

    return bronze


@pytest.mark.parametrize(
    ("target", "mode"), [("wh:main.silver", "merge"), ("small:silver", "append"), ("lake:silver", "truncate")]
)
def test_everything_of_a_target_goes_on(folder: Path, target: str, mode: str) -> None:
    first().sync()
    options = {"keys": ("id",)} if mode == "merge" else {}

    @ematix.pipeline(target=target, source_connection="wh", mode=mode, name="silver", **options)
    def silver() -> str:
        return "SELECT * FROM bronze"

    planned = silver.preview()
    assert "_loaded_at and _batch_id of the source are not loaded" in planned.to_text()
    result = silver.sync()
    rows = result.to_arrow().sort_by("id")
    assert rows.column_names[:2] == ["id", "name"]
    assert rows["id"].to_pylist() == [0, 1, 2]
    assert {str(batch) for batch in rows["_batch_id"].to_pylist()} == {result.run_id}


def test_only_what_is_new_since_the_last_time(folder: Path) -> None:
    """The source's load time is a watermark, although the target does not take it over."""

    @ematix.pipeline(
        target="small:silver", source_connection="wh", mode="append", incremental=True, watermark_column="_loaded_at"
    )
    def silver() -> str:
        return "SELECT * FROM bronze"

    first().sync()
    assert silver.sync().counts["rows_inserted"] == 3
    again = silver.sync()
    assert again.counts.get("rows_inserted", 0) == 0
    with duckdb.connect(str(folder / "raw.duckdb")) as raw:
        raw.execute("UPDATE src SET id = id + 10")
    first().sync()
    assert silver.sync().counts["rows_inserted"] == 3
    assert sorted(silver.sync().to_arrow()["id"].to_pylist()) == [0, 1, 2, 10, 11, 12]


def test_under_another_name_it_stays(folder: Path) -> None:
    first().sync()

    @ematix.pipeline(target="small:silver", source_connection="wh", mode="append")
    def silver() -> str:
        return "SELECT id, _loaded_at AS bronze_at FROM bronze"

    assert silver.sync().to_arrow().column_names == ["id", "bronze_at", "_loaded_at", "_batch_id"]
