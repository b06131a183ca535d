"""Leases of folders and Delta tables run out by the clock of the run, not by that of the machine."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest

from ematix_nb.backends.registry import open_session
from ematix_nb.clock import UTC, FixedClock
from ematix_nb.config import connect
from ematix_nb.connections import resolve
from ematix_nb.declare.pipelines import build_pipeline
from ematix_nb.errors import LockedError
from ematix_nb.load.context import RunContext
from ematix_nb.load.run import run_target
from ematix_nb.load.targets import thing_state
from ematix_nb.state.model import Claim, RunRecord

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.crash.world import World


@pytest.mark.parametrize("years", [-5, 5])
@pytest.mark.parametrize("kind", ["files", "delta"])
def test_a_lease_runs_out_by_the_clock_that_is_set(kind: str, years: int, make_world: Callable[..., World]) -> None:
    world = make_world(kind, "append")
    connect(world.url, name="target")
    connect(world.sources[0], name="source")
    spec = build_pipeline(**world.options())
    clock = FixedClock(dt.datetime(2026, 11, 1, tzinfo=UTC) + years * dt.timedelta(days=365))
    session = open_session(resolve("target"))
    state = thing_state(session, world.table, clock)
    record = RunRecord(run_id="a-run-elsewhere", pipeline=world.name, started_at=clock.now())
    lease = state.acquire(Claim(world.name, record.run_id, "another-host", "1:1"), record)
    clock.advance(dt.timedelta(seconds=50))
    assert state.renew(lease)
    clock.advance(dt.timedelta(seconds=59))
    with pytest.raises(LockedError, match="is locked by run a-run-elsewhere on host another-host"):
        run_target(spec, spec.targets[0], RunContext(clock=clock))
    assert state.running(world.name) == "a-run-elsewhere"
    clock.advance(dt.timedelta(seconds=2))
    assert state.running(world.name) == ""
    outcome = run_target(spec, spec.targets[0], RunContext(clock=clock))
    assert (outcome.status, world.lease()) == ("success", "")
    assert world.statuses() == ["abandoned", "success"]
    session.close()
