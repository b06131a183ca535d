"""ORC files of others: stripes, types, broken files."""

from __future__ import annotations

import datetime as dt
import hashlib
import random
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.orc as po
import pytest

from ematix_nb.backends.base import Verdict
from ematix_nb.backends.files.config import FileConfig
from ematix_nb.backends.files.dialect import store
from ematix_nb.backends.files.orc_files import Writer
from ematix_nb.declare.data_types import BIGINT, TIMESTAMP, DataType
from ematix_nb.declare.spec import Column
from ematix_nb.errors import DataError, SchemaDriftError
from ematix_nb.query import open_file_query

from .test_round_trip import lake, rows, write

if TYPE_CHECKING:
    from pathlib import Path


def test_a_file_is_read_stripe_by_stripe(tmp_path: Path) -> None:
    text = [hashlib.sha256(str(n).encode()).hexdigest() * 2 for n in range(100_000)]
    numbers = pa.table({"id": range(100_000), "text": text})
    po.write_table(numbers, tmp_path / "t.orc", stripe_size=1 << 20, compression="zlib")
    assert po.ORCFile(str(tmp_path / "t.orc")).nstripes > 3
    scan = lake(tmp_path, "orc").scan("t.orc")
    batches = list(scan.batches(["id"]))
    assert len(batches) > 3
    assert pa.Table.from_batches(batches).column("id").to_pylist() == list(range(100_000))
    assert rows(lake(tmp_path, "orc"), "select sum(id), max(text) from t where id < 100") == [(4950, max(text[:100]))]


def test_columns_with_points_and_structs_are_told_apart(tmp_path: Path) -> None:
    data = pa.table({"a": [{"b": 1}], "a.b": [2], 'x "y"': ["z"]})
    po.write_table(data, tmp_path / "t.orc")
    assert rows(lake(tmp_path, "orc"), 'select "a.b", "x ""y""", a from t') == [(2, "z", {"b": 1})]


def test_types_that_orc_has_not_become_the_nearest_ones() -> None:
    kinds = (DataType("ubigint"), DataType("time"), DataType("numeric", precision=60, scale=5), TIMESTAMP)
    assert [(str(store(kind, "orc").type), store(kind, "orc").verdict) for kind in kinds] == [
        ("numeric(20,0)", Verdict.WIDENED),
        ("text", Verdict.WIDENED),
        ("text", Verdict.WIDENED),
        ("timestamp", Verdict.EXACT),
    ]
    assert store(DataType("array", item=DataType("utinyint")), "orc").verdict is Verdict.REFUSED


def test_a_time_that_cannot_be_read_back_is_not_written(tmp_path: Path) -> None:
    values = [dt.datetime(2024, 1, 1), dt.datetime(9999, 12, 31)]  # noqa: DTZ001
    batch = pa.record_batch({"at": pa.array(values, pa.timestamp("us"))})
    with pytest.raises(
        DataError, match=r"column `at`, row 2 of the file: 9999-12-31 00:00:00.000000 cannot be kept in ORC"
    ):
        lake(tmp_path, "orc").stage("t", [Column("at", TIMESTAMP)], [batch], "r")
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_full_disk_ends_the_run_and_not_the_process() -> None:
    class Full:
        def write(self, _: bytes) -> int:
            raise OSError(28, "No space left on device")

    writer = Writer(Full(), [Column("id", BIGINT)], FileConfig(format="orc"))
    with pytest.raises(OSError, match="No space left"):
        writer.write(pa.record_batch({"id": range(9)}))
    with pytest.raises(OSError, match="No space left"):
        writer.close()


def test_a_time_that_others_wrote_and_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    po.write_table(pa.table({"at": pa.array([dt.datetime(1, 1, 1)], pa.timestamp("us"))}), tmp_path / "t.orc")  # noqa: DTZ001
    with pytest.raises(DataError, match=r"t\.orc: .*out of range for nanosecond"):
        rows(lake(tmp_path, "orc"), "select at from t")


def test_files_drift_together_or_apart(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    po.write_table(pa.table({"id": pa.array([1], pa.int32())}), tmp_path / "t" / "a.orc")
    po.write_table(pa.table({"id": pa.array([2**40]), "name": ["x"]}), tmp_path / "t" / "b.orc")
    session = lake(tmp_path, "orc")
    assert rows(session, "select id, name from t order by id") == [(1, None), (2**40, "x")]
    po.write_table(pa.table({"id": ["text"]}), tmp_path / "t" / "c.orc")
    with pytest.raises(SchemaDriftError, match=r"column `id` is .* in t/b\.orc and text in t/c\.orc"):
        session.scan("t")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda raw: b"PAR1" + raw[4:2000], r"t\.orc: not an ORC file \(it begins with b'PAR'\)"),
        (lambda raw: raw[: len(raw) // 2], r"t\.orc: the file is cut off"),
        (lambda raw: raw[:-20] + b"\xff" * 16 + raw[-4:], r"t\.orc: the (footer is broken|file is cut off)"),
        (lambda raw: raw[:-9_000] + raw[-5_000:], r"t\.orc: the data is broken"),
    ],
)
def test_a_broken_file_is_told(tmp_path: Path, change: object, message: str) -> None:
    po.write_table(pa.table({"x": [random.Random(n).random() for n in range(20_000)]}), tmp_path / "good.orc")
    raw = (tmp_path / "good.orc").read_bytes()
    (tmp_path / "t.orc").write_bytes(change(raw))  # type: ignore[operator]
    with pytest.raises(DataError, match=message):
        rows(lake(tmp_path, "orc"), "select sum(x) from t")


@pytest.mark.parametrize("compression", ["zstd", "snappy", "zlib", "lz4", "uncompressed"])
def test_compression_is_as_asked(tmp_path: Path, compression: str) -> None:
    session = lake(tmp_path, "orc", orc_compression=compression)
    write(session, "t", [Column("id", BIGINT)], [pa.record_batch({"id": range(9)})])
    [file] = (tmp_path / "t").glob("*.orc")
    assert po.ORCFile(str(file)).compression == compression.upper()
    assert open_file_query(session).fetch("select count(*) from t") == [(9,)]
