"""What one run carries around: its id and time, who listens, and the request to stop."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ematix_nb.clock import SYSTEM_CLOCK, Clock
from ematix_nb.events import SILENT, Listener
from ematix_nb.load.cancel import CancelToken
from ematix_nb.state.model import LEASE_SECONDS

if TYPE_CHECKING:
    import datetime as dt

    from ematix_nb.load.spans import Span


@dataclass
class Replay:
    """Rows of a quarantine that are loaded after all."""

    keys: list[list[tuple[str, int]]] = field(default_factory=list)
    """For each row that is read, in order: run and number of the row in quarantine, and of its copies."""
    stay: set[int] = field(default_factory=set)
    """Which of them, from 0, do not fit this time either."""
    since: dt.datetime | None = None
    """When the first of them was put aside: what the target got later is newer; None: that does not matter."""

    def loaded(self) -> list[tuple[str, int]]:
        """Run and number of the rows that leave the quarantine."""
        return [key for number, keys in enumerate(self.keys) if number not in self.stay for key in keys]


@dataclass
class RunContext:
    """One run of one target."""

    run_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    clock: Clock = SYSTEM_CLOCK
    listener: Listener = SILENT
    token: CancelToken = field(default_factory=CancelToken)
    trigger: str = "manual"
    slot: dt.datetime | None = None
    """The scheduled time that fired the run."""
    full_refresh: bool = False
    """Read everything, whatever the watermark says."""
    span: Span | None = None
    """A part of a backfill: only these rows are loaded, and the watermark stays."""
    dry: bool = False
    """Execute and roll back."""
    checks: bool = True
    """Make the declared checks; without, the history says that they were left out."""
    report_checks: bool = False
    """A check that fails is told in the outcome, and does not end the (dry) run."""
    replay: Replay | None = None
    """The rows are those of a quarantine, and leave it when they are loaded."""
    lease_seconds: float = LEASE_SECONDS
    """How long the lease holds without a beat of the heart."""
    earlier: tuple[str, ...] = ()
    """The runs that tried the same before and failed, oldest first."""

    def __post_init__(self) -> None:
        self.started = self.clock.now()

    def told(self) -> dict[str, Any]:
        """What the history row of a retry says more: which run it tries again, and that it does."""
        if not self.earlier:
            return {}
        return {"parent_run_id": self.earlier[0], "step_name": f"attempt {len(self.earlier) + 1}"}
