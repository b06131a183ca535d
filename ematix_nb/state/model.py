"""The records of the state, as plain data, and what a store of them can do."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Sequence

LEASE_SECONDS = 60.0
"""How long a lease holds without being renewed."""

COUNT_NAMES = (
    "rows_read",
    "rows_inserted",
    "rows_updated",
    "rows_unchanged",
    "rows_closed",
    "rows_deleted",
    "rows_deduplicated",
    "rows_filtered",
    "rows_quarantined",
)

TERMINAL = ("success", "failed", "cancelled", "abandoned", "skipped", "held")


AHEAD = "+"
"""Stored behind the type of a watermark when rows beyond it were loaded, whose time had not come."""


@dataclass(frozen=True, slots=True)
class Watermark:
    """The highest value of the watermark column, or columns, that was read and committed.

    Of several columns (a composite watermark) each text is a JSON list with one text for each column. The type tells
    which it is: no kind begins with a bracket, while names and values may look like anything.
    """

    column: str
    value: str
    """Text form at full source precision: ISO-8601 for times (UTC where zoned), digits for numbers, a text as it is."""
    type: str
    """The kind of the column when it was stored; empty for adopted rows that did not say.

    A ``+`` behind it: rows beyond the watermark were loaded, because their time had not come.
    """
    horizon: str = ""
    """Which transactions of the source had ended when it was read (`LateRows.horizon`); empty when nobody asked."""

    @property
    def is_composite(self) -> bool:
        """Whether it is one of several columns."""
        return self.type.startswith("[")

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns, in the order in which they are compared."""
        return (split_parts(self.column) if self.is_composite else ()) or (self.column,)

    @property
    def values(self) -> tuple[str, ...]:
        """The value of each column."""
        return split_parts(self.value) if self.is_composite else (self.value,)

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kind of each column when it was stored, without the mark behind it."""
        kind = self.type.removesuffix(AHEAD)
        return split_parts(kind) if self.is_composite else (kind,)

    @property
    def ahead(self) -> bool:
        """Whether rows beyond it were loaded."""
        return self.type.endswith(AHEAD)


def join_parts(parts: Sequence[str], *, composite: bool) -> str:
    """Names, values or kinds as one text.

    Example:
        >>> join_parts(["a,b"], composite=False), join_parts(["day", "seq"], composite=True)
        ('a,b', '["day", "seq"]')
    """
    return json.dumps(list(parts), ensure_ascii=False) if composite else parts[0]


def split_parts(text: str) -> tuple[str, ...]:
    """The parts of a composite watermark; none when the text is not a JSON list of texts.

    Example:
        >>> split_parts('["day", "seq"]'), split_parts("day")
        (('day', 'seq'), ())
    """
    try:
        found = json.loads(text)
    except ValueError:
        return ()
    return tuple(found) if isinstance(found, list) and all(isinstance(part, str) for part in found) else ()


@dataclass(frozen=True, slots=True)
class Claim:
    """Who asks for the lease of a pipeline."""

    pipeline: str
    run_id: str
    host: str
    process: str
    """Identifies the operating system process on its host: pid, its start time, its namespace."""
    seconds: float = LEASE_SECONDS


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to commit one run; worth nothing once somebody else has a higher epoch."""

    claim: Claim
    epoch: int
    took_over: str = ""
    """The run id of a dead run whose lease was taken over; empty otherwise."""


@dataclass(frozen=True, kw_only=True)
class RunRecord:
    """One row of the run history."""

    run_id: str
    pipeline: str
    target_schema: str = ""
    target_table: str = ""
    mode: str = ""
    path: str = ""
    """The route that the rows took: ``insert-select``, ``copy-through``, ``arrow``, ..."""
    status: str = "running"
    """running, success, failed, cancelled, abandoned, skipped (a slot), held (a parent failed), transform_success or
    transform_failed."""
    started_at: dt.datetime | None = None
    finished_at: dt.datetime | None = None
    counts: dict[str, int] = field(default_factory=dict)
    error: str = ""
    parent_run_id: str = ""
    """Of a retry: the first run; of a step after a load: the load."""
    step_name: str = ""
    metrics: dict[str, Any] = field(default_factory=dict)
    fingerprint: str = ""
    trigger: str = "manual"
    """manual, schedule, notebook, python."""
    slot: dt.datetime | None = None
    """The scheduled time that fired it."""
    watermark_before: str = ""
    watermark_after: str = ""
    host: str = ""
    process: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON: times as ISO-8601 text."""
        values = asdict(self)
        for name in ("started_at", "finished_at", "slot"):
            moment = values[name]
            values[name] = moment.isoformat() if moment else None
        return values


@dataclass(frozen=True, slots=True)
class SlotState:
    """What the history says of scheduled runs."""

    last_done: dt.datetime | None
    """The newest slot whose run committed, or that was let go."""
    attempts: int
    """Calls that tried the slot that was asked for, and failed or died; retries within a call count with it."""
    done: bool
    """The slot that was asked for has committed, or was let go."""
    last_attempt: dt.datetime | None = None
    """When the newest of these runs began."""


class StateStore(Protocol):
    """Where one target keeps its state."""

    def exists(self) -> bool:
        """Whether any state was ever written here."""
        ...

    def ensure(self) -> None:
        """Create what is missing and adopt what an older package left; commits by itself."""
        ...

    def acquire(self, claim: Claim, record: RunRecord) -> Lease:
        """Take the lease, close the history rows of dead runs, open the run's own row; commits by itself.

        Raises:
            LockedError: When a living run holds it; names the run, host, process and since when.
        """
        ...

    def renew(self, lease: Lease) -> bool:
        """Prolong the lease; False when it was lost."""
        ...

    def running(self, pipeline: str) -> str:
        """The run that holds the lease and lives, as far as can be told; empty when there is none."""
        ...

    def watermark(self, pipeline: str) -> Watermark | None:
        """The stored watermark."""
        ...

    def close_failed(self, lease: Lease, record: RunRecord) -> bool:
        """Write the end of a run that did not commit and give the lease back; commits by itself.

        Returns:
            True when the run turns out to have committed (the answer was lost): then its row stays as it is.
        """
        ...

    def finish(self, lease: Lease, record: RunRecord) -> None:
        """Close a run that has no data: slot, history row and lease in one commit; commits by itself.

        Raises:
            TransientError: When the lease was lost meanwhile.
        """
        ...

    def withdraw(self, lease: Lease) -> None:
        """Give the lease back and leave no history row; commits by itself."""
        ...

    def add_history(self, record: RunRecord) -> None:
        """Insert a finished row (a post-transform); commits by itself."""
        ...

    def history(self, pipeline: str | None = None, last: int = 20) -> list[RunRecord]:
        """The newest runs first."""
        ...

    def slot(self, pipeline: str, slot: dt.datetime | None = None) -> SlotState:
        """What is known of scheduled slots."""
        ...

    def reset_watermark(self, pipeline: str, watermark: Watermark | None) -> None:
        """Set or remove a watermark; commits by itself."""
        ...
