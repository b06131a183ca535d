"""The two chains of files beside a Delta table: damaged, gone, and made by others at the same moment."""

from __future__ import annotations

import dataclasses
import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb.backends.sealed import seal
from ematix_nb.errors import DataError, LockedError, TransientError
from ematix_nb.load.targets import thing_state
from ematix_nb.state import delta_state
from ematix_nb.state.file_state import TRIES
from ematix_nb.state.model import Watermark
from tests.state.stores import THING, Store, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ematix_nb.state.model import RunRecord

NINE = dt.datetime(2026, 3, 2, 9, tzinfo=dt.UTC)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    found = open_store("delta", tmp_path)
    yield found
    found.session.close()


def success(record: RunRecord) -> RunRecord:
    return dataclasses.replace(record, status="success")


def numbers(store: Store, folder: str = "p/lease") -> list[int]:
    """The state files of a pipeline."""
    found = store.session.objects.files(f"{THING}/_ematix_flow/{folder}")
    return sorted(int(name.removesuffix(".json")) for name in found if name.endswith(".json"))


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (seal({"version": 99, "entry": {}}), "state file 1 in `.*` has version 99, this package knows 2"),
        (seal({"version": 2}), "state file 1 in `.*` is not readable: 'entry'"),
        (b"{", "state file 1 in `.*` is not readable"),
    ],
)
def test_a_state_file_that_cannot_be_read_is_told(store: Store, tmp_path: Path, raw: bytes, told: str) -> None:
    store.begin()
    (file,) = (tmp_path / THING / "_ematix_flow" / "p" / "lease").glob("*1.json")
    file.write_bytes(raw)
    with pytest.raises(DataError, match=told):
        store.state.running("p")


def test_a_state_that_the_table_names_and_that_is_gone_is_told(store: Store, tmp_path: Path) -> None:
    lease, record = store.begin()
    store.commit(lease, success(record), Watermark("n", "1", "bigint"))
    (file,) = (tmp_path / THING / "_ematix_flow" / "p").glob("*.json")
    file.unlink()
    with pytest.raises(DataError, match=r"state file 1 of pipeline `p` in `.*` is gone"):
        store.state.watermark("p")


def test_a_run_that_died_after_its_commit_was_a_success(store: Store) -> None:
    lease, record = store.begin()
    table = store.session.table(THING)
    store.session.commit_nothing(THING, table, store.state.before_commit(table, lease, success(record), None))
    assert store.state.has_committed(lease) is True
    assert store.state.running("p") == ""
    again, other = store.begin()
    assert (again.epoch, again.took_over) == (2, "")
    assert {run.run_id: run.status for run in store.state.history("p")} == {
        record.run_id: "success",
        other.run_id: "running",
    }


def test_a_run_without_a_slot_is_closed(store: Store) -> None:
    lease, record = store.begin()
    store.state.finish(lease, dataclasses.replace(record, status="skipped"))
    assert store.state.history("p")[0].status == "skipped"
    assert store.state.slot("p", NINE).done is False


def test_before_the_table_is_made_there_is_nothing_to_fence(tmp_path: Path) -> None:
    made = open_store("delta", tmp_path)
    store = Store("delta", made.session, thing_state(made.session, "not_yet"))
    _, dead = store.begin(seconds=-1)
    lease, _ = store.begin()
    assert (lease.epoch, lease.took_over) == (2, dead.run_id)
    assert made.session.table("not_yet") is None
    made.session.close()


def test_old_files_of_both_chains_are_removed(store: Store) -> None:
    for _ in range(delta_state.KEPT_FILES + 3):
        lease, record = store.begin()
        store.commit(lease, success(record))
    last = delta_state.KEPT_FILES + 3
    assert numbers(store, "p") == list(range(last - delta_state.KEPT_FILES, last + 1))
    assert len(numbers(store)) == delta_state.KEPT_FILES


def fails(monkeypatch: pytest.MonkeyPatch, place: Any, name: str, times: int, end: Callable[..., Any]) -> list[str]:
    """A call that ends otherwise so many times, and then as it is; the calls."""
    calls: list[str] = []
    real = getattr(place, name)

    def call(*given: Any) -> Any:
        calls.append(name)
        return end(*given) if len(calls) <= times else real(*given)

    monkeypatch.setattr(place, name, call)
    return calls


def taken(*_: object) -> None:
    raise FileExistsError


def conflict(*_: object) -> None:
    raise TransientError("somebody else committed", "")


@pytest.mark.parametrize("times", [TRIES - 1, TRIES])
def test_who_is_slower_tries_again_and_gives_up_at_last(
    store: Store, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    calls = fails(monkeypatch, store.session.objects, "create", times, taken)
    if times < TRIES:
        assert store.begin()[0].epoch == 1
        assert numbers(store) == [1]
    else:
        with pytest.raises(LockedError, match="the lease of pipeline `p` changes faster than it can be written"):
            store.begin()
        assert numbers(store) == []
    assert len(calls) == TRIES


@pytest.mark.parametrize("times", [TRIES - 1, TRIES])
def test_the_state_of_a_commit_finds_the_next_free_number(
    store: Store, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    lease, record = store.begin()
    calls = fails(monkeypatch, store.session.objects, "create", times, taken)
    table = store.session.table(THING)
    if times < TRIES:
        tags = dict(store.state.before_commit(table, lease, success(record), None))
        assert tags == {"ematix_flow/run/p": 1, "ematix_flow/epoch/p": 1}
    else:
        with pytest.raises(LockedError, match="the state of pipeline `p` changes faster than it can be written"):
            store.state.before_commit(table, lease, success(record), None)
    assert len(calls) == TRIES


@pytest.mark.parametrize("times", [TRIES - 1, TRIES])
def test_a_lease_file_that_goes_while_it_is_read_is_looked_for_again(
    store: Store, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    _, record = store.begin()
    calls = fails(monkeypatch, store.session.objects, "read", times, lambda _: None)
    if times < TRIES:
        assert store.state.lease_holder("p") == record.run_id
    else:
        with pytest.raises(LockedError, match="the lease of pipeline `p` changes faster than it can be read"):
            store.state.lease_holder("p")
    assert len(calls) == TRIES


@pytest.mark.parametrize("times", [TRIES - 1, TRIES])
def test_a_fence_that_meets_other_commits_is_tried_again(
    store: Store, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    store.begin(seconds=-1)
    calls = fails(monkeypatch, store.session, "commit_nothing", times, conflict)
    if times < TRIES:
        assert store.begin()[0].epoch == 2
        assert store.session.table(THING).transaction_version("ematix_flow/epoch/p") == 2
    else:
        with pytest.raises(TransientError, match="somebody else committed"):
            store.begin()
    assert len(calls) == TRIES


def test_a_number_that_was_removed_is_still_taken(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who looked long ago makes a number that is free only because it is old."""
    for _ in range(delta_state.KEPT_FILES):
        lease, record = store.begin()
        store.commit(lease, success(record))
    before = numbers(store)
    assert before[0] > 1
    fails(monkeypatch, store.state, "_lease", 1, lambda _: (0, {}))
    lease, _ = store.begin()
    assert lease.epoch == delta_state.KEPT_FILES + 1
    assert numbers(store) == [*before[1:], before[-1] + 1]
