"""X20: files that unfold, nest or declare more than they hold end with one message, soon and in little memory."""

from __future__ import annotations

import gzip
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ematix_nb import ObjectStoreLocalConnection, SQLiteConnection, register_connection
from ematix_nb.backends.files import texts, unpacked
from ematix_nb.declare import registry
from ematix_nb.declare.pipelines import build_pipeline
from ematix_nb.errors import DataError
from ematix_nb.verbs.run import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

MIB = 1 << 20
DEEP = 100_000


@pytest.fixture
def load(tmp_path: Path) -> Iterator[Callable[[str], int]]:
    """Loads a file of the folder; gives the number of rows."""
    with registry.scratch():
        register_connection(SQLiteConnection(name="lite", path=str(tmp_path / "t.db")))

        def act(name: str) -> int:
            format_ = name.split(".")[1]
            register_connection(ObjectStoreLocalConnection(name="lake", path=str(tmp_path), format=format_))
            sql = f'SELECT * FROM "{name}"'
            options: dict[str, Any] = {"target": "lite:t", "source_connection": "lake", "mode": "truncate", "name": "p"}
            return run(build_pipeline(sql=sql, **options)).raise_for_status().counts["rows_inserted"]

        yield act


def bomb(path: Path, head: bytes, size: int) -> None:
    """A head, and so many zeros behind it, packed."""
    with gzip.open(path, "wb", compresslevel=9) as out:
        out.write(head)
        for _ in range(size // MIB):
            out.write(b"\0" * MIB)


@pytest.mark.parametrize(("name", "head"), [("x.csv.gz", b"id,name\n1,"), ("x.jsonl.gz", b'{"id": 1}\n')])
def test_a_packed_file_does_not_unfold_for_ever(
    name: str, head: bytes, tmp_path: Path, load: Callable[[str], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacked, "FREE_BYTES", 32 * MIB)
    bomb(tmp_path / name, head, 64 * MIB)
    with pytest.raises(
        DataError, match=r"x\.\w+\.gz: [\d,]+ packed bytes unfold to more than 32 MiB .*\nhint: .*unpack it"
    ):
        load(name)


@pytest.mark.parametrize("name", ["x.csv.gz", "x.jsonl.gz"])
def test_a_well_packed_file_is_read(name: str, tmp_path: Path, load: Callable[[str], int]) -> None:
    rows = [f"{number}," + "a" * 500 for number in range(20_000)]
    lines = ["id,name", *rows] if "csv" in name else [f'{{"id": {row[:-501]}, "name": "{row[-500:]}"}}' for row in rows]
    (tmp_path / name).write_bytes(gzip.compress("\n".join(lines).encode()))
    assert (tmp_path / name).stat().st_size * 50 < len("\n".join(lines))
    assert load(name) == len(rows)


@pytest.mark.parametrize(("name", "head"), [("x.csv", b"id,name\n1,"), ("x.jsonl", b'{"id": 1, "name": "')])
def test_a_line_without_an_end(
    name: str, head: bytes, tmp_path: Path, load: Callable[[str], int], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ematix_nb.backends.files import csv_files, jsonl_files

    for module in (texts, csv_files, jsonl_files):
        monkeypatch.setattr(module, "MAX_RECORD_BYTES", 4 * MIB)
    (tmp_path / name).write_bytes(head + b"a" * (9 * MIB))
    with pytest.raises(
        DataError, match=r"x\.\w+, line \d: the line is longer than 4 MiB .*\nhint: write one row a line"
    ):
        load(name)


@pytest.mark.parametrize("around", ['{{"a": {}}}', '{{"id": 1}}\n{{"id": 1, "a": {}}}'], ids=["first", "later"])
@pytest.mark.parametrize(("opened", "closed"), [("[", "]"), ('{"a":', "}")], ids=["lists", "objects"])
def test_json_that_nests_a_hundred_thousand_times(
    opened: str, closed: str, around: str, tmp_path: Path, load: Callable[[str], int]
) -> None:
    inner = opened * DEEP + "1" + closed * DEEP
    (tmp_path / "x.jsonl").write_text(around.format(inner) + "\n")
    with pytest.raises(DataError, match=r"x\.jsonl, line \d: "):
        load("x.jsonl")


def test_json_that_nests_where_only_the_fast_parser_looks(tmp_path: Path, load: Callable[[str], int]) -> None:
    """Beyond the sample lines are parsed by Arrow first; the deep part is in no column."""
    lines = ['{"id": 1, "a": "x"}'] * 2000 + ['{"id": 1, "a": ' + "[" * DEEP + "]" * DEEP + "}"]
    (tmp_path / "x.jsonl").write_text("\n".join(lines))
    with pytest.raises(DataError, match=r"x\.jsonl, line 2001"):
        load("x.jsonl")


def varint(value: int) -> bytes:
    """A number as Parquet's headers have it."""
    left, found = value << 1, bytearray()
    while left > 127:
        found.append(left & 127 | 128)
        left >>= 7
    return bytes([*found, left])


def test_a_page_that_declares_two_gigabytes(tmp_path: Path, load: Callable[[str], int]) -> None:
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"id": list(range(1000))}), path, use_dictionary=False, compression="zstd")
    column = pq.read_metadata(path).row_group(0).column(0)
    data = path.read_bytes()
    start = column.data_page_offset
    assert data[start : start + 3] == b"\x15\x00\x15"  # a data page, then its unpacked size
    end = start + 3
    while data[end] & 128:
        end += 1
    path.write_bytes(data[: start + 3] + varint(2**31 - 1) + data[end + 1 :])
    with pytest.raises(DataError, match=r"x\.parquet"):
        load("x.parquet")
