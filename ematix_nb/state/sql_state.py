"""The state of an SQL target: tables in the schema ``ematix_flow``, written in the data's own transaction."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import hashlib
import json
import time
from typing import TYPE_CHECKING, Any

from ematix_nb.backends.schemas import has_schema
from ematix_nb.declare.data_types import DataType
from ematix_nb.errors import ConflictError, FlowError, LockedError, RunError, TransientError
from ematix_nb.state import liveness, tables
from ematix_nb.state.model import COUNT_NAMES, Claim, Lease, RunRecord, SlotState, Watermark

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from ematix_nb.backends.base import SqlSession
    from ematix_nb.declare.spec import Column, TableRef

TRIES = 6
"""How often the tables are made while others make them."""
PAUSE_S = 0.05
"""Seconds before the second try, twice as many before the next."""
RECORD_COLUMNS = {
    "pipeline": "pipeline_name",
    "error": "error_message",
    "trigger": "trigger_kind",
    "metrics": "metrics_json",
}
"""Fields of RunRecord that have another name in the table."""


class SqlState:
    """State tables of one target, through the session that also writes the data."""

    def __init__(self, session: SqlSession) -> None:
        self._session = session
        self._dialect = session.dialect
        self._refs = {name: self._dialect.state_table(name) for name in tables.TABLES}
        self._locked: int | None = None

    # -- set-up -----------------------------------------------------------------------------------------------

    def exists(self) -> bool:
        """Whether the run history is there."""
        return self._session.table(self._refs["run_history"]) is not None

    def ensure(self) -> None:
        """Create the tables, or add the columns that an older version or package did not have; commits by itself.

        Raises:
            ConflictError: When others do the same again and again.
        """
        if unfit := self._dialect.unfit_tables(list(self._refs.values())):
            self._check_fit(self._session.fetch(unfit))
        for attempt in range(TRIES):
            if self._version() == tables.VERSION:
                return
            try:
                self._make()
            except ConflictError:  # where no lock keeps two of them apart
                if attempt == TRIES - 1:
                    raise
                time.sleep(PAUSE_S * 2**attempt)

    def _make(self) -> None:
        atomic = self._session.capabilities.transactional_ddl
        try:
            with self._transaction() if atomic else contextlib.nullcontext():
                self._make_tables()
        finally:
            if unlock := self._dialect.setup_unlock():
                with contextlib.suppress(FlowError):  # a session that is gone has given it back
                    self._session.fetch(unlock)

    def _make_tables(self) -> None:
        if lock := self._dialect.setup_lock():
            self._session.fetch(lock)
        schema = self._refs["run_history"].schema
        if schema and not has_schema(self._session, schema):
            self._session.execute(self._dialect.create_schema(schema))
        for name, columns in tables.TABLES.items():
            self._ensure_table(self._refs[name], columns)
        version = self._name("state_version")
        self._session.execute(f"DELETE FROM {version}")
        self._session.execute(
            f"INSERT INTO {version} VALUES ({self._value(1, tables.STATE_VERSION[0])})", [tables.VERSION]
        )

    @staticmethod
    def _check_fit(found: list[tuple[Any, ...]]) -> None:
        for name, reason in found:
            message = f"the state table `{name}` cannot be part of a transaction: {reason}"
            raise RunError(message, "let it be made anew, or convert it: data and state have to commit together")

    def _version(self) -> int:
        if self._session.table(self._refs["state_version"]) is None:
            return 0
        rows = self._session.fetch(f"SELECT max(version) FROM {self._name('state_version')}")
        found = int(rows[0][0] or 0)
        if found > tables.VERSION:
            message = (
                f"the state tables in this target have version {found}; this package knows version {tables.VERSION}"
            )
            raise RunError(message, "upgrade ematix-nb on this machine")
        return found

    def _ensure_table(self, ref: TableRef, columns: Sequence[Column]) -> None:
        stored = [dataclasses.replace(column, type=self._dialect.store(column.type).type) for column in columns]
        found = self._session.table(ref)
        if found is None:
            keys = [column.name for column in stored if column.primary_key]
            self._session.execute(self._dialect.create_table(ref, stored, keys))
            return
        have = {column.name for column in found.columns}
        for column in stored:
            if column.name not in have:
                self._session.execute(self._dialect.add_column(ref, dataclasses.replace(column, nullable=True)))

    # -- lease ------------------------------------------------------------------------------------------------

    def acquire(self, claim: Claim, record: RunRecord) -> Lease:
        """Take the lease or say who holds it.

        A lease is free when it was given back, ran out, or its holder certainly ended: its session-bound lock is
        free (where the system has such locks), or its process is gone from this host. Whoever takes it gets the
        next epoch, so an old holder that wakes up cannot commit.
        """
        self._try_lock(claim.run_id)
        with self._transaction():
            lease = self._take(claim)
            self._abandon(claim)
            self._insert_history(record)
        return lease

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """A transaction of its own; when it fails, the first error counts."""
        self._session.begin()
        try:
            yield
            self._session.commit()
        except BaseException:
            with contextlib.suppress(FlowError):
                self._session.rollback()
            raise

    def _try_lock(self, run_id: str) -> bool:
        """Take the session-bound lock of a run: its own to show that it lives, another's to see whether that is gone.

        One lock for each run, not for each pipeline: a run that hangs keeps its lock, and when it ends at last, that
        says nothing about the run that took its lease over.
        """
        key = int.from_bytes(hashlib.sha256(f"ematix_flow:{run_id}".encode()).digest()[:8], "big", signed=True)
        query = self._dialect.try_liveness_lock(key)
        return bool(query) and bool(self._session.fetch(query)[0][0])

    def _take(self, claim: Claim) -> Lease:
        clock = self._dialect.now_seconds
        rows = self._holder(claim.pipeline)
        expiry = f"{clock} + {self._value(5, _column('lease', 'expires_at'))}"
        if not rows:
            insert = (
                f"INSERT INTO {self._name('lease')}"
                " (pipeline_name, run_id, host, process, expires_at, acquired_at, epoch)"
                f" VALUES ({self._params(1, 4)}, {expiry}, {clock}, 1)"
            )
            touched = self._session.execute(
                self._dialect.insert_missing(insert, ["pipeline_name"]),
                [claim.pipeline, claim.run_id, claim.host, claim.process, claim.seconds],
            )
            old_epoch, took_over = 0, ""
        else:
            old_epoch, run_id, host, process, since, expires, now = rows[0]
            free = not run_id or expires < now or liveness.is_over(run_id, host, process) or self._try_lock(run_id)
            if not free:
                raise _locked(claim.pipeline, run_id, host, process, since)
            touched = self._session.execute(
                f"UPDATE {self._name('lease')} SET run_id = {self._param(2)}, host = {self._param(3)},"
                f" process = {self._param(4)}, expires_at = {expiry}, acquired_at = {clock}, epoch = epoch + 1"
                f" WHERE pipeline_name = {self._param(1)} AND epoch = {self._value(6, _column('lease', 'epoch'))}",
                [claim.pipeline, claim.run_id, claim.host, claim.process, claim.seconds, old_epoch],
            )
            took_over = run_id
        if touched == 0:  # somebody else was faster between the two statements
            for _, run_id, host, process, since, _, _ in self._holder(claim.pipeline):
                if run_id:
                    raise _locked(claim.pipeline, run_id, host, process, since)
            message = f"pipeline `{claim.pipeline}` was just started by somebody else"
            raise LockedError(message, "wait for that run, or use --wait")
        return Lease(claim, int(old_epoch) + 1, took_over)

    def _holder(self, pipeline: str) -> list[tuple[Any, ...]]:
        """The lease of a pipeline as it is now: epoch, run, host, process, since when, until when, the time now."""
        return self._session.fetch(
            f"SELECT epoch, run_id, host, process, acquired_at, expires_at, {self._dialect.now_seconds}"
            f" FROM {self._name('lease')} WHERE pipeline_name = {self._param(1)}",
            [pipeline],
        )

    def running(self, pipeline: str) -> str:
        """The run that holds the lease and lives, as far as can be told; empty when there is none."""
        if self._session.table(self._refs["lease"]) is None:
            return ""
        for _, run_id, host, process, _, expires, now in self._holder(pipeline):
            if run_id and expires >= now and not liveness.is_over(run_id, host, process):
                return str(run_id)
        return ""

    def renew(self, lease: Lease) -> bool:
        """Prolong the lease by its duration, from now."""
        claim = lease.claim
        return (
            self._session.execute(
                f"UPDATE {self._name('lease')} SET expires_at = {self._dialect.now_seconds}"
                f" + {self._value(1, _column('lease', 'expires_at'))} WHERE pipeline_name = {self._param(2)}"
                f" AND run_id = {self._param(3)} AND epoch = {self._value(4, _column('lease', 'epoch'))}",
                [claim.seconds, claim.pipeline, claim.run_id, lease.epoch],
            )
            == 1
        )

    def _give_back(self, lease: Lease) -> int:
        return self._session.execute(
            f"UPDATE {self._name('lease')} SET run_id = '', expires_at = 0 WHERE pipeline_name = {self._param(1)}"
            f" AND run_id = {self._param(2)} AND epoch = {self._value(3, _column('lease', 'epoch'))}",
            [lease.claim.pipeline, lease.claim.run_id, lease.epoch],
        )

    def _abandon(self, claim: Claim) -> None:
        self._session.execute(
            f"UPDATE {self._name('run_history')} SET status = 'abandoned',"
            f" error_message = {self._param(3)} WHERE pipeline_name = {self._param(1)} AND status = 'running'"
            f" AND run_id <> {self._value(2, _column('run_history', 'run_id'))}",
            [claim.pipeline, claim.run_id, "the process ended before the run did; nothing of it was committed"],
        )

    # -- the data's own transaction ----------------------------------------------------------------------------

    def write_commit(self, lease: Lease, record: RunRecord, watermark: Watermark | None) -> None:
        """Last statements before COMMIT: watermark, slot, history and the fence, in the open transaction.

        Raises:
            TransientError: When the lease was lost meanwhile; the caller rolls back.
        """
        if watermark is not None:
            self._put_watermark(record.pipeline, watermark, record.run_id)
        if record.slot is not None:
            self._session.execute(
                f"INSERT INTO {self._name('schedule_slots')} (pipeline_name, slot, run_id)"
                f" VALUES ({self._param(1)}, {self._value(2, _column('schedule_slots', 'slot'))}, {self._param(3)})",
                [record.pipeline, self._moment(record.slot), record.run_id],
            )
        self._update_history(record)
        if self._give_back(lease) != 1:
            message = f"run {record.run_id} lost the lease of pipeline `{record.pipeline}` to another run and stops"
            raise TransientError(message, "nothing was committed; the other run goes on")

    def _put_watermark(self, pipeline: str, mark: Watermark, run_id: str) -> None:
        names = "pipeline_name, column_name, last_value, value_type, run_id, horizon, updated_at"
        insert = (
            f"INSERT INTO {self._name('watermarks')} ({names}) VALUES ({self._params(1, 6)},"
            f" {self._value(7, _column('watermarks', 'updated_at'))})"
        )
        updates = ("column_name", "last_value", "value_type", "run_id", "horizon", "updated_at")
        self._session.execute(
            self._dialect.insert_or_update(insert, ["pipeline_name"], updates),
            [
                pipeline,
                mark.column,
                mark.value,
                mark.type,
                run_id,
                mark.horizon or None,
                self._moment(dt.datetime.now(dt.UTC)),
            ],
        )

    def close_failed(self, lease: Lease, record: RunRecord) -> bool:
        """Write the end of a run that did not commit; gives the lease back when it is still ours.

        A row that is closed already stays: the commit landed although its answer was lost, or another run took over.
        """
        self._session.rollback()
        with self._transaction():
            landed = self._update_history(record, " AND status = 'running'") == 0 and self._status(record) == "success"
            self._give_back(lease)
        return landed

    def _status(self, record: RunRecord) -> str:
        rows = self._session.fetch(
            f"SELECT status FROM {self._name('run_history')}"
            f" WHERE run_id = {self._value(1, _column('run_history', 'run_id'))}",
            [record.run_id],
        )
        return str(rows[0][0]) if rows else ""

    def finish(self, lease: Lease, record: RunRecord) -> None:
        """Close a run that has no data: slot, history row and lease in one commit."""
        with self._transaction():
            self.write_commit(lease, record, None)

    def withdraw(self, lease: Lease) -> None:
        """Give the lease back and take the run's history row away: it turned out that there is nothing to do."""
        with self._transaction():
            self._session.execute(
                f"DELETE FROM {self._name('run_history')}"
                f" WHERE run_id = {self._value(1, _column('run_history', 'run_id'))}",
                [lease.claim.run_id],
            )
            self._give_back(lease)

    def add_history(self, record: RunRecord) -> None:
        """Insert a finished row of its own (a post-transform)."""
        self._insert_history(record)

    # -- reading ----------------------------------------------------------------------------------------------

    def watermark(self, pipeline: str) -> Watermark | None:
        """The stored watermark; None when there is none (or no state at all)."""
        info = self._session.table(self._refs["watermarks"])
        if info is None:
            return None
        have = {column.name for column in info.columns}
        kind, horizon = (name if name in have else "NULL" for name in ("value_type", "horizon"))
        rows = self._session.fetch(
            f"SELECT column_name, last_value, {kind}, {horizon} FROM {self._name('watermarks')}"
            f" WHERE pipeline_name = {self._param(1)} AND last_value IS NOT NULL",
            [pipeline],
        )
        return Watermark(rows[0][0], rows[0][1], rows[0][2] or "", rows[0][3] or "") if rows else None

    def reset_watermark(self, pipeline: str, watermark: Watermark | None) -> None:
        """Set or remove a watermark; commits by itself."""
        self.ensure()
        if watermark is not None:
            self._put_watermark(pipeline, watermark, "")
            return
        self._session.execute(
            f"DELETE FROM {self._name('watermarks')} WHERE pipeline_name = {self._param(1)}", [pipeline]
        )

    def history(self, pipeline: str | None = None, last: int = 20) -> list[RunRecord]:
        """The newest runs first; rows of an older package included."""
        info = self._session.table(self._refs["run_history"])
        if info is None:
            return []
        have = {column.name for column in info.columns}
        columns = [column.name for column in tables.RUN_HISTORY]
        picks = [self._text(name) if name in have else "NULL" for name in columns]
        # several targets of one pipeline are named pipeline::schema.table
        where = f" WHERE pipeline_name = {self._param(1)} OR pipeline_name LIKE {self._param(2)}" if pipeline else ""
        rows = self._session.fetch(
            f"SELECT {', '.join(picks)} FROM {self._name('run_history')}{where}"
            f" ORDER BY started_at DESC, run_id LIMIT {int(last)}",
            [pipeline, f"{pipeline}::%"] if pipeline else [],
        )
        return [_record(dict(zip(columns, row, strict=True))) for row in rows]

    def slot(self, pipeline: str, slot: dt.datetime | None = None) -> SlotState:
        """The newest committed slot, and what happened to ``slot``."""
        if self._session.table(self._refs["schedule_slots"]) is None:
            return SlotState(None, 0, done=False)
        rows = self._session.fetch(
            f"SELECT {self._text('slot')} FROM {self._name('schedule_slots')} WHERE pipeline_name = {self._param(1)}"
            " ORDER BY slot DESC LIMIT 1",
            [pipeline],
        )
        last_done = _parse(rows[0][0]) if rows else None
        if slot is None:
            return SlotState(last_done, 0, done=False)
        kind = _column("run_history", "slot")
        done = self._session.fetch(
            f"SELECT count(*) FROM {self._name('schedule_slots')} WHERE pipeline_name = {self._param(1)}"
            f" AND slot = {self._value(2, kind)}",
            [pipeline, self._moment(slot)],
        )
        failed = self._session.fetch(
            f"SELECT {self._text('started_at')}, {self._text('run_id')}, {self._text('parent_run_id')}"
            f" FROM {self._name('run_history')}"
            f" WHERE pipeline_name = {self._param(1)} AND slot = {self._value(2, kind)}"
            " AND status IN ('failed', 'abandoned')",
            [pipeline, self._moment(slot)],
        )
        began = [moment for text, _, _ in failed if (moment := _parse(text)) is not None]
        calls = {first or run_id for _, run_id, first in failed}
        return SlotState(last_done, len(calls), done=bool(done[0][0]), last_attempt=max(began, default=None))

    # -- statements -------------------------------------------------------------------------------------------

    def _insert_history(self, record: RunRecord) -> None:
        values = _row(record, self._moment)
        names = list(values)
        places = [self._value(index + 1, _column("run_history", name)) for index, name in enumerate(names)]
        self._session.execute(
            f"INSERT INTO {self._name('run_history')} ({self._dialect.columns(names)}) VALUES ({', '.join(places)})",
            list(values.values()),
        )

    def _update_history(self, record: RunRecord, condition: str = "") -> int:
        values = _row(record, self._moment)
        run_id = values.pop("run_id")
        sets = [
            f"{self._dialect.quote(name)} = {self._value(index + 1, _column('run_history', name))}"
            for index, name in enumerate(values)
        ]
        return self._session.execute(
            f"UPDATE {self._name('run_history')} SET {', '.join(sets)}"
            f" WHERE run_id = {self._value(len(values) + 1, _column('run_history', 'run_id'))}{condition}",
            [*values.values(), run_id],
        )

    def _name(self, table: str) -> str:
        return self._dialect.table(self._refs[table])

    def _param(self, index: int) -> str:
        return self._dialect.cast(self._dialect.parameter(index), self._dialect.store(DataType("text")).type)

    def _params(self, first: int, last: int) -> str:
        return ", ".join(self._param(index) for index in range(first, last + 1))

    def _value(self, index: int, column: Column) -> str:
        return self._dialect.cast(self._dialect.parameter(index), self._dialect.store(column.type).type)

    def _moment(self, value: dt.datetime | None) -> str | None:
        return None if value is None else self._dialect.moment_text(value)

    def _text(self, name: str) -> str:
        kind = _column("run_history", name).type
        quoted = self._dialect.quote(name)
        return (
            quoted if kind.kind in ("bigint", "text") else self._dialect.as_text(quoted, self._dialect.store(kind).type)
        )


def _column(table: str, name: str) -> Column:
    return next(column for column in tables.TABLES[table] if column.name == name)


def _parse(text: str | None) -> dt.datetime | None:
    return dt.datetime.fromisoformat(text).astimezone(dt.UTC) if text else None


def _row(record: RunRecord, moment: Callable[[dt.datetime], str | None]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for field in dataclasses.fields(RunRecord):
        if field.name == "counts":
            values.update({name: record.counts.get(name) for name in COUNT_NAMES})
            continue
        value = getattr(record, field.name)
        if isinstance(value, dt.datetime):
            value = moment(value)
        elif field.name == "metrics":
            value = json.dumps(value, sort_keys=True) if value else None
        values[RECORD_COLUMNS.get(field.name, field.name)] = (
            None if field.name == "parent_run_id" and not value else value
        )
    return values


def _record(row: dict[str, Any]) -> RunRecord:
    return RunRecord(
        run_id=str(row["run_id"]),
        pipeline=row["pipeline_name"],
        target_schema=row["target_schema"] or "",
        target_table=row["target_table"] or "",
        mode=row["mode"] or "",
        path=row["path"] or "",
        status=row["status"] or "",
        started_at=_parse(row["started_at"]),
        finished_at=_parse(row["finished_at"]),
        counts={name: int(row[name]) for name in COUNT_NAMES if row[name] is not None},
        error=row["error_message"] or "",
        parent_run_id=str(row["parent_run_id"] or ""),
        step_name=row["step_name"] or "",
        metrics=_metrics(row["metrics_json"]),
        fingerprint=row["fingerprint"] or "",
        trigger=row["trigger_kind"] or "",
        slot=_parse(row["slot"]),
        watermark_before=row["watermark_before"] or "",
        watermark_after=row["watermark_after"] or "",
        host=row["host"] or "",
        process=row["process"] or "",
    )


def _metrics(text: str | None) -> dict[str, Any]:
    try:
        value = json.loads(text) if text else {}
    except ValueError:
        return {"text": text}
    return value if isinstance(value, dict) else {"value": value}


def _locked(pipeline: str, run_id: str, host: str, process: str, since: float) -> LockedError:
    started = dt.datetime.fromtimestamp(since, dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    pid = process.partition(":")[0]
    name = host.partition("[")[0]
    message = f"pipeline `{pipeline}` is locked by run {run_id} on host {name} since {started} (pid {pid})"
    return LockedError(message, "wait for it with --wait SECONDS; a dead run's lock frees itself")
