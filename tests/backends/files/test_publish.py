"""Files appear whole or not at all: stages, manifests, crashes, races."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ematix_nb.backends.base import Manifest
from ematix_nb.backends.files import io, manifests
from ematix_nb.backends.files.io import FolderSession
from ematix_nb.backends.files.local import LocalStorage
from ematix_nb.backends.files.scan import make_scan
from ematix_nb.declare.data_types import BIGINT, TEXT
from ematix_nb.declare.spec import Column
from ematix_nb.errors import DataError, LockedError, RunError, TransientError

from .test_round_trip import lake, rows, write
from .test_stores import race

if TYPE_CHECKING:
    from pathlib import Path

COLUMNS = [Column("id", BIGINT)]


def batch(*ids: int) -> pa.RecordBatch:
    return pa.record_batch({"id": pa.array(ids, pa.int64())})


def ids(session: FolderSession) -> list[int]:
    return [found for (found,) in rows(session, "select id from t order by id")]


def test_staged_files_are_seen_by_nobody(tmp_path: Path) -> None:
    session = lake(tmp_path, "parquet")
    write(session, "t", COLUMNS, [batch(1)])
    assert session.stage("t", COLUMNS, [batch(2)], "r2") == ["part-r2-00000.parquet"]
    assert (tmp_path / "t" / ".part-r2-00000.parquet.tmp").exists()
    assert ids(session) == [1]
    assert session.staged_runs("t") == ("r2",)
    session.discard("t", "r2")
    session.discard("t", "r2")
    assert session.staged_runs("t") == ()
    assert ids(session) == [1]


def test_a_failing_source_leaves_nothing(tmp_path: Path) -> None:
    session = lake(tmp_path, "csv")

    def broken() -> object:
        yield batch(1)
        message = "the source broke"
        raise DataError(message)

    with pytest.raises(DataError, match="the source broke"):
        session.stage("t", COLUMNS, broken(), "r1")  # type: ignore[arg-type]
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_append_and_truncate(tmp_path: Path) -> None:
    session = lake(tmp_path, "parquet")
    write(session, "t", COLUMNS, [batch(1)], "r1")
    write(session, "t", COLUMNS, [batch(2)], "r2")
    assert ids(session) == [1, 2]
    names = session.stage("t", COLUMNS, [batch(3)], "r3")
    session.publish("t", Manifest(3, tuple(names), {"run": "r3"}))
    assert ids(session) == [3]
    assert sorted(path.name for path in (tmp_path / "t").glob("*.parquet")) == ["part-r3-00000.parquet"]
    assert session.manifest("t") == Manifest(3, ("part-r3-00000.parquet",), {"run": "r3"})


def test_a_target_without_rows_keeps_its_columns(tmp_path: Path) -> None:
    session = lake(tmp_path, "csv")
    columns = [Column("id", BIGINT), Column("name", TEXT)]
    write(session, "t", columns, [])
    assert session.manifest("t") == Manifest(1, (), {"run": "r1"})
    assert session.scan("t").columns == tuple(columns)
    assert rows(session, "select * from t") == []


def test_a_crash_between_manifest_and_rename_is_repaired_by_the_next_reader(tmp_path: Path) -> None:
    session = lake(tmp_path, "parquet")
    names = session.stage("t", COLUMNS, [batch(7)], "r1")
    manifests.publish(session.storage, "t", manifests.Published(1, tuple(names)))
    assert not (tmp_path / "t" / names[0]).exists()
    session.discard("t", "r1")
    assert ids(lake(tmp_path, "parquet")) == [7]
    assert (tmp_path / "t" / names[0]).exists()


def test_a_crash_before_the_manifest_leaves_the_old_state(tmp_path: Path) -> None:
    session = lake(tmp_path, "parquet")
    write(session, "t", COLUMNS, [batch(1)])
    session.stage("t", COLUMNS, [batch(2)], "dead")
    (tmp_path / "t" / "_ematix_flow" / "manifest" / ".000000000002-1-ab.tmp").write_text("{")
    again = lake(tmp_path, "parquet")
    assert ids(again) == [1]
    write(again, "t", COLUMNS, [batch(3)], "r3")
    assert ids(again) == [1, 3]
    assert again.staged_runs("t") == ("dead",)


def test_a_crash_before_old_files_are_removed_is_repaired_by_the_next_publisher(tmp_path: Path) -> None:
    session = lake(tmp_path, "csv")
    write(session, "t", COLUMNS, [batch(1)], "r1")
    names = session.stage("t", COLUMNS, [batch(2)], "r2")
    manifests.publish(session.storage, "t", manifests.Published(2, tuple(names), dropped=("part-r1-00000.csv",)))
    assert ids(session) == [2]
    session.publish("t", Manifest(3, tuple(names)))
    assert (tmp_path / "t" / "part-r1-00000.csv").exists()
    write(session, "t", COLUMNS, [batch(3)], "r3")
    assert sorted(path.name for path in (tmp_path / "t").glob("*.csv")) == ["part-r2-00000.csv", "part-r3-00000.csv"]
    assert ids(session) == [2, 3]


def test_two_publishers_of_one_number(tmp_path: Path) -> None:
    first, second = lake(tmp_path, "csv"), lake(tmp_path, "csv")
    one = first.stage("t", COLUMNS, [batch(1)], "a")
    two = second.stage("t", COLUMNS, [batch(2)], "b")
    first.publish("t", Manifest(1, tuple(one)))
    with pytest.raises(LockedError, match="published manifest 1"):
        second.publish("t", Manifest(1, tuple(two)))
    assert ids(second) == [1]


def test_of_many_racers_one_wins(tmp_path: Path) -> None:
    def race(number: int) -> bool:
        session = lake(tmp_path, "csv")
        names = session.stage("t", COLUMNS, [batch(number)], f"r{number}")
        try:
            session.publish("t", Manifest(1, tuple(names)))
        except LockedError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(race, range(24))) == 1


def test_two_writers_lose_and_double_nothing(tmp_path: Path) -> None:
    race(lambda: lake(tmp_path, "parquet"), 20)


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_two_writers_lose_and_double_nothing_for_long(tmp_path: Path) -> None:
    race(lambda: lake(tmp_path, "parquet"), 200)


def test_a_number_that_was_pruned_is_still_taken(tmp_path: Path) -> None:
    session = lake(tmp_path, "csv")
    for seq in range(1, 26):
        session.publish("t", Manifest(seq))
    assert manifests.numbers(session.storage, "t") == list(range(6, 26))
    with pytest.raises(LockedError, match="published manifest 3"):
        session.publish("t", Manifest(3))
    with pytest.raises(RunError, match=r"manifest 99 of .* cannot follow 25"):
        session.publish("t", Manifest(99))


def test_who_is_followed_at_once_has_won(tmp_path: Path) -> None:
    """Between our publication and our look at it somebody builds the next one on it."""
    other = lake(tmp_path, "csv")

    class Followed(LocalStorage):
        def create(self, name: str, body: bytes) -> bool:
            made = super().create(name, body)
            before = other.manifest("t")
            assert before is not None
            other.publish("t", Manifest(before.seq + 1, before.files, {"by": "other"}))
            return made

    write(other, "t", COLUMNS, [batch(1)], "r1")
    session = FolderSession(Followed(tmp_path), other.config)
    names = session.stage("t", COLUMNS, [batch(2)], "r2")
    session.publish("t", Manifest(2, ("part-r1-00000.csv", *names), {"by": "session"}))
    assert ids(other) == [1, 2]
    assert other.manifest("t") == Manifest(3, ("part-r1-00000.csv", "part-r2-00000.csv"), {"by": "other"})
    assert manifests.numbers(other.storage, "t") == [1, 2, 3]


def test_a_file_that_was_never_staged_is_not_published(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"`part-x-00000\.csv` of .* does not exist"):
        lake(tmp_path, "csv").publish("t", Manifest(1, ("part-x-00000.csv",)))


def test_foreign_files_are_adopted_by_the_first_append(tmp_path: Path) -> None:
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "old.csv").write_text("id\n1\n")
    session = lake(tmp_path, "csv")
    assert session.manifest("t") == Manifest(0, ("old.csv",))
    write(session, "t", COLUMNS, [batch(2)])
    assert ids(session) == [1, 2]
    (tmp_path / "t" / "later.csv").write_text("id\n9\n")
    assert ids(session) == [1, 2]


def test_a_listed_file_that_is_gone_is_told(tmp_path: Path) -> None:
    session = lake(tmp_path, "csv")
    write(session, "t", COLUMNS, [batch(2)])
    (tmp_path / "t" / "part-r1-00000.csv").unlink()
    with pytest.raises(DataError, match=r"`part-r1-00000\.csv` is listed in manifest 1"):
        session.scan("t")


def test_a_broken_manifest_is_told(tmp_path: Path) -> None:
    session = lake(tmp_path, "csv")
    write(session, "t", COLUMNS, [batch(2)])
    path = tmp_path / "t" / "_ematix_flow" / "manifest" / "000000000001.json"
    path.write_text("{")
    with pytest.raises(DataError, match="is not readable"):
        session.scan("t")
    path.write_text(json.dumps({"version": 99, "seq": 1, "files": [], "state": {}}))
    with pytest.raises(DataError, match="has version 99"):
        session.scan("t")


def test_columns_evolve_over_appends(tmp_path: Path) -> None:
    session = lake(tmp_path, "csv")
    write(session, "t", COLUMNS, [batch(1)])
    wide = [Column("id", BIGINT), Column("name", TEXT)]
    write(session, "t", wide, [pa.record_batch({"id": [2], "name": ["x"]})], "r2")
    assert rows(session, "select id, name from t order by id") == [(1, None), (2, "x")]


def test_a_read_only_session_writes_nothing(tmp_path: Path) -> None:
    session = lake(tmp_path, "csv")
    names = session.stage("t", COLUMNS, [batch(7)], "r1")
    manifests.publish(session.storage, "t", manifests.Published(1, tuple(names)))
    reader = FolderSession(session.storage, session.config, read_only=True)
    assert ids(reader) == [7]
    assert not (tmp_path / "t" / names[0]).exists()
    with pytest.raises(RunError, match="reading only"):
        reader.stage("t", COLUMNS, [batch(1)], "r")


class Replaced:
    """Another run replaces the target's file just before its footer is read, so many times."""

    def __init__(self, root: Path, times: int) -> None:
        self._other, self._times, self.done = lake(root, "parquet"), times, 0

    def __call__(self, *given: object) -> object:
        if self.done < self._times:
            self.done += 1
            run = f"n{self.done}"
            names = self._other.stage("t", COLUMNS, [batch(self.done)], run)
            self._other.publish("t", Manifest(self.done + 1, tuple(names), {"run": run}))
        return make_scan(*given)  # type: ignore[arg-type]


@pytest.mark.parametrize("times", [1, io.TRIES - 1, io.TRIES])
def test_a_target_that_is_replaced_while_it_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    session = lake(tmp_path, "parquet")
    write(session, "t", COLUMNS, [batch(99)], "r1")
    replaced = Replaced(tmp_path, times)
    monkeypatch.setattr(io, "make_scan", replaced)
    if times < io.TRIES:
        assert [column.name for column in session.scan("t").columns] == ["id"]
    else:
        with pytest.raises(TransientError, match="replaced faster than they can be looked at"):
            session.scan("t")
    assert replaced.done == times


def test_a_file_that_goes_while_a_folder_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(pa.table({"id": [1]}), tmp_path / "x.parquet")

    def gone(*given: object) -> object:
        (tmp_path / "x.parquet").unlink()
        return make_scan(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(io, "make_scan", gone)
    with pytest.raises(TransientError, match="went away while it was looked at"):
        lake(tmp_path, "parquet").scan("x.parquet")
