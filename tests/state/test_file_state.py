"""Several publishers of one folder: who loses tries again, and gives up at last."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pytest

from ematix_nb.declare.data_types import BIGINT
from ematix_nb.declare.spec import Column
from ematix_nb.errors import LockedError
from ematix_nb.state import file_state
from ematix_nb.state.file_state import TRIES, FileState
from ematix_nb.state.model import Claim, Lease, RunRecord
from tests.state.stores import THING, Store, open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ematix_nb.backends.base import Manifest


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = open_store("files", tmp_path)
    yield found
    found.session.close()


def loses(store: Store, monkeypatch: pytest.MonkeyPatch, times: int) -> list[int]:
    """Somebody else publishes the same number first, so many times; the numbers that were tried."""
    tried: list[int] = []
    real = store.session.publish

    def publish(thing: str, manifest: Manifest, *more: Any) -> Any:
        tried.append(manifest.seq)
        if len(tried) <= times:
            raise LockedError("somebody else was first", "")
        return real(thing, manifest, *more)

    monkeypatch.setattr(store.session, "publish", publish)
    return tried


def test_who_loses_reads_anew_and_tries_again(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = loses(store, monkeypatch, TRIES - 1)
    lease, record = store.begin()
    assert (len(tried), lease.epoch) == (TRIES, 1)
    assert store.state.running("p") == record.run_id
    assert store.session.manifest(THING).seq == 1


def test_who_loses_every_time_gives_up(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = loses(store, monkeypatch, TRIES + 1)
    with pytest.raises(LockedError, match="somebody else was first"):
        store.begin()
    assert len(tried) == TRIES
    assert store.state.history() == []


def test_who_gave_up_left_nothing_behind(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    lease, record = store.begin()
    store.commit(lease, dataclasses.replace(record, status="success"))
    loses(store, monkeypatch, TRIES)
    with pytest.raises(LockedError, match="somebody else was first"):
        store.begin()
    assert [run.run_id for run in store.state.history()] == [record.run_id]
    assert store.state.running("p") == ""


def test_a_lease_ends_at_its_very_moment(store: Store) -> None:
    """With a clock that stands still."""

    class Still:
        def now(self) -> dt.datetime:
            return dt.datetime(2026, 3, 2, 9, tzinfo=dt.UTC)

    still = Store("files", store.session, FileState(store.session, THING, Still()))
    _, first = still.begin(seconds=0)
    assert still.state.running("p") == ""
    assert still.begin(seconds=0.5)[0].took_over == first.run_id
    with pytest.raises(LockedError, match="since 2026-03-02 09:00:00 UTC"):
        still.begin()


def test_a_run_without_a_row_fails_and_is_told(store: Store) -> None:
    lease = Lease(Claim("p", "r1", "h", "1:1"), 1)
    assert store.state.close_failed(lease, RunRecord(run_id="r1", pipeline="p", status="failed", error="no")) is False
    assert [(run.run_id, run.status) for run in store.state.history("p")] == [("r1", "failed")]


def test_a_run_without_files_is_none_of_those_that_wrote(store: Store) -> None:
    lease, record = store.begin()
    store.state.finish(lease, dataclasses.replace(record, status="skipped"))
    assert store.state.batches("p") == frozenset()


def test_the_runs_that_wrote_are_those_whose_files_are_there(store: Store) -> None:
    made = []
    for _ in range(2):
        lease, record = store.begin()
        made.append(record.run_id)
        name = store.session.stage(THING, [Column("id", BIGINT)], [pa.record_batch({"id": [1]})], record.run_id)
        store.state.publish(
            lease, dataclasses.replace(record, status="success"), None, lambda old, new=name: (*old, *new)
        )
        assert store.state.batches("p") == frozenset(made)
    lease, record = store.begin()
    store.state.publish(lease, dataclasses.replace(record, status="success"), None, lambda old: old[1:])
    assert store.state.batches("p") == {made[1]}


def test_a_row_and_a_slot_too_many_push_the_oldest_out(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KEPT_RUNS", "KEPT_SLOTS"):
        monkeypatch.setattr(file_state, name, 2)
    slots = [dt.datetime(2026, 3, 2, hour, tzinfo=dt.UTC) for hour in (1, 2, 3)]
    for slot in slots:
        lease, record = store.begin(slot=slot, started_at=slot)
        store.commit(lease, dataclasses.replace(record, status="success"))
    assert [run.slot for run in store.state.history("p")] == [slots[2], slots[1]]
    assert [store.state.slot("p", slot).done for slot in slots] == [False, True, True]
    lease, record = store.begin(started_at=slots[2])
    assert len(store.state.history("p")) == 2
    store.state.close_failed(lease, dataclasses.replace(record, status="failed"))
    store.state.add_history(dataclasses.replace(record, run_id="another"))
    assert {run.run_id for run in store.state.history("p")} == {record.run_id, "another"}
