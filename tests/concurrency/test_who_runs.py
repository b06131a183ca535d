"""Who holds the lease, asked from outside, on every kind of target."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from ematix_nb.connections import clear_connections
from ematix_nb.load.skip import unstarted
from ematix_nb.load.targets import open_state
from ematix_nb.state.model import Claim
from tests.crash.child import declared
from tests.crash.world import KINDS

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.crash.world import World


@pytest.mark.parametrize("kind", KINDS)
def test_a_run_is_seen_while_it_holds_its_lease(kind: str, make_world: Callable[..., World]) -> None:
    world = make_world(kind, "truncate", changes={"transforms_post": []})
    work = world.job(world.step(1))
    try:
        spec = declared(work.pipeline, work.target, work.steps[0].source)
        record = unstarted(spec, spec.targets[0], spec.name, None)
        with open_state(spec, spec.targets[0], read_only=False) as (state, name):
            assert state.running(name) == ""
            state.ensure()
            lease = state.acquire(Claim(name, record.run_id, record.host, record.process), record)
            assert state.running(name) == record.run_id
            state.withdraw(lease)
            assert state.running(name) == ""
            state.acquire(Claim(name, record.run_id, record.host, record.process, seconds=-1), record)
            assert state.running(name) == "", "its time ran out"
    finally:
        clear_connections()
