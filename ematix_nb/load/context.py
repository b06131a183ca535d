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
