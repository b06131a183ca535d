"""What every store of state does, asked of the store itself: leases, history, watermarks and slots."""

from __future__ import annotations

import dataclasses
import datetime as dt
import os
import re
import time
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb.errors import LockedError, TransientError
from ematix_nb.state import liveness
from ematix_nb.state.liveness import host_name
from ematix_nb.state.model import Claim, Lease, RunRecord, SlotState, Watermark
from tests.state.stores import GONE, KINDS, Store, open_store

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

NINE = dt.datetime(2026, 3, 2, 9, tzinfo=dt.UTC)
HOUR = dt.timedelta(hours=1)
MARK = Watermark("ts", "2026-03-02T09:00:00", "timestamp", "41")
EVERY_FIELD: dict[str, Any] = {
    "target_schema": "s",
    "target_table": "t",
    "mode": "merge",
    "path": "arrow",
    "started_at": NINE,
    "finished_at": NINE + HOUR,
    "counts": {"rows_read": 3, "rows_inserted": 2, "rows_updated": 1, "rows_quarantined": 0},
    "error": "it's gone",
    "parent_run_id": str(uuid.uuid4()),
    "step_name": "tidy",
    "metrics": {"seconds": 1.5, "a": [1]},
    "fingerprint": "f00",
    "trigger": "schedule",
    "slot": NINE,
    "watermark_before": "1",
    "watermark_after": "2",
    "host": "h",
    "process": "1:1",
}


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    found = open_store(request.param, tmp_path)
    found.state.ensure()
    yield found
    found.session.close()


def ended(record: RunRecord, status: str = "success", **values: Any) -> RunRecord:
    return dataclasses.replace(record, status=status, **values)


def statuses(store: Store, pipeline: str | None = "p") -> dict[str, str]:
    return {run.run_id: run.status for run in store.state.history(pipeline, 100)}


# -- the lease ---------------------------------------------------------------------------------------------------


def test_the_first_run_gets_the_first_number(store: Store) -> None:
    lease, record = store.begin(mode="append")
    assert (lease.epoch, lease.took_over, lease.claim.run_id) == (1, "", record.run_id)
    assert store.state.running("p") == record.run_id
    assert statuses(store) == {record.run_id: "running"}


def test_a_living_run_keeps_others_out(store: Store) -> None:
    _, first = store.begin()
    host = re.escape(host_name().partition("[")[0])
    with pytest.raises(LockedError, match=rf"`p` is locked by run {first.run_id} on host {host} since \d{{4}}-.* UTC"):
        store.begin()
    assert statuses(store) == {first.run_id: "running"}
    other, _ = store.begin("another")
    assert other.epoch == 1


def test_the_holder_of_a_lease_is_told_with_its_time_in_utc(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Kolkata")
    time.tzset()
    try:
        before = dt.datetime.now(dt.UTC).replace(microsecond=0)
        _, record = store.begin()
        with pytest.raises(LockedError) as told:
            store.begin()
    finally:
        monkeypatch.undo()
        time.tzset()
    found = re.fullmatch(
        r"pipeline `p` is locked by run (.*) on host (.*) since (.* UTC) \(pid (.*)\)", told.value.what
    )
    assert found is not None
    assert found[1] == record.run_id
    assert (found[2], found[4]) == (host_name().partition("[")[0], str(os.getpid()))
    since = dt.datetime.strptime(found[3], "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=dt.UTC)
    assert before <= since <= before + dt.timedelta(minutes=1)
    assert "--wait" in told.value.hint


@pytest.mark.parametrize("before", [0, 1], ids=["the first", "after another"])
def test_a_run_on_another_host_is_believed_until_its_lease_ends(store: Store, before: int) -> None:
    for _ in range(before):
        store.begin(seconds=-1)
    record = RunRecord(run_id=str(uuid.uuid4()), pipeline="p")
    store.state.acquire(Claim("p", record.run_id, "elsewhere[1]", GONE, 60), record)
    assert store.state.running("p") == record.run_id
    with pytest.raises(LockedError, match=r"on host elsewhere since .* \(pid 4194305\)"):
        store.begin()


@pytest.mark.parametrize("how", ["its lease ended", "its process is gone"])
def test_a_dead_run_is_taken_over(store: Store, how: str) -> None:
    first, dead = store.begin(seconds=-1) if how == "its lease ended" else store.begin(process=GONE)
    assert store.state.running("p") == ""
    lease, record = store.begin()
    assert (lease.epoch, lease.took_over) == (2, dead.run_id)
    assert statuses(store) == {dead.run_id: "abandoned", record.run_id: "running"}
    (abandoned,) = [run for run in store.state.history("p") if run.run_id == dead.run_id]
    assert abandoned.error == "the process ended before the run did; nothing of it was committed"
    assert store.state.renew(first) is False
    with pytest.raises(TransientError, match=f"run {dead.run_id} lost the lease of pipeline `p` to another run"):
        store.commit(first, ended(dead), MARK)
    assert store.state.watermark("p") is None
    assert store.state.running("p") == record.run_id


def test_a_run_that_this_process_saw_end_holds_nobody_up(store: Store) -> None:
    """Its lease could not be given back: the line was cut."""
    _, record = store.begin()
    liveness.ended(record.run_id)
    assert store.state.running("p") == ""
    lease, _ = store.begin()
    assert (lease.epoch, lease.took_over) == (2, record.run_id)


def test_only_rows_of_the_same_pipeline_are_given_up(store: Store) -> None:
    _, other = store.begin("another")
    store.begin(seconds=-1)
    store.begin()
    assert statuses(store, "another") == {other.run_id: "running"}


def test_renewing_keeps_a_lease(store: Store) -> None:
    lease, record = store.begin(seconds=-1)
    longer = Lease(dataclasses.replace(lease.claim, seconds=60), lease.epoch)
    assert store.state.renew(longer) is True
    assert store.state.running("p") == record.run_id
    with pytest.raises(LockedError, match="is locked by"):
        store.begin()


@pytest.mark.parametrize("what", ["run", "epoch"])
def test_a_lease_of_another_run_is_not_renewed(store: Store, what: str) -> None:
    lease, record = store.begin(seconds=-1)
    other = (
        Lease(dataclasses.replace(lease.claim, run_id=str(uuid.uuid4()), seconds=60), lease.epoch)
        if what == "run"
        else Lease(dataclasses.replace(lease.claim, seconds=60), lease.epoch + 1)
    )
    assert store.state.renew(other) is False
    assert store.state.running("p") == ""
    with pytest.raises(TransientError, match="lost the lease"):
        store.commit(other, ended(record))


# -- the end of a run --------------------------------------------------------------------------------------------


def test_a_commit_writes_watermark_slot_and_history_and_frees_the_lease(store: Store) -> None:
    lease, record = store.begin(slot=NINE, started_at=NINE)
    store.commit(lease, ended(record, counts={"rows_read": 1}), MARK)
    assert store.state.watermark("p") == MARK
    assert store.state.slot("p", NINE) == SlotState(NINE, 0, done=True)
    assert statuses(store) == {record.run_id: "success"}
    assert store.state.running("p") == ""
    again, _ = store.begin()
    assert (again.epoch, again.took_over) == (2, "")


def test_a_commit_without_a_watermark_keeps_the_old_one(store: Store) -> None:
    lease, record = store.begin()
    store.commit(lease, ended(record), MARK)
    store.state.watermark("p")
    lease, record = store.begin()
    store.commit(lease, ended(record))
    assert store.state.watermark("p") == MARK


def test_a_newer_watermark_replaces_the_old_one(store: Store) -> None:
    for value in ("1", "2"):
        lease, record = store.begin()
        store.state.watermark("p")
        store.commit(lease, ended(record), Watermark("n", value, "bigint"))
    assert store.state.watermark("p") == Watermark("n", "2", "bigint")
    assert store.state.watermark("another") is None


def test_a_run_without_data_is_closed(store: Store) -> None:
    lease, record = store.begin(slot=NINE)
    store.state.finish(lease, ended(record, "skipped"))
    assert statuses(store) == {record.run_id: "skipped"}
    assert store.state.slot("p", NINE).done is True
    assert store.state.running("p") == ""
    again, _ = store.begin()
    assert (again.epoch, again.took_over) == (2, "")


def test_a_run_that_lost_its_lease_cannot_be_closed(store: Store) -> None:
    lease, record = store.begin(seconds=-1, slot=NINE)
    _, taker = store.begin()
    with pytest.raises(TransientError, match=f"run {record.run_id} lost the lease of pipeline `p`"):
        store.state.finish(lease, ended(record, "skipped"))
    assert store.state.slot("p", NINE).done is False
    assert store.state.running("p") == taker.run_id


def test_a_failed_run_gives_its_lease_back(store: Store) -> None:
    lease, record = store.begin(slot=NINE)
    assert store.state.close_failed(lease, ended(record, "failed", error="no")) is False
    (run,) = store.state.history("p")
    assert (run.status, run.error) == ("failed", "no")
    assert store.state.running("p") == ""
    again, _ = store.begin()
    assert (again.epoch, again.took_over) == (2, "")


def test_a_failure_after_the_commit_is_none(store: Store) -> None:
    lease, record = store.begin()
    store.commit(lease, ended(record), MARK)
    assert store.state.close_failed(lease, ended(record, "failed", error="the answer was lost")) is True
    (run,) = store.state.history("p")
    assert (run.status, run.error) == ("success", "")


def test_a_failure_of_a_run_that_was_given_up_frees_nobody_elses_lease(store: Store) -> None:
    lease, record = store.begin(seconds=-1)
    _, taker = store.begin()
    assert store.state.close_failed(lease, ended(record, "failed", error="too late")) is False
    assert statuses(store) == {record.run_id: "abandoned", taker.run_id: "running"}
    assert store.state.running("p") == taker.run_id


def test_a_withdrawn_run_leaves_no_trace(store: Store) -> None:
    lease, record = store.begin()
    store.commit(lease, ended(record))
    again, _ = store.begin()
    store.state.withdraw(again)
    assert statuses(store) == {record.run_id: "success"}
    assert store.state.running("p") == ""
    assert store.begin()[0].took_over == ""


# -- history -----------------------------------------------------------------------------------------------------


def test_every_field_of_a_run_comes_back(store: Store) -> None:
    lease, record = store.begin(**EVERY_FIELD)
    store.commit(lease, ended(record))
    (run,) = store.state.history("p")
    assert run == ended(record)


def test_fields_that_were_not_set_come_back_as_they_were(store: Store) -> None:
    record = RunRecord(run_id=str(uuid.uuid4()), pipeline="p", status="transform_success", started_at=NINE)
    store.state.add_history(record)
    assert store.state.history() == [record]


def test_history_is_newest_first_and_of_one_pipeline_with_its_targets(store: Store) -> None:
    names = ("p", "p::t", "p::u", "pp", "other")
    records = [
        RunRecord(run_id=str(uuid.uuid4()), pipeline=name, status="success", started_at=NINE + HOUR * hours)
        for hours, name in enumerate(names)
    ]
    for record in (records[2], records[0], records[4], records[1], records[3]):
        store.state.add_history(record)
    assert [run.pipeline for run in store.state.history()] == ["other", "pp", "p::u", "p::t", "p"]
    assert [run.pipeline for run in store.state.history("p")] == ["p::u", "p::t", "p"]
    assert [run.pipeline for run in store.state.history("p", 2)] == ["p::u", "p::t"]
    assert store.state.history("nobody") == []


def test_history_shows_twenty_runs_unless_told_otherwise(store: Store) -> None:
    for minutes in range(21):
        moment = NINE + dt.timedelta(minutes=minutes)
        store.state.add_history(RunRecord(run_id=str(uuid.uuid4()), pipeline="p", status="held", started_at=moment))
    assert [len(store.state.history("p", *last)) for last in ((), (21,), (22,))] == [20, 21, 21]
    assert store.state.history()[-1].started_at == NINE + dt.timedelta(minutes=1)


# -- watermarks and slots ----------------------------------------------------------------------------------------


def test_a_watermark_is_set_and_removed_by_hand(store: Store) -> None:
    store.state.reset_watermark("p", MARK)
    assert store.state.watermark("p") == MARK
    store.state.reset_watermark("p", Watermark("ts", "2027-01-01", "date"))
    assert store.state.watermark("p") == Watermark("ts", "2027-01-01", "date")
    store.state.reset_watermark("p", None)
    assert store.state.watermark("p") is None


def test_nothing_is_known_before_the_first_run(store: Store) -> None:
    assert store.state.watermark("p") is None
    assert store.state.history() == []
    assert store.state.running("p") == ""
    assert store.state.slot("p") == store.state.slot("p", NINE) == SlotState(None, 0, done=False)


def test_the_tries_of_a_slot_are_counted(store: Store) -> None:
    first = str(uuid.uuid4())
    tries = [
        ("failed", first, "", NINE),
        ("failed", "", first, NINE + HOUR),  # a retry within the same call
        ("abandoned", "", "", NINE + 2 * HOUR),
        ("failed", "", "", NINE - HOUR),
        ("success", "", "", NINE + 3 * HOUR),
        ("cancelled", "", "", NINE + 4 * HOUR),
    ]
    for status, run_id, parent, began in tries:
        record = RunRecord(
            run_id=run_id or str(uuid.uuid4()),
            pipeline="p",
            status=status,
            slot=NINE,
            started_at=began,
            parent_run_id=parent,
        )
        store.state.add_history(record)
    for pipeline, slot in (("p", NINE + HOUR), ("another", NINE)):
        store.state.add_history(
            RunRecord(
                run_id=str(uuid.uuid4()), pipeline=pipeline, status="failed", slot=slot, started_at=NINE + 9 * HOUR
            )
        )
    assert store.state.slot("p", NINE) == SlotState(None, 3, done=False, last_attempt=NINE + 2 * HOUR)


def test_the_newest_slot_that_was_done(store: Store) -> None:
    for hours in (2, 0, 1):
        lease, record = store.begin(slot=NINE + HOUR * hours)
        store.commit(lease, ended(record))
    assert store.state.slot("p") == SlotState(NINE + 2 * HOUR, 0, done=False)
    assert store.state.slot("p", NINE + HOUR) == SlotState(NINE + 2 * HOUR, 0, done=True)
    assert store.state.slot("p", NINE + 5 * HOUR) == SlotState(NINE + 2 * HOUR, 0, done=False)
    assert store.state.slot("another").last_done is None


def test_state_is_there_once_something_ran(tmp_path: Path) -> None:
    for kind in KINDS:
        (tmp_path / kind).mkdir()
        store = open_store(kind, tmp_path / kind)
        assert store.state.exists() is False
        store.state.ensure()
        store.begin()
        assert store.state.exists() is True
        store.session.close()
