"""Pipelines that wait for others: how the newest loads of a parent ended, and the record of a child that was held."""

from __future__ import annotations

import contextlib
import dataclasses
import uuid
from typing import TYPE_CHECKING

from ematix_nb.clock import SYSTEM_CLOCK
from ematix_nb.connections import redact
from ematix_nb.declare.fingerprint import connection_name
from ematix_nb.declare.spec import MODES
from ematix_nb.errors import FlowError, HeldError
from ematix_nb.load.run import TargetOutcome
from ematix_nb.load.skip import unstarted
from ematix_nb.load.targets import open_state

if TYPE_CHECKING:
    import datetime as dt

    from ematix_nb.declare.spec import PipelineSpec, TargetSpec
    from ematix_nb.state.model import RunRecord, StateStore

SEARCHED_RUNS = 50
"""Newest rows of a target's history among which its newest load is looked for; steps after a load are rows too."""
_ENDED = {"abandoned": "died", "cancelled": "was cancelled", "held": "is held itself"}


def obstacle(parent: PipelineSpec) -> str:
    """What in the history of a pipeline keeps those waiting that depend on it; empty when its newest load succeeded.

    A slot that somebody let go counts as done.

    Raises:
        FlowError: When the history cannot be read.
    """
    for target in parent.targets:
        with open_state(parent, target) as (state, name):
            rows = state.history(name, SEARCHED_RUNS)
            newest = newest_load(name, rows)
            alive = newest is not None and newest.status == "running" and bool(state.running(name))
            if newest is not None and newest.status == "running" and not alive:
                rows = state.history(name, SEARCHED_RUNS)  # it may have ended between the two looks
        if problem := _problem(name, rows, alive=alive):
            return problem
    return ""


def newest_load(name: str, rows: list[RunRecord]) -> RunRecord | None:
    """The newest load among history rows, which come newest first; None when there is none."""
    return next((row for row in rows if row.pipeline == name and row.mode in MODES), None)


def _problem(name: str, rows: list[RunRecord], *, alive: bool) -> str:
    newest = newest_load(name, rows)
    if newest is None:
        return "has never run"
    if newest.status == "running":
        return "is running" if alive else "died"
    if newest.status not in ("success", "skipped"):
        return f"{_ENDED.get(newest.status, newest.status)} (run {newest.run_id[:8]})"
    steps = [row for row in rows if row.parent_run_id == newest.run_id and row.status == "transform_failed"]
    return f"failed in the step `{steps[0].step_name}` after its load" if steps else ""


def hold(
    spec: PipelineSpec, reason: str, *, trigger: str, slot: dt.datetime | None = None
) -> tuple[TargetOutcome, ...]:
    """Record that a pipeline was not started because of another one, for a slot once; one outcome a target.

    A target that cannot be reached has no record of it; that hides nothing, since the reason is told as well.
    """
    return tuple(_hold(spec, target, reason, trigger, slot) for target in spec.targets)


def _hold(spec: PipelineSpec, target: TargetSpec, reason: str, trigger: str, slot: dt.datetime | None) -> TargetOutcome:
    error = HeldError(f"held: {reason}", f"when that has succeeded, run `{spec.name}` again")
    run_id = str(uuid.uuid4())
    with contextlib.suppress(FlowError), open_state(spec, target, read_only=False) as (state, name):
        record = dataclasses.replace(
            unstarted(spec, target, name, slot),
            run_id=run_id,
            status="held",
            trigger=trigger,
            error=redact(str(error)),
            finished_at=SYSTEM_CLOCK.now(),
        )
        _write(state, record)
    thing = str(target.table.ref) if target.table is not None else target.thing
    return TargetOutcome(run_id, f"{connection_name(target.connection)}:{thing}", "held", error=error)


def _write(state: StateStore, record: RunRecord) -> None:
    state.ensure()
    told = record.slot is not None and any(
        row.pipeline == record.pipeline and row.status == "held" and row.slot == record.slot
        for row in state.history(record.pipeline, SEARCHED_RUNS)
    )
    if not told:
        state.add_history(record)
