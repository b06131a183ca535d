"""The state of a file target: kept in its manifest, so data and state are published by one conditional create."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
import datetime as dt
from typing import TYPE_CHECKING, Any

from ematix_nb.clock import SYSTEM_CLOCK, Clock
from ematix_nb.errors import LockedError, TransientError
from ematix_nb.state import liveness
from ematix_nb.state.model import COUNT_NAMES, Claim, Lease, RunRecord, SlotState, Watermark

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ematix_nb.backends.base import FileSession, Manifest

PIPELINES = "pipelines"
KEPT_RUNS = 200
"""History rows that a manifest carries for each pipeline; older ones fall out."""
KEPT_SLOTS = 200
TRIES = 20


class FileState:
    """State of the pipelines that load into one folder."""

    def __init__(self, session: FileSession, thing: str, clock: Clock = SYSTEM_CLOCK) -> None:
        self._session = session
        self._thing = thing
        self._clock = clock

    def exists(self) -> bool:
        """Whether a manifest was ever published."""
        newest = self._session.manifest(self._thing)
        return newest is not None and newest.seq > 0

    def ensure(self) -> None:
        """Nothing to set up: the first publication makes the folder."""

    def acquire(self, claim: Claim, record: RunRecord) -> Lease:
        """Take the lease by publishing a manifest with it."""
        taken: list[Lease] = []

        def change(entry: dict[str, Any]) -> None:
            held = entry.get("lease") or {"epoch": 0, "run_id": ""}
            if living(held, self._clock):
                raise locked(claim.pipeline, held)
            taken[:] = [Lease(claim, held["epoch"] + 1, held["run_id"])]
            entry["lease"] = {
                "epoch": held["epoch"] + 1,
                "run_id": claim.run_id,
                "host": claim.host,
                "process": claim.process,
                "acquired_at": self._clock.now().timestamp(),
                "expires_at": expiry(claim, self._clock),
            }
            for row in entry.setdefault("runs", []):
                if row["status"] == "running":
                    row["status"] = "abandoned"
                    row["error"] = "the process ended before the run did; nothing of it was committed"
            entry["runs"] = [*entry["runs"], record.as_dict()][-KEPT_RUNS:]

        self._change(claim.pipeline, change)
        if taken[0].took_over:
            self._session.discard(self._thing, taken[0].took_over)
        return taken[0]

    def running(self, pipeline: str) -> str:
        """The run that holds the lease and lives, as far as can be told; empty when there is none."""
        return living(self._entry(pipeline).get("lease") or {}, self._clock)

    def renew(self, lease: Lease) -> bool:
        """Prolong the lease."""
        kept: list[bool] = []

        def change(entry: dict[str, Any]) -> None:
            held = entry.get("lease") or {}
            kept[:] = [held.get("epoch") == lease.epoch and held.get("run_id") == lease.claim.run_id]
            if kept[0]:
                held["expires_at"] = expiry(lease.claim, self._clock)

        self._change(lease.claim.pipeline, change)
        return kept[0]

    def publish(
        self,
        lease: Lease,
        record: RunRecord,
        mark: Watermark | None,
        files: Callable[[tuple[str, ...]], tuple[str, ...]],
    ) -> None:
        """Publish data and state in one manifest: ``files`` makes the new file list from the newest one.

        Raises:
            TransientError: When the lease was lost meanwhile.
        """

        def change(entry: dict[str, Any]) -> None:
            held = entry.get("lease") or {}
            if held.get("epoch") != lease.epoch or held.get("run_id") != lease.claim.run_id:
                message = f"run {record.run_id} lost the lease of pipeline `{record.pipeline}` to another run and stops"
                raise TransientError(message, "nothing was committed; the other run goes on")
            if mark is not None:
                entry["watermark"] = dataclasses.asdict(mark)
            if record.slot is not None:
                entry["slots"] = [*entry.get("slots", []), record.slot.isoformat()][-KEPT_SLOTS:]
            entry["batches"] = [*entry.get("batches", []), record.run_id]
            _close(entry, record)
            held.update(run_id="", expires_at=0.0)

        self._change(record.pipeline, change, files)

    def batches(self, pipeline: str) -> frozenset[str]:
        """The runs of a pipeline whose files are live."""
        return frozenset(self._entry(pipeline).get("batches", []))

    def close_failed(self, lease: Lease, record: RunRecord) -> bool:
        """Write the end of a run that did not commit, remove what it staged, give the lease back."""
        landed: list[bool] = []

        def change(entry: dict[str, Any]) -> None:
            held = entry.get("lease") or {}
            before = next((row["status"] for row in entry.get("runs", []) if row["run_id"] == record.run_id), "running")
            landed[:] = [before == "success"]
            if before == "running":
                _close(entry, record)
            if held.get("epoch") == lease.epoch:
                held.update(run_id="", expires_at=0.0)

        self._session.discard(self._thing, record.run_id)
        self._change(record.pipeline, change)
        return landed[0]

    def finish(self, lease: Lease, record: RunRecord) -> None:
        """Close a run that has no data: slot, history row and lease in one manifest."""
        self.publish(lease, record, None, lambda files: files)

    def withdraw(self, lease: Lease) -> None:
        """Give the lease back and leave no history row."""

        def change(entry: dict[str, Any]) -> None:
            entry["runs"] = [row for row in entry.get("runs", []) if row["run_id"] != lease.claim.run_id]
            entry["lease"].update(run_id="", expires_at=0.0)

        self._change(lease.claim.pipeline, change)

    def add_history(self, record: RunRecord) -> None:
        """Insert a finished row."""

        def change(entry: dict[str, Any]) -> None:
            entry["runs"] = [*entry.get("runs", []), record.as_dict()][-KEPT_RUNS:]

        self._change(record.pipeline, change)

    def watermark(self, pipeline: str) -> Watermark | None:
        """The stored watermark."""
        found = self._entry(pipeline).get("watermark")
        return Watermark(**found) if found else None

    def reset_watermark(self, pipeline: str, watermark: Watermark | None) -> None:
        """Set or remove a watermark."""

        def change(entry: dict[str, Any]) -> None:
            entry["watermark"] = dataclasses.asdict(watermark) if watermark else None

        self._change(pipeline, change)

    def history(self, pipeline: str | None = None, last: int = 20) -> list[RunRecord]:
        """The newest runs first."""
        manifest = self._session.manifest(self._thing)
        entries = manifest.state.get(PIPELINES, {}) if manifest else {}
        rows = [
            row
            for name, entry in entries.items()
            if pipeline is None or name == pipeline or name.startswith(f"{pipeline}::")
            for row in entry.get("runs", [])
        ]
        rows.sort(key=lambda row: row["started_at"] or "", reverse=True)
        return [record_of(row) for row in rows[:last]]

    def slot(self, pipeline: str, slot: dt.datetime | None = None) -> SlotState:
        """What is known of scheduled slots."""
        entry = self._entry(pipeline)
        return slot_of(entry.get("slots", []), entry.get("runs", []), slot)

    def _entry(self, pipeline: str) -> dict[str, Any]:
        manifest = self._session.manifest(self._thing)
        return dict(manifest.state.get(PIPELINES, {}).get(pipeline, {})) if manifest else {}

    def _change(
        self,
        pipeline: str,
        change: Callable[[dict[str, Any]], None],
        files: Callable[[tuple[str, ...]], tuple[str, ...]] | None = None,
    ) -> None:
        """Read the newest manifest, change it, publish the next number; again when somebody was faster."""
        for _ in range(TRIES - 1):
            manifest = self._changed(pipeline, change, files)
            with contextlib.suppress(LockedError):
                self._session.publish(self._thing, manifest)
                return
        self._session.publish(self._thing, self._changed(pipeline, change, files))

    def _changed(
        self,
        pipeline: str,
        change: Callable[[dict[str, Any]], None],
        files: Callable[[tuple[str, ...]], tuple[str, ...]] | None,
    ) -> Manifest:
        """The manifest that comes after the newest one."""
        newest = self._session.manifest(self._thing)
        state = copy.deepcopy(newest.state) if newest else {}
        entry = state.setdefault(PIPELINES, {}).setdefault(pipeline, {})
        change(entry)
        live = newest.files if newest else ()
        if files is not None:
            live = files(live)
            entry["batches"] = _with_files(entry["batches"], live)
        return _manifest(newest.seq + 1 if newest else 1, live, state)


def _manifest(seq: int, files: tuple[str, ...], state: dict[str, Any]) -> Manifest:
    from ematix_nb.backends.base import Manifest

    return Manifest(seq, files, state)


def _with_files(batches: list[str], live: tuple[str, ...]) -> list[str]:
    """The runs that wrote a live file: its name holds the run's id."""
    names = "\n".join(live)
    return [batch for batch in batches if batch in names]


def _close(entry: dict[str, Any], record: RunRecord) -> None:
    rows = [row for row in entry.get("runs", []) if row["run_id"] != record.run_id]
    entry["runs"] = [*rows, record.as_dict()][-KEPT_RUNS:]


def record_of(row: dict[str, Any]) -> RunRecord:
    """A history row from its JSON form."""
    values = dict(row)
    for name in ("started_at", "finished_at", "slot"):
        values[name] = dt.datetime.fromisoformat(values[name]) if values.get(name) else None
    values["counts"] = {name: rows for name, rows in values["counts"].items() if name in COUNT_NAMES}
    return RunRecord(**values)


def slot_of(texts: Sequence[str], rows: Sequence[dict[str, Any]], slot: dt.datetime | None) -> SlotState:
    """What slots that were done and history rows in their JSON form say of a slot."""
    slots = sorted(dt.datetime.fromisoformat(text) for text in texts)
    last = slots[-1] if slots else None
    if slot is None:
        return SlotState(last, 0, done=False)
    failed = [row for row in rows if row.get("slot") == slot.isoformat() and row["status"] in ("failed", "abandoned")]
    began = [dt.datetime.fromisoformat(row["started_at"]) for row in failed if row.get("started_at")]
    calls = {row.get("parent_run_id") or row["run_id"] for row in failed}
    return SlotState(last, len(calls), done=slot in slots, last_attempt=max(began, default=None))


def expiry(claim: Claim, clock: Clock) -> float:
    """When a lease that is taken or prolonged now runs out; seconds since 1970."""
    return clock.now().timestamp() + claim.seconds


def living(held: dict[str, Any], clock: Clock) -> str:
    """The run of a lease whose time has not run out and that has not certainly ended; else empty."""
    if not held.get("run_id") or held["expires_at"] <= clock.now().timestamp():
        return ""
    run_id = str(held["run_id"])
    return "" if liveness.is_over(run_id, held["host"], held["process"]) else run_id


def locked(pipeline: str, held: dict[str, Any]) -> LockedError:
    """Who holds a lease, and what to do about it."""
    since = dt.datetime.fromtimestamp(held["acquired_at"], dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    pid = str(held["process"]).partition(":")[0]
    name = str(held["host"]).partition("[")[0]
    message = f"pipeline `{pipeline}` is locked by run {held['run_id']} on host {name} since {since} (pid {pid})"
    return LockedError(message, "wait for it with --wait SECONDS; a dead run's lock frees itself")
