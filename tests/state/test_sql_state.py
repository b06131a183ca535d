"""What only databases have: state tables of other versions, and failures in the midst of a change."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from ematix_nb.errors import ConflictError, FlowError, LockedError, RunError
from ematix_nb.state import sql_state, tables
from ematix_nb.state.model import Lease, RunRecord, SlotState, Watermark
from tests.state.stores import Store, open_store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

NINE = dt.datetime(2026, 3, 2, 9, tzinfo=dt.UTC)
OLDER_HISTORY = tables.RUN_HISTORY[:16]
OLDER_WATERMARKS = tables.WATERMARKS[:4]


@pytest.fixture(params=["sqlite", "duckdb"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    found = open_store(request.param, tmp_path)
    yield found
    found.session.close()


@pytest.fixture
def store(empty: Store) -> Store:
    empty.state.ensure()
    return empty


def name(store: Store, table: str) -> str:
    return str(store.session.dialect.table(store.session.dialect.state_table(table)))


def make(store: Store, table: str, columns: tuple[Any, ...]) -> None:
    """A state table with fewer columns than this version has."""
    dialect = store.session.dialect
    ref = dialect.state_table(table)
    if ref.schema and store.kind == "duckdb":
        store.session.execute(dialect.create_schema(ref.schema))
    stored = [dataclasses.replace(column, type=dialect.store(column.type).type) for column in columns]
    store.session.execute(dialect.create_table(ref, stored, [stored[0].name]))


def test_a_database_without_state_knows_nothing_and_stays_empty(empty: Store) -> None:
    state = empty.state
    assert (state.exists(), state.watermark("p"), state.history(), state.running("p")) == (False, None, [], "")
    assert state.slot("p", NINE) == SlotState(None, 0, done=False)
    assert empty.session.tables() == []


def test_tables_are_made_once(store: Store) -> None:
    store.begin()
    store.state.ensure()
    assert len(store.state.history()) == 1
    assert store.session.fetch(f"SELECT version FROM {name(store, 'state_version')}") == [(tables.VERSION,)]
    for table, columns in tables.TABLES.items():
        found = store.session.table(store.session.dialect.state_table(table))
        assert [column.name for column in found.columns] == [column.name for column in columns]


@pytest.mark.parametrize("conflicts", [sql_state.TRIES - 1, sql_state.TRIES])
def test_tables_that_others_make_are_made_after_them(
    empty: Store, monkeypatch: pytest.MonkeyPatch, conflicts: int
) -> None:
    pauses: list[float] = []
    tries: list[int] = []
    real = empty.state._make

    def make() -> None:
        tries.append(len(tries))
        if len(tries) <= conflicts:
            raise ConflictError("somebody else makes them", "")
        real()

    monkeypatch.setattr(empty.state, "_make", make)
    monkeypatch.setattr("ematix_nb.state.sql_state.time.sleep", pauses.append)
    if conflicts == sql_state.TRIES:
        with pytest.raises(ConflictError, match="somebody else makes them"):
            empty.state.ensure()
    else:
        empty.state.ensure()
    assert len(tries) == sql_state.TRIES
    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8]
    assert empty.state.exists() is (conflicts < sql_state.TRIES)


def test_tables_of_a_newer_version_are_left_alone(store: Store) -> None:
    store.session.execute(f"UPDATE {name(store, 'state_version')} SET version = 99")
    wanted = f"the state tables in this target have version 99; this package knows version {tables.VERSION}"
    with pytest.raises(RunError, match=wanted):
        store.state.ensure()


def test_tables_of_an_older_package_are_read_and_then_grow(empty: Store) -> None:
    make(empty, "watermarks", OLDER_WATERMARKS)
    make(empty, "run_history", OLDER_HISTORY)
    run = str(uuid.uuid4())
    empty.session.execute(
        f"INSERT INTO {name(empty, 'watermarks')} (pipeline_name, column_name, last_value) VALUES ('p', 'ts', '7')"
    )
    empty.session.execute(
        f"INSERT INTO {name(empty, 'run_history')} (run_id, pipeline_name, status, rows_inserted)"
        f" VALUES ('{run}', 'p', 'success', 3)"
    )
    for _ in range(2):
        assert empty.state.watermark("p") == Watermark("ts", "7", "")
        assert empty.state.history() == [
            RunRecord(run_id=run, pipeline="p", status="success", counts={"rows_inserted": 3}, trigger="")
        ]
        empty.state.ensure()
    _, record = empty.begin()
    assert {found.run_id for found in empty.state.history()} == {run, record.run_id}


def test_a_watermark_without_a_value_is_none(store: Store) -> None:
    store.session.execute(f"INSERT INTO {name(store, 'watermarks')} (pipeline_name, column_name) VALUES ('p', 'ts')")
    assert store.state.watermark("p") is None


def test_a_watermark_tells_which_run_set_it_and_when(store: Store) -> None:
    before = dt.datetime.now(dt.UTC)
    lease, record = store.begin()
    store.commit(lease, dataclasses.replace(record, status="success"), Watermark("n", "1", "bigint"))
    set_by = f"SELECT run_id, updated_at FROM {name(store, 'watermarks')}"
    ((run, moment),) = store.session.fetch(set_by)
    assert run == record.run_id
    assert before <= dt.datetime.fromisoformat(str(moment)) <= dt.datetime.now(dt.UTC)
    store.state.reset_watermark("p", Watermark("n", "2", "bigint"))
    assert [row[0] for row in store.session.fetch(set_by)] == [""]


@pytest.mark.parametrize(
    ("text", "metrics"), [("not json", {"text": "not json"}), ("[1]", {"value": [1]}), ('{"a": 1}', {"a": 1})]
)
def test_metrics_of_another_package(store: Store, text: str, metrics: dict[str, Any]) -> None:
    store.begin()
    store.session.execute(f"UPDATE {name(store, 'run_history')} SET metrics_json = '{text}'")
    assert store.state.history()[0].metrics == metrics


def test_a_run_that_cannot_be_closed_is_still_open(store: Store) -> None:
    lease, record = store.begin(slot=NINE)
    store.session.execute(f"DROP TABLE {name(store, 'schedule_slots')}")
    with pytest.raises(FlowError, match="schedule_slots"):
        store.state.finish(lease, dataclasses.replace(record, status="success"))
    assert store.state.running("p") == record.run_id
    assert store.state.history()[0].status == "running"


CALLS: dict[str, Callable[[Store, Lease, RunRecord], object]] = {
    "acquire": lambda store, *_: store.begin(),
    "withdraw": lambda store, lease, _: store.state.withdraw(lease),
    "close_failed": lambda store, lease, record: store.state.close_failed(lease, record),
}


@pytest.mark.parametrize("call", CALLS)
def test_what_fails_half_way_changes_nothing(store: Store, call: str) -> None:
    lease, record = store.begin(seconds=-1 if call == "acquire" else 60)
    store.session.execute(f"DROP TABLE {name(store, 'run_history')}")
    held = f"SELECT run_id, epoch FROM {name(store, 'lease')}"
    before = store.session.fetch(held)
    with pytest.raises(FlowError, match="run_history"):
        CALLS[call](store, lease, record)
    assert store.session.fetch(held) == before == [(record.run_id, 1)]
    store.session.begin()
    store.session.rollback()


@pytest.mark.parametrize("held", [True, False], ids=["and runs", "and has ended"])
def test_somebody_is_faster_between_looking_and_taking(
    store: Store, monkeypatch: pytest.MonkeyPatch, *, held: bool
) -> None:
    lease, record = store.begin()
    if not held:
        store.commit(lease, dataclasses.replace(record, status="success"))
    looked: list[str] = []
    real = store.state._holder

    def late(pipeline: str) -> list[tuple[Any, ...]]:
        looked.append(pipeline)
        return [] if len(looked) == 1 else list(real(pipeline))

    monkeypatch.setattr(store.state, "_holder", late)
    wanted = f"`p` is locked by run {record.run_id}" if held else "`p` was just started by somebody else"
    with pytest.raises(LockedError, match=wanted):
        store.begin()
    assert len(looked) == 2
