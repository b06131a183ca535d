"""The state of a Delta target, in small files beside its log; each is made once and never changed.

Two chains for each pipeline, in ``_ematix_flow/<pipeline>/``:

* ``<seq>.json``: what a commit carried (watermark, slots, successful runs). It is written before the commit and counts
  when the table's own record of the pipeline names its number, so it appears with the data or not at all.
* ``lease/<n>.json``: who may load, and what has no data (runs that did not commit, slots that were let go). The newest
  counts; it is taken by making the next number, which only one can.

A run whose lease is taken over is fenced by a commit without rows that carries the higher epoch: whatever the old run
has built on an earlier version is refused by the table.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

from ematix_nb.backends.sealed import VERSION, seal, unseal
from ematix_nb.clock import SYSTEM_CLOCK, Clock
from ematix_nb.errors import DataError, LockedError, TransientError
from ematix_nb.state.file_state import KEPT_RUNS, KEPT_SLOTS, TRIES, expiry, living, locked, record_of, slot_of
from ematix_nb.state.model import Claim, Lease, RunRecord, SlotState, Watermark

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable

FOLDER = "_ematix_flow"
KEPT_FILES = 20
KEPT_BATCHES = 5000
Entry = dict[str, Any]
Tags = tuple[tuple[str, int], ...]


def run_tag(pipeline: str) -> str:
    """The application under which a table records the newest state file of a pipeline."""
    return f"ematix_flow/run/{pipeline}"


def epoch_tag(pipeline: str) -> str:
    """The application under which a table records the newest epoch of a pipeline."""
    return f"ematix_flow/epoch/{pipeline}"


class DeltaState:
    """State of the pipelines that load into one table."""

    def __init__(self, session: Any, thing: str, clock: Clock = SYSTEM_CLOCK) -> None:
        self._session = session
        self._clock = clock
        self._thing = session.target(thing)
        self._objects = session.objects
        self._base: dict[str, int] = {}
        """For each pipeline the number of the state that its watermark was last read from."""

    # -- the two chains ---------------------------------------------------------------------------------------

    def _folder(self, pipeline: str, *, lease: bool = False) -> str:
        return f"{self._thing}/{FOLDER}/{_folder_name(pipeline)}" + ("/lease" if lease else "")

    def _numbers(self, folder: str) -> list[int]:
        names = [name.removesuffix(".json") for name in self._objects.files(folder) if name.endswith(".json")]
        return sorted(int(name) for name in names if name.isdigit())

    def _read(self, folder: str, number: int) -> Entry | None:
        raw = self._objects.read(f"{folder}/{number:012d}.json")
        if raw is None:
            return None
        try:
            data = unseal(raw)
            if data["version"] > VERSION:
                message = (
                    f"state file {number} in `{folder}` has version {data['version']}, this package knows {VERSION}"
                )
                raise DataError(message, "install a newer version of the package")
            return dict(data["entry"])
        except (ValueError, KeyError, TypeError) as exc:
            message = f"state file {number} in `{folder}` is not readable: {str(exc)[:80]}"
            raise DataError(message, "restore it") from exc

    def _create(self, folder: str, number: int, entry: Entry) -> None:
        """Make a state file; raises FileExistsError when its number is taken or passed."""
        body = seal({"version": VERSION, "entry": entry})
        name = f"{folder}/{number:012d}.json"
        self._objects.create(name, body)
        if self._numbers(folder)[-1] > number:  # the number was free only because the others were removed
            self._objects.remove(name)
            raise FileExistsError(name)

    def _committed(self, pipeline: str, table: Any = None) -> tuple[int, Entry]:
        """The state that the table's newest commit of the pipeline named; number 0 when there is none."""
        table = table if table is not None else self._session.table(self._thing)
        number = int(table.transaction_version(run_tag(pipeline)) or 0) if table is not None else 0
        if not number:
            return 0, {}
        entry = self._read(self._folder(pipeline), number)
        if entry is None:
            message = f"state file {number} of pipeline `{pipeline}` in `{self._thing}/{FOLDER}` is gone"
            raise DataError(message, "restore it; the table's log names it as the one that counts")
        return number, entry

    def _lease(self, pipeline: str) -> tuple[int, Entry]:
        folder = self._folder(pipeline, lease=True)
        for _ in range(TRIES):
            numbers = self._numbers(folder)
            if not numbers:
                return 0, {}
            entry = self._read(folder, numbers[-1])
            if entry is not None:  # else a writer made newer ones and removed this one meanwhile
                return numbers[-1], entry
        message = f"the lease of pipeline `{pipeline}` changes faster than it can be read"
        raise LockedError(message, "try again")

    def _change(self, pipeline: str, change: Callable[[Entry], None]) -> None:
        """Read the newest lease file, change it, make the next; again when somebody was faster."""
        folder = self._folder(pipeline, lease=True)
        for _ in range(TRIES):
            number, entry = self._lease(pipeline)
            entry = copy.deepcopy(entry)
            change(entry)
            try:
                self._create(folder, number + 1, entry)
            except FileExistsError:
                continue
            self._prune(folder, self._numbers(folder)[:-KEPT_FILES])
            return
        message = f"the lease of pipeline `{pipeline}` changes faster than it can be written"
        raise LockedError(message, "try again")

    def _prune(self, folder: str, numbers: list[int]) -> None:
        for number in numbers:
            self._objects.remove(f"{folder}/{number:012d}.json")

    def _pipelines(self) -> list[str]:
        return [unquote(name.replace("~", "%")) for name in self._objects.folders(f"{self._thing}/{FOLDER}")]

    # -- leases -----------------------------------------------------------------------------------------------

    def exists(self) -> bool:
        """Whether any run was ever recorded."""
        return bool(self._pipelines())

    def ensure(self) -> None:
        """Nothing to set up: the first file makes the folder."""

    def acquire(self, claim: Claim, record: RunRecord) -> Lease:
        """Take the lease by making the next lease file; a dead run's is fenced and its files are removed."""
        taken: list[Lease] = []
        table = self._session.table(self._thing)
        seen = int(table.transaction_version(epoch_tag(claim.pipeline)) or 0) if table is not None else 0
        done = {row["run_id"] for row in self._committed(claim.pipeline, table)[1].get("runs", [])}

        def change(entry: Entry) -> None:
            held = entry.get("lease") or {"epoch": 0, "run_id": ""}
            if held["run_id"] in done:  # it committed, and died before it gave the lease back
                held = {**held, "run_id": ""}
            if living(held, self._clock):
                raise locked(claim.pipeline, held)
            taken[:] = [Lease(claim, max(held["epoch"], seen) + 1, held["run_id"])]
            entry["lease"] = {
                "epoch": taken[0].epoch,
                "run_id": claim.run_id,
                "host": claim.host,
                "process": claim.process,
                "acquired_at": self._clock.now().timestamp(),
                "expires_at": expiry(claim, self._clock),
            }
            rows = [row for row in entry.get("runs", []) if row["run_id"] not in done]
            for row in rows:
                if row["status"] == "running":
                    row["status"] = "abandoned"
                    row["error"] = "the process ended before the run did; nothing of it was committed"
            entry["runs"] = [*rows, record.as_dict()][-KEPT_RUNS:]

        self._change(claim.pipeline, change)
        if taken[0].took_over:
            self._fence(taken[0])
            self._session.discard(self._thing, taken[0].took_over)
        return taken[0]

    def _fence(self, lease: Lease) -> None:
        """A commit without rows that carries the new epoch: the old run's commit conflicts with it."""
        tags = ((epoch_tag(lease.claim.pipeline), lease.epoch),)
        for _ in range(TRIES - 1):
            with contextlib.suppress(TransientError):  # somebody else committed meanwhile
                self._commit_tags(tags)
                return
        self._commit_tags(tags)

    def _commit_tags(self, tags: Tags) -> None:
        table = self._session.table(self._thing)
        if table is not None:
            self._session.commit_nothing(self._thing, table, tags)

    def renew(self, lease: Lease) -> bool:
        """Prolong the lease."""
        kept: list[bool] = []

        def change(entry: Entry) -> None:
            held = entry.get("lease") or {}
            kept[:] = [_is_held(held, lease)]
            if kept[0]:
                held["expires_at"] = expiry(lease.claim, self._clock)

        self._change(lease.claim.pipeline, change)
        return kept[0]

    # -- a commit ---------------------------------------------------------------------------------------------

    def before_commit(self, table: Any, lease: Lease, record: RunRecord, mark: Watermark | None) -> Tags:
        """Write the state that the coming commit carries; what the commit has to record.

        Args:
            table: The version that the commit builds on; None when it makes the table.
            lease: The run's.
            record: Its end.
            mark: The new watermark; None keeps the old one.

        Raises:
            TransientError: When the lease was lost, or another commit of the pipeline came between.
        """
        pipeline = record.pipeline
        epoch = int(table.transaction_version(epoch_tag(pipeline)) or 0) if table is not None else 0
        number, entry = self._committed(pipeline, table) if table is not None else (0, {})
        held = self._lease(pipeline)[1].get("lease") or {}
        if epoch > lease.epoch or not _is_held(held, lease) or number != self._base.get(pipeline, number):
            message = f"run {record.run_id} lost the lease of pipeline `{pipeline}` to another run and stops"
            raise TransientError(message, "nothing was committed; the other run goes on")
        entry = copy.deepcopy(entry)
        kept = self._watermark(pipeline, number, entry)
        found = dataclasses.asdict(mark) if mark is not None else kept
        entry["watermark"] = found
        if record.slot is not None:
            entry["slots"] = [*entry.get("slots", []), record.slot.isoformat()][-KEPT_SLOTS:]
        if record.counts.get("rows_inserted") or record.counts.get("rows_updated"):
            entry["batches"] = [*entry.get("batches", []), record.run_id][-KEPT_BATCHES:]
        entry["runs"] = [*entry.get("runs", []), record.as_dict()][-KEPT_RUNS:]
        made = self._make_next(pipeline, number, entry)
        return (run_tag(pipeline), made), (epoch_tag(pipeline), lease.epoch)

    def _make_next(self, pipeline: str, committed: int, entry: Entry) -> int:
        folder = self._folder(pipeline)
        for _ in range(TRIES):
            number = max([committed, *self._numbers(folder)]) + 1
            try:
                self._create(folder, number, entry)
            except FileExistsError:
                continue
            return number
        message = f"the state of pipeline `{pipeline}` changes faster than it can be written"
        raise LockedError(message, "try again")

    def has_committed(self, lease: Lease) -> bool:
        """Whether the run of a lease is among those whose commit the table has."""
        return self._has_landed(lease.claim.pipeline, lease.claim.run_id)

    def _has_landed(self, pipeline: str, run_id: str) -> bool:
        return any(row["run_id"] == run_id for row in self._committed(pipeline)[1].get("runs", []))

    def committed(self, lease: Lease) -> None:
        """Give the lease back after the commit, and remove old state files."""
        pipeline = lease.claim.pipeline

        def change(entry: Entry) -> None:
            entry["runs"] = [row for row in entry.get("runs", []) if row["run_id"] != lease.claim.run_id]
            entry.pop("watermark", None)
            _release(entry, lease)

        self._change(pipeline, change)
        folder = self._folder(pipeline)
        number = self._committed(pipeline)[0]
        self._prune(folder, [each for each in self._numbers(folder) if each < number - KEPT_FILES])

    # -- runs without a commit --------------------------------------------------------------------------------

    def close_failed(self, lease: Lease, record: RunRecord) -> bool:
        """Write the end of a run that did not commit, remove what it staged, give the lease back."""
        landed = self._has_landed(record.pipeline, record.run_id)

        def change(entry: Entry) -> None:
            rows = [row for row in entry.get("runs", []) if row["run_id"] != record.run_id]
            before = next((row for row in entry.get("runs", []) if row["run_id"] == record.run_id), None)
            row = before if before is not None and before["status"] != "running" else record.as_dict()
            entry["runs"] = rows if landed else [*rows, row][-KEPT_RUNS:]
            _release(entry, lease)

        if not landed:
            self._session.discard(self._thing, record.run_id)
        self._change(record.pipeline, change)
        return landed

    def finish(self, lease: Lease, record: RunRecord) -> None:
        """Close a run that has no data: slot, history row and lease in one file."""

        def change(entry: Entry) -> None:
            if not _is_held(entry.get("lease") or {}, lease):
                message = f"run {record.run_id} lost the lease of pipeline `{record.pipeline}` to another run and stops"
                raise TransientError(message, "the other run goes on")
            if record.slot is not None:
                entry["slots"] = [*entry.get("slots", []), record.slot.isoformat()][-KEPT_SLOTS:]
            rows = [row for row in entry.get("runs", []) if row["run_id"] != record.run_id]
            entry["runs"] = [*rows, record.as_dict()][-KEPT_RUNS:]
            _release(entry, lease)

        self._change(record.pipeline, change)

    def withdraw(self, lease: Lease) -> None:
        """Give the lease back and leave no history row."""

        def change(entry: Entry) -> None:
            entry["runs"] = [row for row in entry.get("runs", []) if row["run_id"] != lease.claim.run_id]
            _release(entry, lease)

        self._change(lease.claim.pipeline, change)

    def add_history(self, record: RunRecord) -> None:
        """Insert a finished row."""

        def change(entry: Entry) -> None:
            entry["runs"] = [*entry.get("runs", []), record.as_dict()][-KEPT_RUNS:]

        self._change(record.pipeline, change)

    # -- reading ----------------------------------------------------------------------------------------------

    def watermark(self, pipeline: str) -> Watermark | None:
        """The stored watermark; the run that reads it can commit only while it is the newest."""
        number, entry = self._committed(pipeline)
        self._base[pipeline] = number
        found = self._watermark(pipeline, number, entry)
        return Watermark(**found) if found else None

    def _watermark(self, pipeline: str, number: int, entry: Entry) -> Entry | None:
        """The watermark of a state, or the one that was set by hand since."""
        given = self._lease(pipeline)[1].get("watermark")
        if given is not None and given["after"] == number:
            return dict(given["value"]) if given["value"] else None
        found = entry.get("watermark")
        return dict(found) if found else None

    def reset_watermark(self, pipeline: str, watermark: Watermark | None) -> None:
        """Set or remove a watermark: it counts until the next commit of the pipeline."""
        number = self._committed(pipeline)[0]

        def change(entry: Entry) -> None:
            entry["watermark"] = {"after": number, "value": dataclasses.asdict(watermark) if watermark else None}

        self._change(pipeline, change)

    def batches(self, pipeline: str) -> frozenset[str]:
        """The runs of a pipeline that wrote rows."""
        return frozenset(self._committed(pipeline)[1].get("batches", []))

    def lease_holder(self, pipeline: str) -> str:
        """The run that holds the lease; empty when none does."""
        done = {row["run_id"] for row in self._committed(pipeline)[1].get("runs", [])}
        held = str((self._lease(pipeline)[1].get("lease") or {}).get("run_id", ""))
        return "" if held in done else held

    def running(self, pipeline: str) -> str:
        """The run that holds the lease and lives, as far as can be told; empty when there is none."""
        return living(self._lease(pipeline)[1].get("lease") or {}, self._clock) and self.lease_holder(pipeline)

    def leases(self) -> dict[str, str]:
        """Pipelines whose lease somebody holds, with the run."""
        found = {name: self.lease_holder(name) for name in self._pipelines()}
        return {name: run for name, run in found.items() if run}

    def history(self, pipeline: str | None = None, last: int = 20) -> list[RunRecord]:
        """The newest runs first."""
        rows = []
        for name in self._pipelines():
            if pipeline is None or name == pipeline or name.startswith(f"{pipeline}::"):
                rows += self._rows(name)
        rows.sort(key=lambda row: row["started_at"] or "", reverse=True)
        return [record_of(row) for row in rows[:last]]

    def _rows(self, pipeline: str) -> list[Entry]:
        """Runs that committed, then the others: a run that committed is a success whatever was noted before."""
        done = self._committed(pipeline)[1].get("runs", [])
        known = {row["run_id"] for row in done}
        return [*done, *(row for row in self._lease(pipeline)[1].get("runs", []) if row["run_id"] not in known)]

    def slot(self, pipeline: str, slot: dt.datetime | None = None) -> SlotState:
        """What is known of scheduled slots."""
        texts = (*self._committed(pipeline)[1].get("slots", []), *self._lease(pipeline)[1].get("slots", []))
        return slot_of(texts, self._rows(pipeline), slot)


def _folder_name(pipeline: str) -> str:
    return quote(pipeline, safe="").replace("~", "%7E").replace("%", "~")


def _is_held(held: Entry, lease: Lease) -> bool:
    return held.get("epoch") == lease.epoch and held.get("run_id") == lease.claim.run_id


def _release(entry: Entry, lease: Lease) -> None:
    held = entry.get("lease") or {}
    if held.get("epoch") == lease.epoch:
        held.update(run_id="", expires_at=0.0)
