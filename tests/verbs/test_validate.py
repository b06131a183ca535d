"""What ``validate`` says beside "ok"."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb

from ematix_nb import DuckDBConnection, ematix, register_connection
from ematix_nb.declare import registry
from ematix_nb.verbs.validate import validate

if TYPE_CHECKING:
    from pathlib import Path


def test_a_table_that_one_pipeline_empties_and_another_fills_is_told(tmp_path: Path) -> None:
    duckdb.connect(tmp_path / "w.duckdb").close()
    register_connection(DuckDBConnection(name="duck", path=str(tmp_path / "w.duckdb")))
    with registry.scratch():
        for name, mode in (("all", "truncate"), ("more", "append")):

            @ematix.pipeline(name=f"load_{name}", target="duck:main.t", source_connection="duck", mode=mode)
            def load(conn: object) -> str:
                return "SELECT 1 AS n"

        result = validate()
    assert [row[2] for row in result.rows] == ["ok", "ok"]
    assert result.notes == (
        "duck:main.t is emptied by one pipeline and filled by another: load_all (truncate), load_more (append)",
    )


def test_a_column_that_the_source_no_longer_gives_is_told(tmp_path: Path) -> None:
    with duckdb.connect(tmp_path / "w.duckdb") as connection:
        connection.execute("CREATE TABLE t (id INTEGER PRIMARY KEY, kept TEXT, gone TEXT)")
    register_connection(DuckDBConnection(name="duck", path=str(tmp_path / "w.duckdb")))
    with registry.scratch():

        @ematix.pipeline(target="duck:main.t", source_connection="duck", mode="merge", keys=("id",))
        def load(conn: object) -> str:
            return "SELECT 1 AS id, 'a' AS kept"

        notes = load.preview().targets[0].plan.notes
    assert notes == ("columns of the target that the source does not give: gone",)
