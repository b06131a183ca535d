"""Letting a scheduled slot go: it is recorded as skipped, and never due again."""

from __future__ import annotations

import dataclasses
import uuid
from typing import TYPE_CHECKING

from ematix_nb.clock import SYSTEM_CLOCK
from ematix_nb.declare.fingerprint import fingerprint
from ematix_nb.load.targets import open_state, target_ref
from ematix_nb.state import liveness
from ematix_nb.state.model import Claim, RunRecord

if TYPE_CHECKING:
    import datetime as dt

    from ematix_nb.declare.spec import PipelineSpec, TargetSpec


def skip_slot(spec: PipelineSpec, slot: dt.datetime) -> None:
    """Write into every target that the slot is over, under the lease of the pipeline; a target that has it stays.

    Raises:
        LockedError: When a run of the pipeline is alive.
    """
    for target in spec.targets:
        _skip(spec, target, slot)


def _skip(spec: PipelineSpec, target: TargetSpec, slot: dt.datetime) -> None:
    with open_state(spec, target, read_only=False) as (state, name):
        state.ensure()
        record = unstarted(spec, target, name, slot)
        lease = state.acquire(Claim(name, record.run_id, record.host, record.process), record)
        if state.slot(name, slot).done:
            state.withdraw(lease)
            return
        state.finish(lease, dataclasses.replace(record, status="skipped", finished_at=SYSTEM_CLOCK.now()))


def unstarted(spec: PipelineSpec, target: TargetSpec, name: str, slot: dt.datetime | None) -> RunRecord:
    """The history row of a run that never began to work."""
    ref = target_ref(target)
    return RunRecord(
        run_id=str(uuid.uuid4()),
        pipeline=name,
        target_schema=ref.schema or "",
        target_table=ref.name,
        mode=target.mode,
        started_at=SYSTEM_CLOCK.now(),
        fingerprint=fingerprint(spec),
        trigger="schedule",
        slot=slot,
        host=liveness.host_name(),
        process=liveness.process_token(),
    )
