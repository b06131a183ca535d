"""What is written to a folder comes back exactly, in every format."""
# ruff: noqa: DTZ001 - times without a zone are values under test

from __future__ import annotations

import datetime as dt
import decimal
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from ematix_nb.backends.base import Manifest, Verdict
from ematix_nb.backends.files import BACKEND
from ematix_nb.backends.files.dialect import store
from ematix_nb.backends.files.io import FolderSession
from ematix_nb.connections import ObjectStoreLocalConnection
from ematix_nb.declare.data_types import (
    BIGINT,
    BOOLEAN,
    BYTES,
    DOUBLE,
    TEXT,
    TIMESTAMP,
    TIMESTAMPTZ,
    DataType,
    to_arrow,
)
from ematix_nb.declare.spec import Column
from ematix_nb.errors import DataError, DeclarationError
from ematix_nb.query import open_file_query

if TYPE_CHECKING:
    from pathlib import Path

FORMATS = ("parquet", "csv", "jsonl", "orc")
UTC = dt.UTC
VALUES: dict[str, tuple[DataType, list[Any]]] = {
    "tinyint": (DataType("tinyint"), [-128, 127, None]),
    "ubigint": (DataType("ubigint"), [0, 2**64 - 1, None]),
    "bigint": (BIGINT, [-(2**63), 2**63 - 1, None]),
    "double": (DOUBLE, [float("nan"), float("-inf"), 5e-324]),
    "doubles": (DOUBLE, [-0.0, 1.7976931348623157e308, 0.1]),
    "float": (DataType("float"), [3.4028234663852886e38, -0.0, None]),
    "numeric": (
        DataType("numeric", precision=38, scale=10),
        [decimal.Decimal("9" * 28 + "." + "9" * 10), decimal.Decimal("-0.0000000001"), None],
    ),
    "wide": (DataType("numeric", precision=60, scale=5), [decimal.Decimal("9" * 55 + ".00001"), None, None]),
    "boolean": (BOOLEAN, [True, False, None]),
    "text": (TEXT, ["", None, "NULL"]),
    "odd text": (TEXT, ['a"b\r\n,;\\\t', "\ufeff😀\u2028", " lead "]),
    "long": (TEXT, ["x" * 1_500_000, "\\N", "nan"]),
    "json": (DataType("jsonb"), ['{"a": 1}', "[]", None]),
    "uuid": (DataType("uuid"), ["00000000-0000-0000-0000-000000000001", None, None]),
    "bytes": (BYTES, [b"\x00\xff", b"", None]),
    "date": (DataType("date"), [dt.date(1, 1, 1), dt.date(9999, 12, 31), None]),
    "time": (DataType("time"), [dt.time(0), dt.time(23, 59, 59, 999999), None]),
    "timestamp": (TIMESTAMP, [dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59, 999999), None]),
    "timestamptz": (TIMESTAMPTZ, [dt.datetime(1, 1, 1, tzinfo=UTC), dt.datetime(2024, 2, 29, 1, 2, 3, 4, UTC), None]),
}
ORC_VALUES: dict[str, tuple[DataType, list[Any]]] = {
    **{name: found for name, found in VALUES.items() if name not in ("ubigint", "wide", "time")},
    "timestamp": (TIMESTAMP, [dt.datetime(1677, 9, 22), dt.datetime(2262, 4, 11, 0, 0, 0, 999999), None]),
    "timestamptz": (TIMESTAMPTZ, [dt.datetime(1969, 12, 31, 23, 59, 59, 999999, UTC), None, None]),
    "nanoseconds": (DataType("timestamp", precision=9), [1, -1, None]),
}
NESTED: dict[str, tuple[DataType, list[Any]]] = {
    "list": (DataType("array", item=BIGINT), [[1, None, 3], [], None]),
    "struct": (
        DataType("struct", fields=(("a", BIGINT), ("b", TEXT))),
        [{"a": 1, "b": "x"}, {"a": None, "b": ""}, None],
    ),
    "deep": (
        DataType("array", item=DataType("struct", fields=(("d", DataType("date")), ("f", DOUBLE)))),
        [[{"d": dt.date(2024, 1, 1), "f": float("inf")}], [None], None],
    ),
}


def values_of(file_format: str) -> dict[str, tuple[DataType, list[Any]]]:
    return ORC_VALUES if file_format == "orc" else VALUES


def lake(root: Path, file_format: str, **options: Any) -> FolderSession:
    session = BACKEND.open(ObjectStoreLocalConnection(name="lake", path=str(root), format=file_format, **options))
    assert isinstance(session, FolderSession)
    return session


def batch_of(values: dict[str, tuple[DataType, list[Any]]]) -> tuple[list[Column], pa.RecordBatch]:
    columns = [Column(name, kind) for name, (kind, _) in values.items()]
    arrays = [pa.array(found, to_arrow(kind)) for kind, found in values.values()]
    return columns, pa.RecordBatch.from_arrays(arrays, names=list(values))


def write(
    session: FolderSession, thing: str, columns: list[Column], batches: list[pa.RecordBatch], run: str = "r1"
) -> None:
    names = session.stage(thing, columns, iter(batches), run)
    before = session.manifest(thing)
    files = before.files if before else ()
    session.publish(thing, Manifest((before.seq if before else 0) + 1, (*files, *names), {"run": run}))


def rows(session: FolderSession, sql: str) -> list[tuple[Any, ...]]:
    query = open_file_query(session)
    try:
        return query.fetch(sql)
    finally:
        query.close()


@pytest.mark.parametrize(("file_format", "name"), [(each, name) for each in FORMATS for name in values_of(each)])
def test_one_column_round_trip(tmp_path: Path, file_format: str, name: str) -> None:
    session = lake(tmp_path, file_format)
    columns, batch = batch_of({name: values_of(file_format)[name]})
    write(session, "t", columns, [batch])
    assert session.scan("t").columns == tuple(columns)
    query = open_file_query(session)
    [found] = query.read("select * from t", columns)
    assert found.schema.types == batch.schema.types
    assert repr(found.to_pylist()) == repr(batch.to_pylist())


@pytest.mark.parametrize("file_format", FORMATS)
def test_all_columns_round_trip(tmp_path: Path, file_format: str) -> None:
    session = lake(tmp_path, file_format)
    columns, batch = batch_of(values_of(file_format))
    write(session, "raw/all", columns, [batch, batch])
    [found] = open_file_query(session).read("select * from raw.all", columns)
    assert repr(found.to_pylist()) == repr(batch.to_pylist() * 2)


@pytest.mark.parametrize("file_format", ["parquet", "jsonl", "orc"])
def test_nested_round_trip(tmp_path: Path, file_format: str) -> None:
    session = lake(tmp_path, file_format)
    columns, batch = batch_of(NESTED)
    write(session, "t", columns, [batch])
    [found] = open_file_query(session).read("select * from t", columns)
    assert found.to_pylist() == batch.to_pylist()


def test_csv_refuses_nested_columns(tmp_path: Path) -> None:
    columns, batch = batch_of(NESTED)
    with pytest.raises(DataError, match=r"column `list` \(array\(bigint\)\) cannot be written to csv"):
        lake(tmp_path, "csv").stage("t", columns, [batch], "r")
    assert store(DataType("text", native="inet", system="postgres"), "csv").verdict is Verdict.WIDENED


@pytest.mark.parametrize(
    "options", [{"csv_delimiter": ";"}, {"csv_null_value": "NULL"}, {"csv_header": False}, {"csv_delimiter": "\t"}]
)
def test_csv_options_round_trip(tmp_path: Path, options: dict[str, Any]) -> None:
    session = lake(tmp_path, "csv", **options)
    columns, batch = batch_of({name: VALUES[name] for name in ("bigint", "text", "odd text", "timestamptz")})
    write(session, "t", columns, [batch])
    [found] = open_file_query(session).read("select * from t", columns)
    assert found.to_pylist() == batch.to_pylist()


@pytest.mark.parametrize("compression", ["zstd", "snappy", "gzip", "uncompressed"])
def test_parquet_compression_is_as_asked(tmp_path: Path, compression: str) -> None:
    import pyarrow.parquet as pq

    session = lake(tmp_path, "parquet", parquet_compression=compression)
    columns, batch = batch_of({"bigint": VALUES["bigint"]})
    write(session, "t", columns, [batch])
    [file] = (tmp_path / "t").glob("*.parquet")
    assert pq.read_metadata(file).row_group(0).column(0).compression == compression.upper()


@pytest.mark.parametrize("file_format", FORMATS)
def test_partitions_round_trip(tmp_path: Path, file_format: str) -> None:
    session = lake(tmp_path, file_format)
    session.configure({"partition_by": ("city", "day")})
    cities = ["../../etc", "a/b", "__HIVE_DEFAULT_PARTITION__", "", "%2e%2e", "x y", None, "😀"]
    days = [dt.date(2024, 1, 1 + n) for n in range(8)]
    columns, batch = batch_of({"id": (BIGINT, list(range(8))), "city": (TEXT, cities), "day": (DataType("date"), days)})
    write(session, "t", columns, [batch])
    assert all(path.is_relative_to(tmp_path / "t") for path in tmp_path.rglob("part-*"))
    assert rows(session, "select id, city, day from t order by id") == list(zip(range(8), cities, days, strict=True))
    assert rows(session, "select id from t where city = '../../etc'") == [(0,)]
    assert rows(session, "select count(*) from t where city is null") == [(1,)]


def test_partition_by_is_checked(tmp_path: Path) -> None:
    session = lake(tmp_path, "parquet", partition_by=["cty"])
    columns, batch = batch_of({"id": (BIGINT, [1]), "city": (TEXT, ["x"])})
    with pytest.raises(DeclarationError, match="did you mean `city`"):
        session.stage("t", columns, [batch], "r")
    session.configure({"partition_by": "city"})
    _, long = batch_of({"id": (BIGINT, [1]), "city": (TEXT, ["x" * 300])})
    with pytest.raises(DataError, match="makes a name of 305 bytes"):
        session.stage("t", columns, [long], "r")
    assert list(tmp_path.rglob("*part-*")) == []


def test_files_are_cut_at_the_number_of_rows(tmp_path: Path) -> None:
    session = lake(tmp_path, "csv")
    session.configure({"target_file_rows": 4})
    columns, batch = batch_of({"id": (BIGINT, list(range(10)))})
    assert len(session.stage("t", columns, [batch], "r")) == 3


def test_write_options_of_another_format_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DeclarationError, match="`csv_delimiter` has no meaning for parquet"):
        lake(tmp_path, "parquet").configure({"csv_delimiter": ";"})
    with pytest.raises(DeclarationError, match="did you mean `partition_by`"):
        lake(tmp_path, "parquet").configure({"partiton_by": "x"})
