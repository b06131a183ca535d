"""Files that are written beside a target, by the storage's own word: sizes, places, what goes wrong."""

from __future__ import annotations

import dataclasses
import errno
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ematix_nb.backends.files.io import FolderSession
from ematix_nb.backends.files.local import LocalStorage, LocalUpload
from ematix_nb.backends.files.storage import Entry
from ematix_nb.declare.data_types import BIGINT, DOUBLE, TEXT, DataType
from ematix_nb.declare.spec import Column
from ematix_nb.errors import DataError, DeclarationError, RunError, TransientError

from .test_round_trip import lake

if TYPE_CHECKING:
    from pathlib import Path

COLUMNS = [Column("id", BIGINT), Column("kind", TEXT)]


def batch(*rows: tuple[int, str]) -> pa.RecordBatch:
    return pa.record_batch({"id": pa.array([row[0] for row in rows], pa.int64()), "kind": [row[1] for row in rows]})


def left(root: Path) -> list[str]:
    """The files in a folder."""
    return sorted(path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("partition_by", "columns", "error", "told"),
    [
        (("kindd",), COLUMNS, DeclarationError, "`kindd`, which is not a column"),
        (("x",), [Column("x", DOUBLE), Column("id", BIGINT)], DeclarationError, r"values of `x` \(double\) cannot be"),
        (("id", "kind"), COLUMNS, DeclarationError, "names every column"),
        ((), [Column("many", DataType("array", item=BIGINT))], DataError, r"column `many` .* cannot be written to csv"),
    ],
)
def test_columns_that_cannot_be_written_are_refused(
    tmp_path: Path, partition_by: tuple[str, ...], columns: list[Column], error: type[Exception], told: str
) -> None:
    session = lake(tmp_path, "csv", partition_by=partition_by)
    with pytest.raises(error, match=told):
        session.stage("t", columns, [], "r1")
    assert left(tmp_path) == []


def test_a_batch_of_another_kind_is_refused(tmp_path: Path) -> None:
    session = lake(tmp_path, "csv")
    wrong = pa.record_batch({"id": [1], "kind": [2]})
    with pytest.raises(RunError, match="batch column `kind` is int64, expected `kind` as string"):
        session.stage("t", COLUMNS, [wrong], "r1")
    with pytest.raises(RunError, match="batch column `other` is string, expected `kind` as string"):
        session.stage("t", COLUMNS, [batch((1, "a")).rename_columns(["id", "other"])], "r1")
    assert left(tmp_path) == []


def test_a_batch_without_rows_makes_no_file(tmp_path: Path) -> None:
    session = lake(tmp_path, "csv")
    assert session.stage("t", COLUMNS, [batch()], "r1") == []
    assert session.stage("t", COLUMNS, [batch(), batch((1, "a")), batch()], "r1") == ["part-r1-00000.csv"]


def test_a_name_that_is_taken_is_not_written_again(tmp_path: Path) -> None:
    session = lake(tmp_path, "csv")
    (tmp_path / "t").mkdir()
    for number in (0, 1):
        (tmp_path / "t" / f"part-r1-0000{number}.csv").write_text("id,kind\n9,mine\n")
    assert session.stage("t", COLUMNS, [batch((1, "a"))], "r1") == ["part-r1-00002.csv"]
    assert (tmp_path / "t" / "part-r1-00000.csv").read_text() == "id,kind\n9,mine\n"


def test_files_hold_no_more_rows_than_asked(tmp_path: Path) -> None:
    config = dataclasses.replace(lake(tmp_path, "parquet").config, target_file_rows=3)
    session = FolderSession(LocalStorage(tmp_path), config)
    batches = [batch((1, "a"), (2, "a")), batch(*((number, "a") for number in range(3, 9)))]
    names = session.stage("t", COLUMNS, batches, "r1")
    found = [pq.read_table(tmp_path / "t" / f".{name}.tmp")["id"].to_pylist() for name in names]
    assert found == [[1, 2, 3], [4, 5, 6], [7, 8]]


def test_only_so_many_files_are_open_at_once(tmp_path: Path) -> None:
    class Few(LocalStorage):
        open_at_once = 2

    config = lake(tmp_path, "parquet", partition_by=("kind",)).config
    session = FolderSession(Few(tmp_path), config)
    batches = [batch((1, "a"), (2, "b"), (3, "c")), batch((4, "c"), (5, "a"))]
    names = session.stage("t", COLUMNS, batches, "r1")
    assert [name.partition("/")[0] for name in names] == ["kind=a", "kind=b", "kind=c", "kind=a"]
    found = {
        name: pq.read_table(
            tmp_path / "t" / name.replace("part-", ".part-").replace(".parquet", ".parquet.tmp"), partitioning=None
        )["id"].to_pylist()
        for name in names
    }
    assert list(found.values()) == [[1], [2], [3, 4], [5]]


class Failing(LocalStorage):
    """A disk that refuses what is written to it."""

    code = errno.ENOSPC

    def upload(self, name: str) -> LocalUpload:
        code = self.code

        class Full(LocalUpload):
            def write(self, data: Any, /) -> int:
                del data
                raise OSError(code, "no")

        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        return Full(path)


@pytest.mark.parametrize(
    ("code", "error", "told"),
    [
        (errno.ENOSPC, TransientError, "no space left for staging in `t`; the target is unchanged"),
        (errno.EACCES, RunError, "cannot write to `t`: no"),
    ],
)
def test_a_disk_that_refuses_is_told_and_nothing_stays(
    tmp_path: Path, code: int, error: type[Exception], told: str
) -> None:
    storage = Failing(tmp_path)
    storage.code = code
    session = FolderSession(storage, lake(tmp_path, "csv").config)
    with pytest.raises(error, match=told):
        session.stage("t", COLUMNS, [batch((1, "a"))], "r1")
    assert left(tmp_path) == []


def test_a_disk_that_is_full_at_the_end_is_told_as_well(tmp_path: Path) -> None:
    class FullAtTheEnd(LocalStorage):
        def upload(self, name: str) -> LocalUpload:
            class Full(LocalUpload):
                def close(self) -> None:
                    raise OSError(errno.ENOSPC, "no")

            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            return Full(path)

    session = FolderSession(FullAtTheEnd(tmp_path), lake(tmp_path, "parquet").config)
    with pytest.raises(TransientError, match="no space left for staging in `t`"):
        session.stage("t", COLUMNS, [batch((1, "a"))], "r1")
    assert left(tmp_path) == []


def test_bytes_that_did_not_arrive_are_noticed(tmp_path: Path) -> None:
    class Short(LocalStorage):
        """A place elsewhere, which has one byte less than was sent."""

        def path(self, name: str) -> Any:
            del name

        def upload(self, name: str) -> LocalUpload:
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)

            class Counted(LocalUpload):
                sent = 0

                def tell(self) -> int:
                    return self.sent

                def close(self) -> None:
                    self.sent = super().tell()
                    super().close()

            return Counted(path)

        def stat(self, name: str) -> Entry:
            found = super().stat(name)
            return Entry(found.name, found.size - 1, found.stamp)

    session = FolderSession(Short(tmp_path), lake(tmp_path, "csv").config)
    with pytest.raises(TransientError, match=r"part-r1-00000\.csv has \d+ bytes after writing \d+"):
        session.stage("t", COLUMNS, [batch((1, "a"))], "r1")
    assert left(tmp_path) == []


def test_rows_that_did_not_arrive_are_noticed(tmp_path: Path) -> None:
    class Swapping(LocalStorage):
        """A disk on which another file lies than the one that was written."""

        def upload(self, name: str) -> LocalUpload:
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)

            class Swapped(LocalUpload):
                def close(self) -> None:
                    super().close()
                    pq.write_table(pa.table({"id": [1], "kind": ["a"]}), path)

            return Swapped(path)

    session = FolderSession(Swapping(tmp_path), lake(tmp_path, "parquet").config)
    with pytest.raises(RunError, match=r"part-r1-00000\.parquet holds 1 row after writing 2"):
        session.stage("t", COLUMNS, [batch((1, "a"), (2, "b"))], "r1")
    assert left(tmp_path) == []
