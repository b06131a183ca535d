"""Parquet dictionaries where values repeat, and only there; the same rows either way."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable

from ematix_nb import DeltaLocalConnection, ObjectStoreLocalConnection, ematix
from ematix_nb.backends.files.repeats import FEWEST, rarely_repeated

ROWS = pa.table(
    {
        "id": pa.array(range(50_000), pa.int64()),
        "a.key": [f"key {number}" for number in range(50_000)],
        "country": ["DE", "FR", None, "IT", "ES"] * 10_000,
        "tags": [["x", "y"]] * 50_000,
    }
)


def test_what_repeats() -> None:
    assert rarely_repeated(ROWS) == {"id", "a.key"}
    assert rarely_repeated(ROWS.slice(0, FEWEST - 1)) == frozenset()
    assert rarely_repeated(pa.table({"n": pa.nulls(5000, pa.int64()), "b": [True] * 5000})) == frozenset()
    halves = pa.table({"n": [number // 2 for number in range(5000)]})
    assert rarely_repeated(halves) == frozenset()


def _encodings(path: Path) -> dict[str, bool]:
    """Whether each column of the first row group has a dictionary."""
    group = pq.ParquetFile(path).metadata.row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    return {column.path_in_schema: column.has_dictionary_page for column in columns}


def test_files(tmp_path: Path) -> None:
    lake = ObjectStoreLocalConnection(name="lake", path=str(tmp_path), format="parquet")

    @ematix.pipeline(name="load", target="out", target_connection=lake, mode="append")
    def load() -> pa.Table:
        return ROWS

    load.sync()
    (path,) = (tmp_path / "out").glob("*.parquet")
    found = _encodings(path)
    assert (found["id"], found["a.key"], found["country"], found["_batch_id"]) == (False, False, True, True)
    assert found["tags.list.element"]
    assert pq.read_table(path, columns=ROWS.column_names).equals(ROWS)


def test_delta(tmp_path: Path) -> None:
    place = DeltaLocalConnection(name="place", path=str(tmp_path))

    @ematix.pipeline(name="load", target="out", target_connection=place, mode="append")
    def load() -> pa.Table:
        return ROWS

    load.sync()
    (uri,) = DeltaTable(tmp_path / "out").file_uris()
    found = _encodings(Path(uri.removeprefix("file://")))
    assert (found["id"], found["a.key"], found["country"]) == (False, False, True)
    assert load.run(mode="truncate").counts["rows_inserted"] == 50_000
    assert place.read_df("SELECT id, country FROM out ORDER BY id", "arrow").equals(ROWS.select(["id", "country"]))
