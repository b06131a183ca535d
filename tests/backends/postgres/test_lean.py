"""What a run between PostgreSQL and files does not load, and the short cuts that keep it lean."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import psycopg
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ematix_nb.backends.postgres.encode import RefusedError, checked
from ematix_nb.declare.data_types import TEXT, TIMESTAMPTZ, UUID, DataType

if TYPE_CHECKING:
    from pathlib import Path

PROGRAM = """
import sys
from ematix_nb import ObjectStoreLocalConnection, PostgresConnection, ematix, register_connection
register_connection(ObjectStoreLocalConnection(name="lake", path={folder!r}, format="parquet"))
register_connection(PostgresConnection(name="wh", url={url!r}))
@ematix.pipeline(target={target!r}, source_connection={source!r}, mode="append")
def load():
    return {sql!r}
print(load.sync().counts["rows_inserted"], [name for name in ("pandas", "datafusion") if name in sys.modules])
"""


def run(folder: Path, url: str, target: str, source: str, sql: str) -> str:
    program = PROGRAM.format(folder=str(folder), url=url, target=target, source=source, sql=sql)
    (folder / "load.py").write_text(program, encoding="utf-8")
    done = subprocess.run([sys.executable, "load.py"], capture_output=True, text=True, check=True, cwd=folder)
    return done.stdout.strip()


@pytest.mark.integration
def test_neither_pandas_nor_an_engine_is_loaded(pg_url: str, tmp_path: Path) -> None:
    with psycopg.connect(pg_url, autocommit=True) as connection:
        connection.execute(
            "CREATE TABLE src AS SELECT g AS id, 'n' || g AS name, g / 7.0 AS amount,"
            " now() AS at, g % 2 = 0 AS active, current_date AS day FROM generate_series(1, 2000) AS g"
        )
    assert run(tmp_path, pg_url, "lake:out", "wh", "SELECT id, name, at, active, day FROM src") == "2000 []"
    back = "SELECT id, name AS label, at, active, day FROM out"
    assert run(tmp_path, pg_url, "wh:public.back", "lake", back) == "2000 []"
    with psycopg.connect(pg_url) as connection:
        rows = "SELECT count(*), count(DISTINCT _batch_id), count(DISTINCT _loaded_at) FROM back"
        assert connection.execute(rows).fetchone() == (2000, 1, 1)
    assert pq.read_table(tmp_path / "out").num_rows == 2000


def test_a_zero_byte_under_a_null_is_no_nul() -> None:
    offsets = pa.py_buffer(bytes([0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0]))
    hidden = pa.Array.from_buffers(pa.string(), 2, [pa.py_buffer(b"\x01"), offsets, pa.py_buffer(b"a\x00")])
    assert checked(hidden, TEXT).to_pylist() == ["a", None]


@pytest.mark.parametrize("cut", [slice(0, 4), slice(1, 3), slice(2, 4)])
def test_a_nul_is_found_wherever_a_slice_begins(cut: slice) -> None:
    texts = pa.array(["ok", "a", "b\0c", "d"])[cut.start : cut.stop]
    with pytest.raises(RefusedError, match="holds a NUL character"):
        checked(texts, TEXT)
    assert checked(pa.array(["a\0", "b"])[1:], TEXT).to_pylist() == ["b"]


def test_a_dictionary_stays_one_and_each_value_is_checked() -> None:
    values = pa.array(["a", "bb", "a", None]).dictionary_encode()
    found = checked(values, DataType("string", length=2))
    assert pa.types.is_dictionary(found.type)
    assert found.to_pylist() == ["a", "bb", "a", None]
    with pytest.raises(RefusedError, match="longer than 1"):
        checked(values, DataType("string", length=1))
    with pytest.raises(RefusedError, match="not a UUID"):
        checked(values, UUID)
    with pytest.raises(ValueError, match="Failed to parse string"):
        checked(values, TIMESTAMPTZ)
