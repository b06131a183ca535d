"""The rows of a preview are the first ones of the query, in its own order, and pages neither repeat nor miss rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from ematix_nb import DuckDBConnection, ObjectStoreLocalConnection, ematix, register_connection
from ematix_nb.declare import registry
from ematix_nb.verbs.preview import preview

if TYPE_CHECKING:
    from pathlib import Path

    from ematix_nb.verbs.results import PreviewResult


def page(looked: PreviewResult, offset: int, limit: int) -> pa.Table:
    """A page of the source itself."""
    assert looked.model is not None
    return looked.model.page(offset, limit).rows


def test_files_come_by_name_and_order_by_holds(tmp_path: Path) -> None:
    (tmp_path / "days").mkdir()
    for day in (4, 2, 9, 1, 3, 5):  # a folder lists them in an order of its own
        pq.write_table(
            pa.table({"day": [day] * 3, "n": [30 - day, day, 10 + day]}), tmp_path / "days" / f"{day}.parquet"
        )
    with registry.scratch():
        register_connection(ObjectStoreLocalConnection(name="lake", path=str(tmp_path), format="parquet"))
        looked = preview("lake:days/*.parquet", limit=4)
        assert looked.sample["day"].to_pylist() == [1, 1, 1, 2]
        assert not looked.complete
        assert page(looked, 2, 5)["day"].to_pylist() == [1, 2, 2, 2, 3]
        assert page(looked, 17, 5)["day"].to_pylist() == [9]
        assert page(looked, 18, 5).num_rows == 0
        assert preview("lake:days/*.parquet", limit=18).complete

        @ematix.pipeline(target="lake:out", source_connection="lake")
        def ordered(conn: object) -> str:
            return 'SELECT n FROM "days/*.parquet" ORDER BY n DESC'

        assert ordered.preview(limit=3).sample["n"].to_pylist() == [29, 28, 27]
        assert page(preview(ordered.spec, limit=3), 1, 2)["n"].to_pylist() == [28, 27]


def test_a_table_with_a_key_comes_in_the_order_of_its_key(tmp_path: Path) -> None:
    """Whatever order its rows lie in."""
    with duckdb.connect(str(tmp_path / "w.duckdb")) as database:
        database.execute('CREATE TABLE keyed (n integer, "A key" integer PRIMARY KEY)')
        database.execute("INSERT INTO keyed SELECT i, 100 - i FROM range(50) AS r(i)")
        database.execute("CREATE VIEW seen AS SELECT n FROM keyed")
    with registry.scratch():
        register_connection(DuckDBConnection(name="warehouse", path=str(tmp_path / "w.duckdb")))
        looked = preview("warehouse:keyed", limit=3)
        assert looked.sample["A key"].to_pylist() == [51, 52, 53]
        assert page(looked, 3, 2)["A key"].to_pylist() == [54, 55]
        assert looked.sql.endswith('ORDER BY "A key"')
        assert preview("warehouse:seen", limit=2).sample.num_rows == 2
