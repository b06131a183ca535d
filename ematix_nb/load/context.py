"""What one run carries around: its id and time, who listens, and the request to stop."""

from __future__ import annotations

import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ematix_nb.clock import SYSTEM_CLOCK, Clock
from ematix_nb.events import SILENT, Listener
from ematix_nb.load.cancel import CancelToken
from ematix_nb.state.model import LEASE_SECONDS

if TYPE_CHECKING:
    import datetime as dt


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
    dry: bool = False
    """Execute and roll back."""
    checks: bool = True
    """Make the declared checks; without, the history says that they were left out."""
    report_checks: bool = False
    """A check that fails is told in the outcome, and does not end the (dry) run."""
    lease_seconds: float = LEASE_SECONDS
    """How long the lease holds without a beat of the heart."""

    def __post_init__(self) -> None:
        self.started = self.clock.now()
